"""task: deploy. Serve a model and its adapters over an OpenAI-compatible API until stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.architectures.served_limits import beyond_positions_error, uncached_error
from swiftbox.config.deploy import DeployConfig
from swiftbox.config.groups import as_list
from swiftbox.config.references import is_reference
from swiftbox.devices import choices
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError
from swiftbox.files import write_json
from swiftbox.fit.forecast import deployment_forecast
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.adapters import base_of
from swiftbox.models.config_keys import language_part
from swiftbox.models.gguf_files import require_gguf_file
from swiftbox.models.inspection import Inspection, require_usable_model
from swiftbox.models.location import (
    find_folder,
    locate,
    require_all,
    short_name,
)
from swiftbox.models.templates import require_bounded_templates
from swiftbox.models.text_models import require_writes_text
from swiftbox.models.trial_loading import uncached_by_builtin
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE, reveal_packages
from swiftbox.runs.plain_files import read_record
from swiftbox.security.secrets import is_loopback
from swiftbox.serving.deployment import Deployment, run_deployment
from swiftbox.serving.engine_server import serve_in_engine
from swiftbox.serving.llama_cpp import require_plain_name
from swiftbox.serving.openers import opener_of
from swiftbox.tasks.checks import OnRemark, inspect_model, require_loadable
from swiftbox.tasks.deployed_adapters import (
    has_references,
    local_adapters,
    require_matching_adapters,
)
from swiftbox.tasks.deployment_engine import (
    choose_engine,
    choose_served_dtype,
    imported_by_vllm,
    loading_engines,
    offered_engines,
    require_builtin,
    require_devices,
    require_gguf,
    require_vllm,
    with_loader,
)
from swiftbox.tasks.device_reasons import device_reasons
from swiftbox.tasks.effects import Effects
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Reason, Resolved, Task
from swiftbox.tasks.training_packages import needs_bitsandbytes


def resolve(config: DeployConfig, machine: Machine) -> Resolved:
    """Settle engine and dtype; raise ConfigError for a public address without an API key."""
    _require_key_named(config)
    engine = choose_engine(config, machine)
    dtype = choose_served_dtype(config, engine.value, machine)
    require_devices(config, engine.value, machine)
    require_builtin(config, engine.value)
    require_vllm(config, engine.value, machine)
    reasons = (
        Reason("engine", engine.value, engine.reason),
        Reason("dtype", dtype.value, dtype.reason),
        *device_reasons(machine, 1, config.tensor_parallel_size),
    )
    env = choices.environment(machine, 1, devices=config.tensor_parallel_size)
    settled = config.model_copy(update={"engine": engine.value, "dtype": dtype.value})
    return Resolved(settled, reasons, 1, env)


def _require_key_named(config: DeployConfig) -> None:
    if config.api_key_env is None and not is_loopback(config.host):
        raise ConfigError(
            text(
                f"host: {config.host} is reachable from other machines, and api_key_env is not set",
                f"host：{config.host} 可从其他机器访问，但未设 api_key_env",
            ),
            hint=text(
                "export SWIFTBOX_API_KEY=... and set api_key_env: SWIFTBOX_API_KEY, "
                "or host: 127.0.0.1",
                "执行 export SWIFTBOX_API_KEY=... 并设 api_key_env: SWIFTBOX_API_KEY，"
                "或设 host: 127.0.0.1",
            ),
        )


def engines(config: DeployConfig, machine: Machine) -> tuple[str, ...]:
    """Return the engine that serves, unless vLLM is installed in our own environment.

    For the builtin server it is the one whose Python loads the model, if ours cannot.
    """
    if config.engine == "llama_cpp":
        return ("llama_cpp",)
    if config.engine == "builtin":
        return loading_engines(config)
    return ("vllm",) if config.engine == "vllm" and "vllm" not in machine.versions else ()


def named_adapters(config: DeployConfig) -> dict[str, str]:
    """Return the adapters by served name; raise ConfigError if two have the same name."""
    adapters = dict(config.adapters or {})
    for name in adapters:
        _require_plain_name(name)
    for adapter in as_list(config.adapter or []):
        name = short_name(adapter)
        if name in adapters:
            raise ConfigError(
                text(
                    f"adapter: two adapters are named {name}", f"adapter：有两个适配器名为 {name}"
                ),
                hint=text(
                    "name them: adapters: {a: ..., b: ...}", "请命名：adapters: {a: ..., b: ...}"
                ),
            )
        adapters[name] = adapter
    if served_name(config) in adapters:
        raise ConfigError(
            text(
                f"served_model_name: {served_name(config)} is also the name of an adapter",
                f"served_model_name：{served_name(config)} 与适配器重名",
            ),
            hint=text(
                "set another served_model_name, or name the adapters: {a: ..., b: ...}",
                "请另设 served_model_name，或为适配器命名：adapters: {a: ..., b: ...}",
            ),
        )
    return adapters


def _require_plain_name(name: str) -> None:
    """Raise ConfigError for a name that requests, logs and vLLM's options cannot hold."""
    if name and name.isprintable() and not set(name) & set(" =,"):
        return
    raise ConfigError(
        text(
            f"adapters: {name!r} cannot name an adapter",
            f"adapters：{name!r} 不能作为适配器的名称",
        ),
        hint=text(
            "use letters, digits and signs without spaces, commas and =",
            "请使用不含空格、逗号与等号的名称",
        ),
    )


