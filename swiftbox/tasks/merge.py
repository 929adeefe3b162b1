"""task: merge. Merge adapters into their base; the result is checked, or not written at all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.config.merge import MergeConfig
from swiftbox.devices import host
from swiftbox.devices.machine import Machine
from swiftbox.devices.selection import device_selection
from swiftbox.errors import UserError
from swiftbox.files import write_json
from swiftbox.fit.forecast import Forecast, RunInputs, forecast_of_shape
from swiftbox.fit.profile import BYTES_PER_PARAMETER
from swiftbox.fit.serving import merging
from swiftbox.hub.download import Download
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.adapters import Adapter, base_of, read_adapter
from swiftbox.models.inspection import require_usable_model
from swiftbox.models.location import locate, locate_adapter, require_all
from swiftbox.models.merge_checks import (
    BaseWeights,
    quantization_of,
    read_base_weights,
    require_matching_layers,
    require_matching_name,
)
from swiftbox.models.merge_resources import FREE_SHARE, merge_needs, require_resources
from swiftbox.models.text_models import SCORES
from swiftbox.models.vocabulary_rows import require_rows_of_tokens
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.heavy_imports import heavy_imports
from swiftbox.runs.optional_packages import BITSANDBYTES
from swiftbox.tasks.checks import OnRemark, inspect_model, output_location, require_loadable
from swiftbox.tasks.device_reasons import device_reasons
from swiftbox.tasks.effects import Effects
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Reason, Resolved, Task, usual_unused_packages

RECORD = "merge.json"
"""File in the run folder: the checks of the merge, and the measured differences."""


def resolve(config: MergeConfig, machine: Machine) -> Resolved:
    """Settle `auto`; a merge runs on the CPU and gives the same result on every machine."""
    reasons: list[Reason] = []
    settled: dict[str, Any] = {}
    if config.merge_base == "auto":
        settled["merge_base"] = "full"
        why = text(
            "the base that will be served; an NF4 adapter is also compared with its own base",
            "部署时使用的基座；若适配器在 NF4 上训练，会与其训练基座比较",
        )
        reasons.append(Reason("merge_base", "full", why))
    if config.dtype == "auto":
        settled["dtype"] = "stored"
        why = text("the dtype of each weight in the base", "与基座中各权重相同")
        reasons.append(Reason("dtype", "stored", why))
    reasons += device_reasons(machine, 1, 1)
    env = device_selection(machine, 1)
    return Resolved(config.model_copy(update=settled), tuple(reasons), 1, env)


def local_adapters(config: MergeConfig) -> list[Adapter | None]:
    """Return the adapters; None for one on a hub, or made by an earlier step of a pipeline.

    Raises UserError for one that does not exist or cannot be merged.
    """
    return [locate_adapter(name, hub=config.hub) for name in as_list(config.adapter)]


def with_absolute_paths(config: MergeConfig) -> MergeConfig:
    """Make the folders of adapters and base absolute, so that the record is complete."""
    named = [("adapter", name) for name in as_list(config.adapter)]
    require_all([("model", config.model), *named], hub=config.hub)
    adapters = local_adapters(config)
    names = [
        str(adapter.folder) if adapter else name
        for adapter, name in zip(adapters, as_list(config.adapter), strict=True)
    ]
    changes: dict[str, Any] = {"adapter": names if isinstance(config.adapter, list) else names[0]}
    if config.model is None and adapters[0] is not None:
        base_model = base_of(adapters[0])
        changes |= {"model": base_model.name, "hub": base_model.hub or config.hub}
        changes["revision"] = config.revision or base_model.revision
    model = changes.get("model", config.model)
    if model:
        hub = changes.get("hub", config.hub)
        changes["model"] = str(locate(model, key="model", hub=hub) or model)
    return config.model_copy(update=changes)


def require_mergeable(config: MergeConfig, folder: Path) -> None:
    """Raise UserError for every problem that is known before anything is fetched or loaded."""
    adapters = [adapter for adapter in local_adapters(config) if adapter is not None]
    quantized = bool(adapters) and quantization_of(config, adapters) is not None
    for adapter in adapters:
        require_matching_name(adapter, config.model or "")
    base_folder = Path(config.model or "").expanduser()
    if not config.model or not (base_folder / "config.json").is_file():
        return
    base_weights = read_base_weights(base_folder)
    _require_match(base_weights, adapters, config.model)
    needs = merge_needs(base_weights, adapters, quantized=quantized)
    require_resources(base_weights, folder, config.dtype, needs)


def _require_match(base_weights: BaseWeights, adapters: Sequence[Adapter], name: str) -> None:
    """Raise ConfigError if layers or tokens of the adapters have no place in the base."""
    require_matching_layers(base_weights, adapters, name)
    require_rows_of_tokens(base_weights.folder, base_weights.shapes, adapters)


def _head(adapters: Iterable[Adapter | None]) -> str:
    """Return the head that the base gets: the one that the adapters were trained with."""
    tasks = [adapter.config.get("task_type") for adapter in adapters if adapter is not None]
    return "score" if SCORES in tasks else "language"


def check(config: MergeConfig, on_remark: OnRemark) -> None:
    """Raise UserError for an unusable base, and for adapters that do not fit it."""
    if config.model is not None:
        head = _head(local_adapters(config))
        inspection = inspect_model(config.model, config, on_remark, head=head)
        if inspection is not None:
            require_loadable(config, inspection, on_remark, head=head)
    check_availability(config)


def check_availability(config: MergeConfig) -> None:
    """Raise UserError if the adapters do not fit, or the result does not fit on the disk."""
    require_mergeable(config, output_location(config))


def run(config: MergeConfig, folder: Path, emit: Emit) -> Path | None:
    """Merge, check, and return the folder of the merged model."""
    with heavy_imports():
        from swiftbox.core.weights.cast import WeightTypes
        from swiftbox.core.weights.merge import MergeJob, merge
        from swiftbox.core.weights.merge_memory import merge_memory

    began = time.monotonic()
    adapters = _fetch_adapters(config, emit)
    folders = [str(adapter.folder) for adapter in adapters]
    config = with_absolute_paths(config.model_copy(update={"adapter": folders}))
    fetched = _fetch_base(config, adapters, emit)
    base_weights = read_base_weights(fetched.folder)
    _require_match(base_weights, adapters, config.model or "")
    quantization = quantization_of(config, adapters)
    needs = merge_needs(base_weights, adapters, quantized=quantization is not None)
    require_resources(base_weights, folder, config.dtype, needs)
    inputs = {
        "model": str(fetched.folder),
        "revision": fetched.commit or config.revision,
        "adapter": folders,
    }
    write_json(folder / run_folder.INPUTS, inputs)
    emit(events.INPUTS, **inputs)
    tokenizers = [adapter.folder for adapter in adapters if adapter.has_tokenizer]
    stored = WeightTypes(base_weights.main_dtype, base_weights.dtypes)
    job = MergeJob(
        base_folder=fetched.folder,
        adapters=tuple(adapter.folder for adapter in adapters),
        tokenizer=tokenizers[-1] if tokenizers else fetched.folder,
        stored=stored,
        types=stored if config.dtype == "stored" else WeightTypes(config.dtype, {}),
        quantization=quantization,
        config=config,
        memory=merge_memory(folder, round(FREE_SHARE * host.memory()[1] / 2)),
    )
    merged, report = merge(job, folder, emit)
    write_json(folder / RECORD, report)
    emit(events.DONE, seconds=round(time.monotonic() - began, 1), model=str(merged))
    return merged


def _fetch_base(config: MergeConfig, adapters: Sequence[Adapter], emit: Emit) -> Download:
    """Fetch the base; raise UserError if it is not the base of every adapter, or incomplete."""
    name = config.model or ""
    for adapter in adapters:
        require_matching_name(adapter, name)
    emit(events.STAGE, name="fetch", detail=name)
    fetched = fetch_model(name, hub=config.hub, revision=config.revision, emit=emit)
    require_usable_model(fetched.folder, emit, known=name, head=_head(adapters))
    return fetched


def _fetch_adapters(config: MergeConfig, emit: Emit) -> Sequence[Adapter]:
    adapters = []
    for name in as_list(config.adapter):
        emit(events.STAGE, name="fetch", detail=name)
        fetched = fetch_model(name, hub=config.hub, revision=None, emit=emit, key="adapter")
        adapters.append(read_adapter(fetched.folder))
    return adapters


def unused_packages(config: MergeConfig) -> frozenset[str]:
    """Return the usual ones, and bitsandbytes if no adapter can come from a quantized base.

    peft imports it where it is installed, and not every machine with it can import it.
    """
    try:
        adapters = local_adapters(config)
    except UserError:  # the run says what is wrong with it
        return usual_unused_packages(config)
    known = [adapter for adapter in adapters if adapter is not None]
    is_unknown = config.trust_remote_code or len(known) < len(adapters)
    if is_unknown or quantization_of(config, known) is not None:
        return usual_unused_packages(config)
    return usual_unused_packages(config) | BITSANDBYTES


def effects(config: MergeConfig) -> Effects:
    """Return what a merge executes, sends and writes outside its folder."""
    return effects_of(config)


def run_name(config: MergeConfig) -> str:
    """Name a merge after its adapter, or after the run that made the adapter."""
    folder = Path(as_list(config.adapter)[-1])
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"merge-{name.lower()}"


def outputs(config: MergeConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the output of a merge: the merged model."""
    return {"model": lambda folder: str(folder / run_folder.MODEL)}


def forecast(config: MergeConfig, machine: Machine, before: RunInputs) -> Forecast | None:  # noqa: ARG001
    """Estimate a merge: a layer in float32 in memory, and the model on disk."""
    bytes_per_weight = BYTES_PER_PARAMETER.get(config.dtype, BYTES_PER_PARAMETER["bfloat16"])
    return forecast_of_shape(
        before,
        disk=lambda shape: shape.params * bytes_per_weight,
        memory=lambda shape: merging(shape).host,
    )


MERGE: Task[MergeConfig] = Task(
    name="merge",
    discriminator="task",
    default="merge",
    config_classes={"merge": MergeConfig},
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
