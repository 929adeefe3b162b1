"""task: extract. A LoRA adapter from a fully trained model and its base, with measured errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.extract import ExtractConfig
from swiftbox.devices import host
from swiftbox.devices.machine import Machine
from swiftbox.devices.selection import device_selection
from swiftbox.files import write_json
from swiftbox.fit.forecast import Forecast, RunInputs, forecast_of_shape
from swiftbox.fit.serving import merging
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.extract_modules import require_modules, require_places_of_rows
from swiftbox.models.extract_resources import require_extract_resources
from swiftbox.models.inspection import require_usable_model
from swiftbox.models.location import locate, require_all
from swiftbox.models.merge_checks import BaseWeights
from swiftbox.models.merge_resources import FREE_SHARE
from swiftbox.models.model_pairs import (
    read_named,
    require_one_architecture,
)
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
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Reason, Resolved, Task, usual_unused_packages
from swiftbox.tasks.tuned_models import (
    absolute_names,
    check_tuned,
    fetch_tuned,
    local_folder,
    recorded_base,
    same_folder,
    without_base,
)

RECORD = "extract.json"
"""File in the run folder: the error of each layer, and the measured differences."""


def resolve(config: ExtractConfig, machine: Machine) -> Resolved:
    """Settle `auto`; an extraction runs on the CPU and gives the same result everywhere."""
    reasons: list[Reason] = []
    settled: dict[str, Any] = {}
    if config.dtype == "auto":
        settled["dtype"] = "float32"
        why = text("the factors are not rounded", "分解结果不再舍入")
        reasons.append(Reason("dtype", "float32", why))
    reasons += device_reasons(machine, 1, 1)
    env = device_selection(machine, 1)
    return Resolved(config.model_copy(update=settled), tuple(reasons), 1, env)


def with_absolute_paths(config: ExtractConfig) -> ExtractConfig:
    """Make the folders absolute; the base is the one that the model's run recorded."""
    require_all([("model", config.model), ("tuned_model", config.tuned_model)], hub=config.hub)
    changes: dict[str, Any] = {"tuned_model": absolute_names([config.tuned_model], config.hub)[0]}
    model, hub = config.model, str(config.hub)
    if model is None and (base_model := recorded_base(config.tuned_model, hub)) is not None:
        model, hub = base_model.name, base_model.hub or hub
        changes |= {"hub": hub, "revision": config.revision or base_model.revision}
    if model is not None:
        changes["model"] = str(locate(model, key="model", hub=hub) or model)
    return config.model_copy(update=changes)


def check(config: ExtractConfig, on_remark: OnRemark) -> None:
    """Raise UserError for unusable models, and for models that do not belong together."""
    check_tuned([config.tuned_model], config, on_remark)
    if config.model is not None:
        inspection = inspect_model(config.model, config, on_remark)
        if inspection is not None:
            require_loadable(config, inspection, on_remark)
    _require_pair(config, output_location(config), on_remark)


def check_availability(config: ExtractConfig) -> None:
    """Raise UserError if the models do not belong together, or the adapter does not fit."""
    _require_pair(config, output_location(config), ignored)


def _require_pair(config: ExtractConfig, folder: Path, on_remark: OnRemark) -> None:
    tuned = local_folder(config.tuned_model, "tuned_model", config.hub)
    if tuned is None:
        return
    if config.model is None:
        raise without_base(config.tuned_model)
    base_model = local_folder(config.model, "model", config.hub)
    if base_model == tuned:
        raise same_folder(config.tuned_model)
    if base_model is not None:
        _require_extractable(config, (base_model, tuned), folder, on_remark)


def _require_extractable(
    config: ExtractConfig, folders: tuple[Path, Path], folder: Path, on_remark: OnRemark
) -> tuple[BaseWeights, BaseWeights]:
    """Return the headers of both models; raise UserError for all that a run would refuse."""
    base_model = read_named("model", config.model or "", folders[0])
    tuned = read_named("tuned_model", config.tuned_model, folders[1])
    for remark in require_one_architecture(base_model, tuned):
        on_remark(remark)
    require_modules(config, tuned)
    require_places_of_rows(config, base_model, tuned)
    pair = base_model.weights, tuned.weights
    require_extract_resources(pair, folder, config)
    return pair


def run(config: ExtractConfig, folder: Path, emit: Emit) -> Path | None:
    """Extract, check, and return the folder of the adapter."""
    with heavy_imports():
        from swiftbox.core.tuners.extract import extract
        from swiftbox.core.tuners.extract_checks import ExtractJob
        from swiftbox.core.weights.cast import WeightTypes
        from swiftbox.core.weights.merge_bases import BaseFiles
        from swiftbox.core.weights.merge_memory import merge_memory

    began = time.monotonic()
    (tuned,) = fetch_tuned([config.tuned_model], config.hub, emit)
    if config.model is None:
        raise without_base(config.tuned_model)
    emit(events.STAGE, name="fetch", detail=config.model)
    fetched = fetch_model(config.model, hub=config.hub, revision=config.revision, emit=emit)
    require_usable_model(fetched.folder, emit, known=config.model)
    folders = fetched.folder, tuned.folder
    pair = _require_extractable(config, folders, folder, ignored)
    commit = fetched.commit or config.revision
    inputs = {"model": str(fetched.folder), "revision": commit, "adapter": None}
    write_json(folder / run_folder.INPUTS, {**inputs, "tuned_model": str(tuned.folder)})
    emit(events.INPUTS, **inputs)
    base_files, tuned_files = (
        BaseFiles(
            weights.folder,
            WeightTypes(weights.main_dtype, weights.dtypes),
            trust_remote_code=config.trust_remote_code,
        )
        for weights in pair
    )
    memory = merge_memory(folder, round(FREE_SHARE * host.memory()[1] / 2))
    job = ExtractJob(base_files, tuned_files, config.model, commit, config, memory, emit)
    report = extract(job, folder)
    write_json(folder / RECORD, report)
    adapter = folder / run_folder.MODEL
    emit(events.DONE, seconds=round(time.monotonic() - began, 1), adapter=str(adapter))
    return adapter


def unused_packages(config: ExtractConfig) -> frozenset[str]:
    """Return the usual ones, and bitsandbytes: quantized models are refused."""
    usual = usual_unused_packages(config)
    return usual if config.trust_remote_code else usual | BITSANDBYTES


def effects(config: ExtractConfig) -> Effects:
    """Return what an extraction executes, sends and writes outside its folder."""
    return effects_of(config)


def run_name(config: ExtractConfig) -> str:
    """Name an extraction after its model, or after the run that made the model."""
    folder = Path(config.tuned_model)
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"extract-{name.lower()}"


def outputs(config: ExtractConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the output of an extraction: the adapter."""
    return {"adapter": lambda folder: str(folder / run_folder.MODEL)}


def forecast(config: ExtractConfig, machine: Machine, before: RunInputs) -> Forecast | None:  # noqa: ARG001
    """Estimate an extraction: layers of two models in memory, factors on disk."""
    rank = config.max_rank if config.lora_rank == "auto" else config.lora_rank
    return forecast_of_shape(
        before,
        disk=lambda shape: shape.layers * 14.0 * rank * max(shape.hidden, shape.intermediate) * 4,
        memory=lambda shape: 2 * merging(shape).host,
    )


EXTRACT: Task[ExtractConfig] = Task(
    name="extract",
    discriminator="task",
    default="extract",
    config_classes={"extract": ExtractConfig},
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