def served_name(config: DeployConfig) -> str:
    """Return the name of the model in requests."""
    return config.served_model_name or short_name(config.model or "")


def with_absolute_paths(config: DeployConfig) -> DeployConfig:
    """Make the folders of model and adapters absolute, so that the record is complete."""
    named = [("adapters", path) for path in (config.adapters or {}).values()]
    named += [("adapter", path) for path in as_list(config.adapter or [])]
    require_all([("model", config.model), *named], hub=config.hub)
    local = local_adapters(config)
    changes: dict[str, Any] = {}
    if config.adapter is not None:
        names = [str(find_folder(name) or name) for name in as_list(config.adapter)]
        changes["adapter"] = names if isinstance(config.adapter, list) else names[0]
    if config.adapters:
        changes["adapters"] = {
            name: str(find_folder(path) or path) for name, path in config.adapters.items()
        }
    if config.model is None and local:
        base_model = base_of(next(iter(local.values())))
        changes |= {"model": base_model.name, "hub": base_model.hub or config.hub}
        changes["revision"] = config.revision or base_model.revision
    model = changes.get("model", config.model)
    if is_reference(model) or (model is None and has_references(config)):
        return config.model_copy(update=changes)
    if model is None:
        raise ConfigError(
            text("model: is required", "model：必填"),
            hint=text(
                "give model=FOLDER, an id, or adapter=runs/NAME",
                "请给出 model=目录 或 adapter=运行",
            ),
        )
    changes["served_model_name"] = config.served_model_name or short_name(model)
    hub = changes.get("hub", config.hub)
    changes["model"] = str(locate(model, key="model", hub=hub) or model)
    return config.model_copy(update=changes)


def check(config: DeployConfig, on_remark: OnRemark) -> None:
    """Raise UserError for a model that cannot be served, or an address that is not free."""
    head = _head(config)
    if not has_references(config):
        for adapter in local_adapters(config).values():
            require_writes_text(adapter.folder, "adapter")
    if config.engine == "llama_cpp":
        require_gguf(config)
    elif config.model:
        inspection = inspect_model(config.model, config, on_remark, head=head)
        if inspection is not None:
            inspection = with_loader(config, inspection, on_remark)
            require_loadable(config, inspection, on_remark, head=head)
            if config.engine == "builtin":
                _require_served(config, inspection)
    require_deployable(config)
    if config.engine == "vllm":
        from swiftbox.serving.vllm_check import vllm_remark

        remark = vllm_remark(config)
        if remark is not None:
            on_remark(remark)


def _head(config: DeployConfig) -> str | None:
    """Return the head of the class that serves the model; None where another program chooses it."""
    return None if config.engine == "vllm" else "language"


def _require_served(config: DeployConfig, inspection: Inspection) -> None:
    """Raise MachineError for caches and lengths that the builtin server cannot serve."""
    kinds = uncached_by_builtin(inspection)
    if kinds:
        raise uncached_error(kinds)
    known = language_part(inspection.config).get("max_position_embeddings")
    if type(known) is int and 0 < known < (config.max_model_len or 0):
        raise beyond_positions_error(known, config.max_model_len or 0)


def require_deployable(config: DeployConfig) -> None:
    """Raise UserError for every problem that is known before anything is fetched or loaded."""
    _require_key_named(config)
    key_of(config, os.environ)
    if config.engine == "llama_cpp":
        require_plain_name(served_name(config))
    named_adapters(config)
    require_matching_adapters(config)
    check_availability(config)


