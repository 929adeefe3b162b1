"""task: merge. Adapters into their base: exact, checked, written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.config.merge import MergeConfig
from swiftbox.devices.machine import Machine
from swiftbox.files import write_json
from swiftbox.fit.forecast import Before, Forecast, of_shape
from swiftbox.fit.serving import merging
from swiftbox.fit.source import STORED
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.adapters import Adapter, base_of, look
from swiftbox.models.inspection import require_sound
from swiftbox.models.location import locate, locate_adapter
from swiftbox.models.merge_checks import (
    quantization_of,
    require_fit,
    require_named,
    require_resources,
    stored,
)
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.tasks.checks import OnRemark, inspected, sound
from swiftbox.tasks.task import Output, Reason, Resolved, Task

RECORD = "merge.json"
"""In the run folder: what was checked, and by how much the results differ."""


def resolve(config: MergeConfig, machine: Machine) -> Resolved:  # noqa: ARG001 - as every task
    """Settle `auto`; a merge is done on the processor and is the same on every machine."""
    reasons: list[Reason] = []
    settled: dict[str, Any] = {}
    if config.merge_base == "auto":
        settled["merge_base"] = "full"
        why = text(
            "the base it will be served on; an NF4 adapter's own base is compared with it",
            "部署时使用的基座；若适配器在 NF4 上训练，会与其训练基座比较",
        )
        reasons.append(Reason("merge_base", "full", why))
    if config.dtype == "auto":
        settled["dtype"] = "stored"
        why = text("each weight as the base has it", "与基座中各权重相同")
        reasons.append(Reason("dtype", "stored", why))
    return Resolved(config.model_copy(update=settled), tuple(reasons), 1, {})


def adapters_here(config: MergeConfig) -> list[Adapter | None]:
    """Look at the adapters; None for one that is still on a hub, or to be made.

    Raises UserError for one that is not there or cannot be merged.
    """
    return [locate_adapter(name, hub=config.hub) for name in as_list(config.adapter)]


def with_absolute_paths(config: MergeConfig) -> MergeConfig:
    """Name the folders of adapters and base, so that the record stands for itself."""
    found = adapters_here(config)
    names = [
        str(adapter.folder) if adapter else name
        for adapter, name in zip(found, as_list(config.adapter), strict=True)
    ]
    changes: dict[str, Any] = {"adapter": names if isinstance(config.adapter, list) else names[0]}
    if config.model is None and found[0] is not None:
        base = base_of(found[0])
        changes |= {"model": base.name, "hub": base.hub or config.hub}
        changes["revision"] = config.revision or base.revision
    model = changes.get("model", config.model)
    if model:
        hub = changes.get("hub", config.hub)
        changes["model"] = str(locate(model, key="model", hub=hub) or model)
    return config.model_copy(update=changes)


def require_mergeable(config: MergeConfig, folder: Path) -> None:
    """Raise UserError for what is known to be wrong before anything is fetched or loaded."""
    found = [one for one in adapters_here(config) if one is not None]
    quantized = bool(found) and quantization_of(config, found) is not None
    for one in found:
        require_named(one, config.model or "")
    here = Path(config.model or "").expanduser()
    if not config.model or not (here / "config.json").is_file():
        return
    base = stored(here)
    require_fit(base, found, config.model)
    require_resources(base, folder, config.dtype, quantized=quantized)


def check(config: MergeConfig, on_remark: OnRemark) -> None:
    """Raise UserError for a base that cannot be used, and for adapters that do not fit it."""
    if config.model is not None:
        seen = inspected(config.model, config, on_remark)
        if seen is not None:
            sound(config, seen, on_remark)
    into = Path.cwd() if config.output_dir == "auto" else Path(config.output_dir).expanduser()
    require_mergeable(config, into)


def run(config: MergeConfig, folder: Path, emit: Emit) -> Path | None:
    """Merge, check, and return the folder of the merged model."""
    from swiftbox.core.weights.cast import Types
    from swiftbox.core.weights.merge import Merge, merge

    began = time.monotonic()
    adapters = _fetched(config, emit)
    config = with_absolute_paths(
        config.model_copy(update={"adapter": [str(one.folder) for one in adapters]})
    )
    name = config.model or ""
    for one in adapters:
        require_named(one, name)
    emit(events.STAGE, name="fetch", detail=name)
    fetched = fetch_model(name, hub=config.hub, revision=config.revision, emit=emit)
    require_sound(fetched.folder, emit, known=name)
    base = stored(fetched.folder)
    require_fit(base, adapters, name)
    quantization = quantization_of(config, adapters)
    require_resources(base, folder, config.dtype, quantized=quantization is not None)
    found = {
        "model": str(fetched.folder),
        "revision": fetched.commit or config.revision,
        "adapter": [str(one.folder) for one in adapters],
    }
    write_json(folder / run_folder.INPUTS, found)
    emit(events.INPUTS, **found)
    tokenizers = [one.folder for one in adapters if one.has_tokenizer]
    stays = config.dtype == "stored"
    work = Merge(
        base=fetched.folder,
        adapters=tuple(one.folder for one in adapters),
        tokenizer=tokenizers[-1] if tokenizers else fetched.folder,
        types=Types(base.main_dtype, base.dtypes) if stays else Types(config.dtype, {}),
        quantization=quantization,
        config=config,
    )
    made, report = merge(work, folder, emit)
    write_json(folder / RECORD, report)
    emit(events.DONE, seconds=round(time.monotonic() - began, 1), model=str(made))
    return made


def _fetched(config: MergeConfig, emit: Emit) -> Sequence[Adapter]:
    adapters = []
    for name in as_list(config.adapter):
        emit(events.STAGE, name="fetch", detail=name)
        fetched = fetch_model(name, hub=config.hub, revision=None, emit=emit, key="adapter")
        adapters.append(look(fetched.folder))
    return adapters


def run_name(config: MergeConfig) -> str:
    """Name a merge by its adapter; that of a run has the run's name."""
    folder = Path(as_list(config.adapter)[-1])
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"merge-{name.lower()}"


def outputs(config: MergeConfig) -> Mapping[str, Output]:  # noqa: ARG001 - as every task
    """Name the merged model."""
    return {"model": lambda folder: str(folder / run_folder.MODEL)}


def forecast(config: MergeConfig, machine: Machine, before: Before) -> Forecast | None:  # noqa: ARG001
    """Tell what a merge takes: the model in float32, and its copy on the disk."""
    each = STORED.get(config.dtype, STORED["bfloat16"])
    return of_shape(
        before,
        disk=lambda shape: shape.params * each,
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
    check=check,
    with_absolute_paths=with_absolute_paths,
    outputs=outputs,
    forecast=forecast,
    uses_devices=False,
)
