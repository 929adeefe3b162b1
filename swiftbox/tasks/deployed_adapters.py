"""The adapters of a deployment: which ones are on this machine, and whether they can be served."""

from __future__ import annotations

import contextlib
from pathlib import Path

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.groups import as_list
from swiftbox.config.references import is_reference
from swiftbox.devices.machine import Machine
from swiftbox.engines.state import engine_named
from swiftbox.errors import UserError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.adapters import Adapter
from swiftbox.models.location import locate_adapter, locate_recorded
from swiftbox.models.merge_checks import (
    require_adapters_fit,
    require_builtin_adapters,
    require_matching_name,
)
from swiftbox.models.templates import require_bounded_templates
from swiftbox.models.unservable_adapters import require_plain_loras, vllm_faults
from swiftbox.models.vllm_formats import vllm_dtypes, vllm_format_fault


def local_adapters(config: DeployConfig) -> dict[str, Adapter]:
    """Return the adapters on this machine; raise ConfigError for a folder that is not one."""
    adapters = {
        name: locate_adapter(path, key="adapters", hub=config.hub)
        for name, path in (config.adapters or {}).items()
    }
    for path in as_list(config.adapter or []):
        adapters[path] = locate_adapter(path, hub=config.hub)
    return {name: adapter for name, adapter in adapters.items() if adapter is not None}


def has_references(config: DeployConfig) -> bool:
    """Tell whether an earlier step of a pipeline makes an adapter."""
    adapters = [*as_list(config.adapter or []), *(config.adapters or {}).values()]
    return any(map(is_reference, adapters))


def require_matching_adapters(config: DeployConfig) -> None:
    """Raise ConfigError for an adapter that does not fit the model."""
    adapters = list(local_adapters(config).values())
    name = config.model or ""
    for adapter in adapters:
        require_matching_name(adapter, name)
        require_bounded_templates(adapter.folder)
    folder = locate_recorded(name, key="model", hub=config.hub) if adapters and name else None
    if folder is not None:
        require_adapters_fit(folder, adapters, name)
        if config.engine == "builtin":
            require_builtin_adapters(folder, adapters)


def require_vllm_adapters(config: DeployConfig, machine: Machine) -> None:
    """Raise ConfigError for adapters that the vLLM of a machine cannot load."""
    if not has_references(config):
        builtin = text("set engine: builtin", "设 engine: builtin")
        require_plain_loras(_adapters(config), vllm_version(machine), builtin)


def vllm_adapter_fault(config: DeployConfig, machine: Machine) -> str:
    """Return why the vLLM of a machine cannot load one of the adapters; empty if it can."""
    if has_references(config):
        return ""
    faults = vllm_faults(_adapters(config), vllm_version(machine))
    return next((f"{folder}: {fault}" for folder, fault in faults.items()), "")


def vllm_model_fault(config: DeployConfig, machine: Machine) -> str:
    """Return why the vLLM of a machine cannot load the weights of the model; empty if it may."""
    folder = _model_folder(config)
    content = read_json(folder / "config.json") if folder is not None else {}
    fault = vllm_format_fault(content, vllm_version(machine))
    return f"{folder}: {fault}" if fault else ""


def vllm_model_dtypes(config: DeployConfig, machine: Machine) -> tuple[str, ...]:
    """Return the types in which the vLLM of a machine computes the model; empty for any."""
    folder = _model_folder(config)
    content = read_json(folder / "config.json") if folder is not None else {}
    return vllm_dtypes(content, vllm_version(machine))


def _model_folder(config: DeployConfig) -> Path | None:
    """Return the folder of the model; None if it is not on this machine."""
    if not config.model or is_reference(config.model):
        return None
    with contextlib.suppress(UserError):  # the check reports a model that is not there
        return locate_recorded(config.model, key="model", hub=config.hub)
    return None


def vllm_version(machine: Machine) -> str:
    """Return the version of vLLM on a machine, or of the one that is installed there."""
    pinned = engine_named("vllm").pins(machine.backend).get("vllm", "")
    return machine.versions.get("vllm", "") or pinned


def _adapters(config: DeployConfig) -> list[Adapter]:
    return list(local_adapters(config).values())
