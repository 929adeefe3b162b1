"""task: quantize. A model, or an adapter merged into it, to fewer bits: checked, or not kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.merge import MergeConfig
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.config.references import is_reference
from swiftbox.data.files import files_of
from swiftbox.data.source import RowSource
from swiftbox.devices import choices
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError
from swiftbox.files import read_json, write_json
from swiftbox.fit.forecast import Before, Forecast, of_shape
from swiftbox.fit.serving import quantizing
from swiftbox.fit.source import STORED
from swiftbox.hub.fetch import fetch_dataset, fetch_model
from swiftbox.language import text
from swiftbox.models.inspection import require_sound
from swiftbox.models.location import locate, looks_like_path
from swiftbox.quantization import gguf
from swiftbox.quantization.preconditions import (
    require_device_room,
    require_quantizable,
    require_room,
)
from swiftbox.quantization.resolve import ENGINES, require_backend, settle
from swiftbox.quantization.run import WORK, Work, quantize
from swiftbox.quantization.texts import examples_of, sources_of
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.tasks import merge
from swiftbox.tasks.checks import OnRemark, absolute, inspected, sound
from swiftbox.tasks.pipeline.fingerprint import identity, is_path
from swiftbox.tasks.task import Output, Reason, Resolved, Task

MERGED = "merged"
STAMP = "stamp.json"
"""In the folder of unfinished parts: which files they were made of."""


def resolve(config: QuantizeConfig, machine: Machine) -> Resolved:
    """Settle bits, group size, number type and bound; refuse what the backend has no row for."""
    require_backend(config, machine)
    found = list(settle(config, machine))
    reasons = tuple(Reason(one.key, one.value, one.why) for one in found)
    settled = config.model_copy(update={one.key: one.value for one in found})
    return Resolved(settled, reasons, 1, choices.environment(machine, 1))


def engines(config: QuantizeConfig, machine: Machine) -> tuple[str, ...]:  # noqa: ARG001 - as every task
    """Name the engine of the method."""
    name = ENGINES.get(config.method)
    return (name,) if name else ()


def merging(config: QuantizeConfig) -> MergeConfig | None:
    """Return the merge that comes first; None without an adapter."""
    if config.adapter is None:
        return None
    return MergeConfig(
        adapter=config.adapter,
        model=config.model,
        hub=config.hub,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
        merge_base="full",
        dtype="stored",
    )


def with_absolute_paths(config: QuantizeConfig) -> QuantizeConfig:
    """Name the folders of model, adapter and data, so that the record stands for itself."""
    changes: dict[str, Any] = {}
    first = merging(config)
    if first is not None:
        found = merge.with_absolute_paths(first)
        names = ("model", "hub", "revision", "adapter")
        changes |= {name: getattr(found, name) for name in names}
    elif config.model is not None:
        changes["model"] = str(locate(config.model, key="model", hub=config.hub) or config.model)
    data = config.calibration_dataset
    if isinstance(data, str):
        changes["calibration_dataset"] = absolute(data)
    elif data is not None:
        changes["calibration_dataset"] = [_absolute(one) for one in data]
    return config.model_copy(update=changes)


def _absolute(one: str | DatasetSource) -> str | DatasetSource:
    if isinstance(one, str):
        return absolute(one)
    return one.model_copy(update={"path": absolute(one.path)})


def check(config: QuantizeConfig, on_remark: OnRemark) -> None:
    """Raise UserError for whatever can be known before anything starts."""
    if config.method == "gguf":
        gguf.require()
    if config.model is not None:
        seen = inspected(config.model, config, on_remark)
        if seen is not None:
            sound(config, seen, on_remark)
    into = Path.cwd() if config.output_dir == "auto" else Path(config.output_dir).expanduser()
    first = merging(config)
    if first is not None:
        merge.require_mergeable(first, into)
    here = Path(config.model or "").expanduser()
    if config.model and (here / "config.json").is_file():
        require_quantizable(here, config)
        require_room(here, into, config)
    _require_rows(config)


def _require_rows(config: QuantizeConfig) -> None:
    """Look at the calibration rows that are on this machine."""
    here = []
    for one in sources_of(config):
        if is_reference(one.path):
            continue
        if Path(one.path).expanduser().exists():
            files_of(one)
            here.append(one)
            continue
        if config.hub == "local" or looks_like_path(one.path):
            raise ConfigError(
                text(
                    f"calibration_dataset: no file {one.path}",
                    f"calibration_dataset：文件 {one.path} 不存在",
                ),
                hint=text(
                    "relative paths start where the command runs", "相对路径以运行命令的目录为起点"
                ),
            )
    if here:
        examples_of(here)


def run(config: QuantizeConfig, folder: Path, emit: Emit) -> Path | None:
    """Merge where there is an adapter, quantize, check, and return the folder of the result."""
    began = time.monotonic()
    machine = Machine.from_dict(read_json(folder / run_folder.MACHINE))
    sources: tuple[RowSource, ...] = ()
    if config.calibration_dataset is not None:
        rows = config.calibration_dataset
        sources = fetch_dataset(rows, columns=config.columns, hub=config.hub, emit=emit)
    source, found = _source(config, folder, emit, [one.path for one in sources])
    require_quantizable(source, config)
    require_room(source, folder, config)
    require_device_room(source, config, machine)
    emit(events.INPUTS, **found)
    made, report = quantize(Work(config, source, sources, folder, machine, emit))
    if config.keep_merged and (folder / WORK / MERGED).is_dir():
        shutil.rmtree(folder / MERGED, ignore_errors=True)
        (folder / WORK / MERGED / run_folder.MODEL).rename(folder / MERGED)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    emit(events.DONE, seconds=round(time.monotonic() - began, 1), model=str(made), **_brief(report))
    return made


def _brief(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("bytes_before", "bytes_after", "perplexity_ratio")}


def _source(
    config: QuantizeConfig, folder: Path, emit: Emit, data: list[str]
) -> tuple[Path, dict[str, Any]]:
    """Return the unquantized model, fetched or merged, and what went into it."""
    first = merging(config)
    if first is None:
        name = config.model or ""
        emit(events.STAGE, name="fetch", detail=name)
        fetched = fetch_model(name, hub=config.hub, revision=config.revision, emit=emit)
        require_sound(fetched.folder, emit, known=name)
        found = {
            "model": str(fetched.folder),
            "revision": fetched.commit or config.revision,
            "adapter": None,
        }
        _keep_or_begin_anew(folder / WORK, [str(fetched.folder), *data], emit)
        write_json(folder / run_folder.INPUTS, found)
        return fetched.folder, found
    named = [*as_list(config.adapter), config.model or ""]
    _keep_or_begin_anew(folder / WORK, [*named, *data], emit)
    place = folder / WORK / MERGED
    made = place / run_folder.MODEL
    kept = read_json(folder / run_folder.INPUTS)
    if made.is_dir() and kept:
        message = text("the merged model is found from before the stop", "沿用中断前合并的模型")
        emit(events.NOTE, key="merge", message=message)
        return made, {key: kept[key] for key in ("model", "revision", "adapter")}
    place.mkdir(parents=True, exist_ok=True)

    def told(event: str, **fields: Any) -> None:
        if event != events.DONE:  # its end is not the end of this run
            emit(event, **fields)

    merge.run(first, place, told)
    found = read_json(place / run_folder.INPUTS)
    write_json(folder / run_folder.INPUTS, found)
    return made, found


def _keep_or_begin_anew(place: Path, named: list[str], emit: Emit) -> None:
    """Forget the parts of an earlier start when a file of model, adapters or data has changed."""
    now = {name: identity(Path(name)) for name in named if is_path(name)}
    if place.is_dir() and read_json(place / STAMP) != now:
        message = text(
            "the model, an adapter or the calibration data has changed: all is done anew",
            "模型、适配器或校准数据已改变：全部重新开始",
        )
        emit(events.WARNING, message=message)
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / STAMP, now)


def run_name(config: QuantizeConfig) -> str:
    """Name a quantization by its method and its model; that of a run has the run's name."""
    named = as_list(config.adapter)[-1] if config.adapter else config.model
    folder = Path(named or "model")
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"{config.method}-{name.lower()}"


def outputs(config: QuantizeConfig) -> Mapping[str, Output]:  # noqa: ARG001 - as every task
    """Name the quantized model."""
    return {"model": lambda folder: str(folder / run_folder.MODEL)}


def forecast(config: QuantizeConfig, machine: Machine, before: Before) -> Forecast | None:  # noqa: ARG001
    """Tell what a quantization takes: the model in the host, its layers in fewer bits on disk."""
    samples, length = config.calibration_samples, config.calibration_length
    need = partial(quantizing, samples=samples, length=length)
    bits = config.bits or 4
    return of_shape(
        before,
        disk=lambda shape: shape.inside * bits / 8 + shape.outside * STORED["bfloat16"],
        memory=lambda shape: need(shape).host + need(shape).device,
    )


QUANTIZE: Task[QuantizeConfig] = Task(
    name="quantize",
    discriminator="task",
    default="quantize",
    config_classes={"quantize": QuantizeConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    check=check,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    outputs=outputs,
    forecast=forecast,
)
