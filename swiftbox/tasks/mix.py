"""task: mix. Several adapters become one adapter, or several models one model, and are checked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.mix import MixConfig
from swiftbox.devices import host
from swiftbox.devices.machine import Machine
from swiftbox.devices.selection import device_selection
from swiftbox.files import write_json
from swiftbox.fit.forecast import Forecast, RunInputs, forecast_of_shape
from swiftbox.fit.profile import BYTES_PER_PARAMETER
from swiftbox.fit.serving import merging
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.adapters import read_adapter
from swiftbox.models.inspection import require_usable_model
from swiftbox.models.location import require_all
from swiftbox.models.merge_resources import FREE_SHARE
from swiftbox.models.mix_checks import tied_heads
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.heavy_imports import heavy_imports
from swiftbox.runs.optional_packages import BITSANDBYTES
from swiftbox.tasks.checks import (
    OnRemark,
    ignored,
    inspect_model,
    output_location,
    require_loadable,
)
from swiftbox.tasks.device_reasons import device_reasons
from swiftbox.tasks.effects import Effects
from swiftbox.tasks.mix_parts import (
    Place,
    absolute_base,
    local_adapters,
    require_base,
    require_mixable,
    require_mixable_adapters,
)
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Reason, Resolved, Task, usual_unused_packages
from swiftbox.tasks.tuned_models import (
    absolute_names,
    check_tuned,
    fetch_tuned,
    local_folder,
    without_base,
)

RECORD = "mix.json"
"""File in the run folder: the error of each layer, and the measured differences."""


def resolve(config: MixConfig, machine: Machine) -> Resolved:
    """Settle `auto`; a mix runs on the CPU and gives the same result on every machine."""
    reasons: list[Reason] = []
    settled: dict[str, Any] = {}
    if config.dtype == "auto":
        dtype = "stored" if config.adapter is None else "float32"
        why = text("the dtype of each weight in the first model", "与第一个模型中各权重相同")
        if config.adapter is not None:
            why = text("the factors are not rounded", "分解结果不再舍入")
        settled["dtype"] = dtype
        reasons.append(Reason("dtype", dtype, why))
    if not config.weights:
        settled["weights"] = list(config.shares)
        why = text("equal shares", "各部分均等")
        reasons.append(Reason("weights", settled["weights"], why))
    reasons += device_reasons(machine, 1, 1)
    env = device_selection(machine, 1)
    return Resolved(config.model_copy(update=settled), tuple(reasons), 1, env)


def with_absolute_paths(config: MixConfig) -> MixConfig:
    """Make the folders of parts and base absolute; the base is the one that the parts recorded."""
    key = "tuned_model" if config.adapter is None else "adapter"
    named = [(key, name) for name in config.names]
    require_all([("model", config.model), *named], hub=config.hub)
    changes: dict[str, Any] = dict(absolute_base(config))
    if config.adapter is None:
        changes[key] = absolute_names(config.names, config.hub)
    else:
        pairs = zip(local_adapters(config), config.names, strict=True)
        changes[key] = [str(adapter.folder) if adapter else name for adapter, name in pairs]
    return config.model_copy(update=changes)


def check(config: MixConfig, on_remark: OnRemark) -> None:
    """Raise UserError for unusable models, and for parts that cannot be mixed."""
    if config.adapter is None:
        check_tuned(config.names, config, on_remark)
    if config.model is not None and not config.needs_base:
        on_remark(_unused_base(config))
    elif config.model is not None:
        inspection = inspect_model(config.model, config, on_remark)
        if inspection is not None:
            require_loadable(config, inspection, on_remark)
    _require_parts(config, on_remark)


def _unused_base(config: MixConfig) -> Remark:
    return Remark(
        NOTE,
        "model",
        text(
            f"model is not used: {config.method} with weights that add up to 1 needs no base",
            f"model 未使用：权重和为 1 的 {config.method} 不需要基座",
        ),
    )


def check_availability(config: MixConfig) -> None:
    """Raise UserError if the parts cannot be mixed, or the result does not fit on the disk."""
    _require_parts(config, ignored)


def _require_parts(config: MixConfig, on_remark: OnRemark) -> None:
    require_base(config)
    place = Place(output_location(config), on_remark)
    base_folder = None
    if config.model is not None and config.needs_base:
        base_folder = local_folder(config.model, "model", config.hub)
    if config.adapter is not None:
        adapters = [adapter for adapter in local_adapters(config) if adapter is not None]
        require_mixable_adapters(config, adapters, base_folder, place)
        return
    folders = [local_folder(name, "tuned_model", config.hub) for name in config.names]
    known = [folder for folder in folders if folder is not None]
    if len(known) == len(folders):
        require_mixable(config, known, base_folder, place)


def run(config: MixConfig, folder: Path, emit: Emit) -> Path | None:
    """Mix, check, and return the folder of the adapter or model."""
    began = time.monotonic()
    report = (_run_models if config.adapter is None else _run_adapters)(config, folder, emit)
    write_json(folder / RECORD, report)
    result = folder / run_folder.MODEL
    emit(events.DONE, seconds=round(time.monotonic() - began, 1), model=str(result))
    return result


def _run_models(config: MixConfig, folder: Path, emit: Emit) -> dict[str, Any]:
    with heavy_imports():
        from swiftbox.core.weights.cast import WeightTypes
        from swiftbox.core.weights.merge_memory import merge_memory
        from swiftbox.core.weights.mix_models import MixJob, mix_models

    folders = [fetched.folder for fetched in fetch_tuned(config.names, config.hub, emit)]
    base_folder, commit = _fetch_base(config, emit)
    models, base_model = require_mixable(config, folders, base_folder, Place(folder, ignored))
    _write_inputs(config, folder, (base_folder, commit), folders)
    emit(events.INPUTS, model=str(base_folder or ""), revision=commit, adapter=None)
    everything = [*models, *([base_model] if base_model else [])]
    weights = [model.weights for model in models]
    stored = tuple(WeightTypes(part.main_dtype, part.dtypes) for part in weights)
    is_stored = config.dtype in ("auto", "stored")
    job = MixJob(
        models=tuple(folders),
        base_model=base_folder,
        stored=stored,
        types=stored[0] if is_stored else WeightTypes(config.dtype, {}),
        tied=tied_heads(everything),
        config=config,
        memory=merge_memory(folder, round(FREE_SHARE * host.memory()[1] / 2)),
        emit=emit,
    )
    report: dict[str, Any] = mix_models(job, folder)
    return report


def _run_adapters(config: MixConfig, folder: Path, emit: Emit) -> dict[str, Any]:
    with heavy_imports():
        from swiftbox.core.tuners.mix_adapters import AdapterMixJob, mix_adapters
        from swiftbox.core.weights.cast import WeightTypes
        from swiftbox.core.weights.merge_bases import BaseFiles
        from swiftbox.core.weights.merge_memory import merge_memory

    adapters = []
    for name in config.names:
        emit(events.STAGE, name="fetch", detail=name)
        fetched = fetch_model(name, hub=config.hub, revision=None, emit=emit, key="adapter")
        adapters.append(read_adapter(fetched.folder))
    folders = [adapter.folder for adapter in adapters]
    config = with_absolute_paths(config.model_copy(update={"adapter": list(map(str, folders))}))
    require_base(config)
    base_folder, commit = _fetch_base(config, emit)
    weights = require_mixable_adapters(config, adapters, base_folder, Place(folder, ignored))
    if base_folder is None or weights is None:
        raise without_base(config.names[0])
    _write_inputs(config, folder, (base_folder, commit), folders)
    emit(events.INPUTS, model=str(base_folder), revision=commit, adapter=list(map(str, folders)))
    tokenizers = [adapter.folder for adapter in adapters if adapter.has_tokenizer]
    types = WeightTypes(weights.main_dtype, weights.dtypes)
    job = AdapterMixJob(
        base_files=BaseFiles(base_folder, types, trust_remote_code=config.trust_remote_code),
        adapters=tuple(folders),
        tokenizer=tokenizers[0] if tokenizers else base_folder,
        base_name=config.model or "",
        revision=commit,
        config=config,
        memory=merge_memory(folder, round(FREE_SHARE * host.memory()[1] / 2)),
        emit=emit,
    )
    report: dict[str, Any] = mix_adapters(job, folder)
    return report


def _fetch_base(config: MixConfig, emit: Emit) -> tuple[Path | None, str | None]:
    """Return the folder of the base and its commit; None if no base is needed."""
    if config.model is None or not config.needs_base:
        return None, None
    emit(events.STAGE, name="fetch", detail=config.model)
    fetched = fetch_model(config.model, hub=config.hub, revision=config.revision, emit=emit)
    require_usable_model(fetched.folder, emit, known=config.model)
    return fetched.folder, fetched.commit or config.revision


def _write_inputs(
    config: MixConfig, folder: Path, base_model: tuple[Path | None, str | None], parts: list[Path]
) -> None:
    key = "tuned_model" if config.adapter is None else "adapter"
    inputs = {"model": str(base_model[0] or ""), "revision": base_model[1]}
    write_json(folder / run_folder.INPUTS, {**inputs, key: [str(part) for part in parts]})


def unused_packages(config: MixConfig) -> frozenset[str]:
    """Return the usual ones, and bitsandbytes: quantized models are refused."""
    usual = usual_unused_packages(config)
    return usual if config.trust_remote_code else usual | BITSANDBYTES


def effects(config: MixConfig) -> Effects:
    """Return what a mix executes, sends and writes outside its folder."""
    return effects_of(config)


def run_name(config: MixConfig) -> str:
    """Name a mix after its method and its first part, or after the run that made it."""
    folder = Path(config.names[0])
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"{config.method.replace('_', '-')}-{name.lower()}"


def outputs(config: MixConfig) -> Mapping[str, Output]:
    """Return the output of a mix: an adapter or a model."""
    key = "model" if config.adapter is None else "adapter"
    return {key: lambda folder: str(folder / run_folder.MODEL)}


def forecast(config: MixConfig, machine: Machine, before: RunInputs) -> Forecast | None:  # noqa: ARG001
    """Estimate a mix: a layer of each part in memory, and the result on disk."""
    bytes_per_weight = BYTES_PER_PARAMETER.get(config.dtype, BYTES_PER_PARAMETER["bfloat16"])
    share = 1.0 if config.adapter is None else 0.05
    return forecast_of_shape(
        before,
        disk=lambda shape: shape.params * bytes_per_weight * share,
        memory=lambda shape: merging(shape).host,
    )


MIX: Task[MixConfig] = Task(
    name="mix",
    discriminator="task",
    default="mix",
    config_classes={"mix": MixConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    effects=effects,
    check=check,
    check_availability=check_availability,
    with_absolute_paths=with_absolute_paths,
    outputs=outputs,
    forecast=forecast,
    uses_devices=False,
    unused_packages=unused_packages,
)
