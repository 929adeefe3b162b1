"""Which program serves a deployment on a machine, and what it needs there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.references import is_reference
from swiftbox.config.vllm_arguments import imports_code, option_name
from swiftbox.devices import choices
from swiftbox.devices.backends import BACKENDS, ENGINES
from swiftbox.devices.machine import Machine
from swiftbox.engines.state import engine_named
from swiftbox.errors import ConfigError, MachineError
from swiftbox.language import text
from swiftbox.models.gguf_files import holds_gguf, require_gguf_file
from swiftbox.models.gguf_headers import read_headers
from swiftbox.models.inspection import LOADER, Inspection
from swiftbox.models.location import find_folder, locate_recorded, looks_like_path
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.models.templates import require_bounded_templates
from swiftbox.serving.llama_cpp import require_length, require_servable
from swiftbox.serving.openers import Opener, opener_for, opener_of
from swiftbox.tasks.checks import OnRemark
from swiftbox.tasks.deployed_adapters import (
    require_vllm_adapters,
    vllm_adapter_fault,
    vllm_model_dtypes,
    vllm_model_fault,
)
from swiftbox.tasks.effects import Effect


def choose_engine(config: DeployConfig, machine: Machine) -> choices.Choice:
    """Choose llama.cpp for a GGUF file, else vLLM if installed and fully supported here."""
    if config.engine == "llama_cpp" or holds_gguf(config.model):
        return _llama_cpp_choice(config, machine)
    if config.engine == "builtin":
        return choices.Choice("builtin", text("as requested", "按要求"))
    cell = BACKENDS[machine.backend].cell(ENGINES["vllm"])
    unsupported = choices.lacks(machine, ENGINES["vllm"])
    installed = "vllm" in machine.versions
    if config.engine == "vllm":
        why = unsupported or ("" if installed else engine_named("vllm").refusal(machine.backend))
        if why:
            raise MachineError(
                f"engine: vllm: {why}", hint=text("set engine: auto", "设 engine: auto")
            )
        return choices.Choice("vllm", text("as requested", "按要求"))
    if unsupported or cell.supported != "yes":
        return choices.Choice("builtin", f"vllm: {unsupported or cell.reason()}")
    if not installed:
        why = text(
            "vllm is not installed (`swiftbox engines install vllm`, or engine: vllm)",
            "未安装 vllm（`swiftbox engines install vllm`，或设 engine: vllm）",
        )
        return choices.Choice("builtin", why)
    if fault := vllm_model_fault(config, machine):
        return choices.Choice("builtin", fault)
    if fault := vllm_adapter_fault(config, machine):
        why = text(f"vllm cannot load {fault}", f"vllm 无法加载 {fault}")
        return choices.Choice("builtin", why)
    return choices.Choice("vllm", f"vllm {machine.versions['vllm']}")


def offered_engines(config: DeployConfig, machine: Machine) -> tuple[str, ...]:
    """Return vLLM where `auto` would take it if it were installed, and pip can install it."""
    if config.engine != "auto" or "vllm" in machine.versions or holds_gguf(config.model):
        return ()
    capability = ENGINES["vllm"]
    is_full = BACKENDS[machine.backend].cell(capability).supported == "yes"
    if not is_full or choices.lacks(machine, capability) or config.tools_in_prompt:
        return ()
    cannot = engine_named("vllm").refusal(machine.backend) or vllm_model_fault(config, machine)
    return () if cannot or vllm_adapter_fault(config, machine) else ("vllm",)


def _llama_cpp_choice(config: DeployConfig, machine: Machine) -> choices.Choice:
    """Return llama_cpp with its reason; raise ConfigError for another engine and a GGUF file."""
    if config.engine not in ("auto", "llama_cpp"):
        raise ConfigError(
            text(
                f"engine: {config.engine} cannot serve {config.model}, which is a GGUF file",
                f"engine：{config.engine} 无法部署 {config.model}，它是 GGUF 文件",
            ),
            hint=text("set engine: llama_cpp, or auto", "请设 engine: llama_cpp 或 auto"),
        )
    version = machine.versions.get("llama_cpp", "")
    why = text("as requested", "按要求")
    if holds_gguf(config.model) or is_reference(config.model):
        why = text("the model is a GGUF file", "模型是 GGUF 文件")
    return choices.Choice("llama_cpp", f"{why} ({version})" if version else why)


def choose_served_dtype(config: DeployConfig, engine: str, machine: Machine) -> choices.Choice:
    """Choose the number type; ConfigError is raised for one in which the engine cannot compute.

    A GGUF file has its own, and vLLM computes most quantized weights in 16 bits.
    """
    if engine != "llama_cpp":
        choice = choices.choose_dtype(machine, config.dtype)
        types = vllm_model_dtypes(config, machine) if engine == "vllm" else ()
        return choice if not types or choice.value in types else _in_16_bits(config, types)
    if config.dtype != "auto":
        raise ConfigError(
            text(
                f"dtype: {config.dtype}: a GGUF file is computed in the types that it has",
                f"dtype：{config.dtype}：GGUF 文件按其自身的类型计算",
            ),
            hint=text("set dtype: auto", "请设 dtype: auto"),
        )
    return choices.Choice("auto", text("the types in the file", "按文件中的类型"))


def _in_16_bits(config: DeployConfig, types: tuple[str, ...]) -> choices.Choice:
    """Return the first of the types that vLLM has for a model; raise ConfigError for another."""
    listed = text(" or ", " 或 ").join(types)
    why = text(
        f"vLLM computes the quantized weights of {config.model} in {listed}",
        f"vLLM 以 {listed} 计算 {config.model} 的量化权重",
    )
    if config.dtype == "auto":
        return choices.Choice(types[0], why)
    raise ConfigError(
        text(f"dtype: {config.dtype}: {why}", f"dtype：{config.dtype}：{why}"),
        hint=text("set dtype: auto", "请设 dtype: auto"),
    )


def require_devices(config: DeployConfig, engine: str, machine: Machine) -> None:
    """Raise UserError if the engine does not use as many devices, or the machine has fewer."""
    size = config.tensor_parallel_size
    if engine == "llama_cpp":
        require_servable(config)
    if size > 1 and engine == "builtin":
        raise MachineError(
            text(
                f"tensor_parallel_size: {size}: the builtin server uses one device",
                f"tensor_parallel_size：{size}：内置服务只使用一个设备",
            ),
            hint=text("set tensor_parallel_size: 1", "设 tensor_parallel_size: 1"),
        )
    if size > max(1, len(machine.devices)):
        raise MachineError(
            text(
                f"tensor_parallel_size: {size}, but there are {len(machine.devices)} devices",
                f"tensor_parallel_size：{size}，但只有 {len(machine.devices)} 个设备",
            ),
            hint=text("set it to at most the number of devices", "请设为不超过设备数的值"),
        )


def require_gguf(config: DeployConfig) -> None:
    """Raise UserError if the model on this machine is not one complete GGUF file.

    Also for settings that llama.cpp's server does not have, or the model does not support.
    """
    require_servable(config)
    if not config.model or is_reference(config.model):
        return
    folder = locate_recorded(config.model, key="model", hub=config.hub)
    if folder is not None:
        require_bounded_templates(folder)
        require_length(read_headers(require_gguf_file(folder)).metadata, config)


def require_builtin(config: DeployConfig, engine: str) -> None:
    """Raise ConfigError for a setting that only the builtin server has."""
    if config.tools_in_prompt and engine != "builtin":
        raise ConfigError(
            text(
                f"tools_in_prompt: only the builtin server has it, and engine is {engine}",
                f"tools_in_prompt：仅内置服务支持，而当前 engine 为 {engine}",
            ),
            hint=_without("tools_in_prompt", "builtin", engine),
        )


def _without(key: str, owner: str, engine: str) -> str:
    """Return what to do about a setting of another engine: llama.cpp alone serves a GGUF file."""
    if engine == "llama_cpp":
        return text(f"remove {key}", f"请去掉 {key}")
    return text(f"set engine: {owner}, or remove {key}", f"请设 engine: {owner}，或去掉 {key}")


def loading_engines(config: DeployConfig) -> tuple[str, ...]:
    """Return the engine whose Python loads a model on this machine, if ours cannot."""
    name = config.model or ""
    is_here = config.hub == "local" or looks_like_path(name)
    folder = find_folder(name) if is_here and not is_reference(name) else None
    engine = opener_of(folder).engine if folder is not None else ""
    return (engine,) if engine else ()


def with_loader(config: DeployConfig, inspection: Inspection, on_remark: OnRemark) -> Inspection:
    """Return an inspection without its remark on the package that loads quantized weights.

    The builtin server says which engine loads them in place of our Python; another server loads
    them itself. Raises ConfigError if neither our Python nor an engine can load them.
    """
    opener = opener_for(inspection.config) if config.engine == "builtin" else Opener()
    if opener.lacking:
        raise _no_loader(inspection.folder, opener.lacking)
    if opener.engine:
        message = text(
            f"the engine {opener.engine} loads the weights: the builtin server runs in it",
            f"由引擎 {opener.engine} 加载权重：内置服务在其中运行",
        )
        on_remark(Remark(NOTE, LOADER, message))
    others = tuple(remark for remark in inspection.remarks if remark.topic != LOADER)
    return replace(inspection, remarks=others)


def _no_loader(folder: Path, package: str) -> ConfigError:
    return ConfigError(
        text(
            f"model: {folder}: the builtin server needs {package} to load its quantized weights, "
            "and it is not installed",
            f"model：{folder}：内置服务加载其量化权重需要 {package}，尚未安装",
        ),
        hint=f"pip install {package}",
    )


def require_vllm(config: DeployConfig, engine: str, machine: Machine) -> None:
    """Raise ConfigError for a setting or adapter that does not go with vLLM, or only with it."""
    if engine == "vllm":
        if fault := vllm_model_fault(config, machine):
            raise ConfigError(
                text(f"model: {fault}", f"model：{fault}"),
                hint=text("set engine: builtin", "设 engine: builtin"),
            )
        require_vllm_adapters(config, machine)
    elif config.vllm_args:
        raise ConfigError(
            text(
                f"vllm_args: only vllm takes them, and engine is {engine}",
                f"vllm_args：仅 vllm 使用，而当前 engine 为 {engine}",
            ),
            hint=_without("vllm_args", "vllm", engine),
        )


def imported_by_vllm(config: DeployConfig) -> Iterator[Effect]:
    """Yield the code and the files that `vllm_args` name, each of which needs an agreement."""
    for name, value in (config.vllm_args or {}).items():
        if imports_code(name):
            what = text(f"what vLLM uses as {name}: {value}", f"vLLM 作为 {name} 使用的：{value}")
            subject = f"vllm {option_name(name)} {json.dumps(value, sort_keys=True)}"
            yield Effect(("vllm_args",), what, True, subject, is_fixed=False)