def check_availability(config: DeployConfig) -> None:
    """Raise ConfigError if another program listens on the address, or it is not of this machine."""
    from swiftbox.serving.address import listen_on

    listen_on(config.host, config.port).close()


def key_of(config: DeployConfig, environment: Mapping[str, str]) -> str | None:
    """Return the API key; raise ConfigError if its environment variable is empty."""
    if config.api_key_env is None:
        return None
    key = environment.get(config.api_key_env, "")
    if not key.strip():
        raise ConfigError(
            text(
                f"api_key_env: {config.api_key_env} is not set or empty",
                f"api_key_env：{config.api_key_env} 未设置或为空",
            ),
            hint=f"export {config.api_key_env}=...",
        )
    return key.strip()


def run(config: DeployConfig, folder: Path, emit: Emit) -> Path | None:
    """Serve until stopped; a deployment never ends by itself."""
    began = time.monotonic()
    key = key_of(config, os.environ)
    emit(events.STAGE, name="fetch", detail=config.model)
    config = with_absolute_paths(config)
    fetched = fetch_model(config.model or "", hub=config.hub, revision=config.revision, emit=emit)
    engine = opener_of(fetched.folder).engine if config.engine == "builtin" else ""
    if not engine and needs_bitsandbytes(fetched.folder):
        reveal_packages(BITSANDBYTES)
    _require_usable(config, fetched.folder, emit, engine)
    adapters = {
        name: fetch_model(path, hub=config.hub, revision=None, emit=emit, key="adapter").folder
        for name, path in named_adapters(config).items()
    }
    for path in (fetched.folder, *adapters.values()):
        require_bounded_templates(path)
    inputs = {
        "model": str(fetched.folder),
        "revision": fetched.commit or config.revision,
        "adapters": {name: str(path) for name, path in adapters.items()},
    }
    write_json(folder / run_folder.INPUTS, inputs)
    emit(events.INPUTS, **inputs)
    emit(events.STAGE, name="model", detail=config.model)

    def started(url: str, **details: Any) -> None:
        models = [served_name(config), *adapters]
        run_folder.update_state(folder, url=url)
        emit(events.SERVING, url=url, engine=config.engine, models=models, **details)

    name = served_name(config)
    served = Deployment(config, folder, key, name, fetched.folder, adapters, emit, started)
    done = serve_in_engine(served, engine) if engine else run_deployment(served)
    run_folder.update_state(folder, url=None)
    emit(events.STOPPED, step=None, seconds=round(time.monotonic() - began, 1), url=None, **done)
    return None


def _require_usable(config: DeployConfig, folder: Path, emit: Emit, engine: str) -> None:
    """Raise UserError for a fetched model that the server cannot use; `engine` loads it, if any."""
    if config.engine == "llama_cpp":
        require_gguf_file(folder)
        return
    require_usable_model(
        folder,
        emit,
        known=config.model or "",
        head=_head(config),
        loaded_elsewhere=bool(engine) or config.engine != "builtin",
    )


def effects(config: DeployConfig) -> Effects:
    """Return what a deployment executes, sends and writes outside its folder."""
    return effects_of(config, code=imported_by_vllm(config))


def unused_packages(config: DeployConfig) -> frozenset[str]:
    """Return the packages that a server does not use unless its model is quantized."""
    return frozenset() if config.trust_remote_code else BITSANDBYTES | MEDIA | SCIENCE


def run_name(config: DeployConfig) -> str:
    """Name a deployment after its model or adapter."""
    names = [config.model, *as_list(config.adapter or []), *(config.adapters or {})]
    first = next((short_name(str(name)) for name in names if name), "model")
    return f"deploy-{first.rpartition('/')[2].lower()}"


def outputs(config: DeployConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the output of a deployment: its address."""
    return {"url": lambda folder: str(read_record(folder / run_folder.STATE)["url"])}


DEPLOY: Task[DeployConfig] = Task(
    name="deploy",
    discriminator="task",
    default="deploy",
    config_classes={"deploy": DeployConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    effects=effects,
    check=check,
    check_availability=check_availability,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    offers=offered_engines,
    outputs=outputs,
    forecast=deployment_forecast,
    unused_packages=unused_packages,
    serves=True,
)
