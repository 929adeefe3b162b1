"""task: quantize. Quantize a model, or a base with an adapter; a bad result is deleted."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.config.merge import MergeConfig
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.config.references import is_reference
from swiftbox.data.files import files_of
from swiftbox.data.missing_files import missing_file
from swiftbox.data.source import RowSource
from swiftbox.devices import choices
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, UserError
from swiftbox.files import read_json, write_json
from swiftbox.fit.forecast import Forecast, RunInputs, forecast_of_shape
from swiftbox.fit.profile import BYTES_PER_PARAMETER, profile_model
from swiftbox.fit.serving import quantizing
from swiftbox.hub.fetch import fetch_dataset, fetch_model
from swiftbox.language import text
from swiftbox.models.inspection import require_usable_model
from swiftbox.models.location import find_folder, locate, looks_like_path
from swiftbox.models.text_models import require_writes_text
from swiftbox.quantization.calibration import calibration_sources, read_examples
from swiftbox.quantization.job import QuantizationJob
from swiftbox.quantization.preconditions import (
    require_device_room,
    require_quantizable,
    require_resources,
)
from swiftbox.quantization.resolve import ENGINES, require_backend, resolve_settings
from swiftbox.quantization.run import quantize
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.plain_files import read_record
from swiftbox.tasks import merge
from swiftbox.tasks.checks import (
    OnRemark,
    absolute_sources,
    inspect_model,
    output_location,
    require_loadable,
)
from swiftbox.tasks.device_reasons import device_reasons
from swiftbox.tasks.effects import Effects
from swiftbox.tasks.pipeline.fingerprint import identity, is_path
from swiftbox.tasks.quantized_results import result_remark
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Reason, Resolved, Task

MERGED = "merged"
STAMP = "stamp.json"
"""File in the folder of unfinished parts: the identity of their inputs."""


def resolve(config: QuantizeConfig, machine: Machine) -> Resolved:
    """Settle bits, group size, dtype and error bound; raise MachineError if unsupported here."""
    require_backend(config, machine)
    decisions = list(resolve_settings(config, machine, _parameters(config)))
    reasons = tuple(Reason(row.key, row.value, row.why) for row in decisions)
    reasons += device_reasons(machine, 1, 1)
    settled = config.model_copy(update={row.key: row.value for row in decisions})
    return Resolved(settled, reasons, 1, choices.environment(machine, 1))


def _parameters(config: QuantizeConfig) -> float | None:
    """Return the number of parameters of the model, or of an adapter's base; None if not known."""
    names = [config.model, *as_list(config.adapter or [])]
    if any(map(is_reference, filter(None, names))):
        return None
    model = config.model
    if model is None:
        with contextlib.suppress(UserError):  # the check reports it
            model = with_absolute_paths(config).model
    profile = profile_model(str(find_folder(model) or model), ask=False) if model else None
    return profile.shape.params if profile is not None else None


def engines(config: QuantizeConfig, machine: Machine) -> tuple[str, ...]:  # noqa: ARG001 - the signature of every task
    """Return the engine of the method, if it needs one."""
    name = ENGINES.get(config.method)
    return (name,) if name else ()


def merging(config: QuantizeConfig) -> MergeConfig | None:
    """Return the merge that precedes the quantization; None without an adapter."""
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
    """Make the folders of model, adapter and data absolute, so that the record is complete."""
    changes: dict[str, Any] = {}
    first = merging(config)
    if first is not None:
        absolute_merge = merge.with_absolute_paths(first)
        names = ("model", "hub", "revision", "adapter")
        changes |= {name: getattr(absolute_merge, name) for name in names}
    elif config.model is not None:
        changes["model"] = str(locate(config.model, key="model", hub=config.hub) or config.model)
    if config.calibration_dataset is not None:
        changes["calibration_dataset"] = absolute_sources(config.calibration_dataset)
    return config.model_copy(update=changes)


def check(config: QuantizeConfig, on_remark: OnRemark) -> None:
    """Raise UserError for every problem that is known before anything starts."""
    inspection = None
    if config.model is not None:
        inspection = inspect_model(config.model, config, on_remark)
        if inspection is not None:
            require_loadable(config, inspection, on_remark)
    on_remark(result_remark(config, inspection))
    if (model := _local_model(config)) is not None:
        require_quantizable(model, config)
        _require_convertible(model, config)
    check_availability(config)
    _require_rows(config)


def _require_convertible(model: Path, config: QuantizeConfig) -> None:
    """Raise ConfigError for a model that llama.cpp's converter refuses."""
    if config.method != "gguf":
        return
    from swiftbox.quantization.conversion_trial import conversion_refusal

    if error := conversion_refusal(model, trusted=config.trust_remote_code):
        raise error


def check_availability(config: QuantizeConfig) -> None:
    """Raise UserError if the adapter does not fit, or the disk or memory is too small."""
    into = output_location(config)
    if (first := merging(config)) is not None:
        for adapter in merge.local_adapters(first):
            if adapter is not None:
                require_writes_text(adapter.folder, "adapter")
        merge.require_mergeable(first, into)
    if (model := _local_model(config)) is not None:
        require_resources(model, into, config)


def _local_model(config: QuantizeConfig) -> Path | None:
    model = Path(config.model or "").expanduser()
    return model if config.model and (model / "config.json").is_file() else None


def _require_rows(config: QuantizeConfig) -> None:
    """Check the calibration rows that are on this machine."""
    local_sources = []
    for source in calibration_sources(config):
        if is_reference(source.path):
            continue
        if Path(source.path).expanduser().exists():
            files_of(source)
            local_sources.append(source)
            continue
        if config.hub == "local" or looks_like_path(source.path):
            raise missing_file(source.path, "calibration_dataset", ConfigError)
    if local_sources:
        read_examples(local_sources)


def run(config: QuantizeConfig, folder: Path, emit: Emit) -> Path | None:
    """Merge the adapter if there is one, quantize and check; return the folder of the result."""
    began = time.monotonic()
    machine = Machine.from_dict(read_record(folder / run_folder.MACHINE))
    sources: tuple[RowSource, ...] = ()
    if config.calibration_dataset is not None:
        rows = config.calibration_dataset
        sources = fetch_dataset(rows, columns=config.columns, hub=config.hub, emit=emit)
    data = [source.path for source in sources]
    model, inputs = _unquantized_model(config, folder, emit, data)
    require_quantizable(model, config)
    require_resources(model, folder, config)
    require_device_room(model, config, machine)
    emit(events.INPUTS, **inputs)
    quantized, report = quantize(QuantizationJob(config, model, sources, folder, machine, emit))
    if config.keep_merged and (folder / run_folder.WORK / MERGED).is_dir():
        shutil.rmtree(folder / MERGED, ignore_errors=True)
        (folder / run_folder.WORK / MERGED / run_folder.MODEL).rename(folder / MERGED)
    shutil.rmtree(folder / run_folder.WORK, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    emit(events.DONE, seconds=seconds, model=str(quantized), **_sizes(report))
    return quantized


def _sizes(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("bytes_before", "bytes_after", "perplexity_ratio")}


def _unquantized_model(
    config: QuantizeConfig, folder: Path, emit: Emit, data: list[str]
) -> tuple[Path, dict[str, Any]]:
    """Return the model to quantize, fetched or merged, and the inputs to record."""
    first = merging(config)
    if first is not None:
        names = [*as_list(config.adapter), config.model or "", *data]
        _discard_outdated(folder / run_folder.WORK, names, emit)
        return _merged_model(first, folder, emit)
    name = config.model or ""
    emit(events.STAGE, name="fetch", detail=name)
    fetched = fetch_model(name, hub=config.hub, revision=config.revision, emit=emit)
    require_usable_model(fetched.folder, emit, known=name)
    inputs = {
        "model": str(fetched.folder),
        "revision": fetched.commit or config.revision,
        "adapter": None,
    }
    _discard_outdated(folder / run_folder.WORK, [str(fetched.folder), *data], emit)
    write_json(folder / run_folder.INPUTS, inputs)
    return fetched.folder, inputs


def _merged_model(first: MergeConfig, folder: Path, emit: Emit) -> tuple[Path, dict[str, Any]]:
    """Return the merged model, reused if it was complete before a stop, and its inputs."""
    merge_folder = folder / run_folder.WORK / MERGED
    model = merge_folder / run_folder.MODEL
    earlier = read_record(folder / run_folder.INPUTS)
    if model.is_dir() and earlier:
        message = text("reusing the model merged before the stop", "沿用中断前合并的模型")
        emit(events.NOTE, key="merge", message=message)
        return model, {key: earlier[key] for key in ("model", "revision", "adapter")}
    merge_folder.mkdir(parents=True, exist_ok=True)

    def emit_unless_done(event: str, **fields: Any) -> None:
        if event != events.DONE:  # the end of the merge is not the end of this run
            emit(event, **fields)

    merge.run(first, merge_folder, emit_unless_done)
    inputs = read_record(merge_folder / run_folder.INPUTS)
    write_json(folder / run_folder.INPUTS, inputs)
    return model, inputs


def _discard_outdated(work: Path, names: list[str], emit: Emit) -> None:
    """Delete the parts of an earlier start if a file of model, adapters or data has changed."""
    identities = {name: identity(Path(name)) for name in names if is_path(name)}
    if work.is_dir() and read_json(work / STAMP) != identities:
        message = text(
            "the model, an adapter or the calibration data has changed: starting over",
            "模型、适配器或校准数据已改变：重新开始",
        )
        emit(events.WARNING, message=message)
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / STAMP, identities)


def effects(config: QuantizeConfig) -> Effects:
    """Return what a quantization executes, sends and writes outside its folder."""
    return effects_of(config)


def run_name(config: QuantizeConfig) -> str:
    """Name a quantization after its method and its model, or the run that made the model."""
    source = as_list(config.adapter)[-1] if config.adapter else config.model
    folder = Path(source or "model")
    name = folder.parent.name if folder.name == run_folder.MODEL else folder.name
    return f"{config.method}-{name.lower()}"


def outputs(config: QuantizeConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the output of a quantization: the quantized model."""
    return {"model": lambda folder: str(folder / run_folder.MODEL)}


def forecast(config: QuantizeConfig, machine: Machine, before: RunInputs) -> Forecast | None:  # noqa: ARG001
    """Estimate a quantization: the model in host memory, its layers in fewer bits on disk."""
    samples, length = config.calibration_samples, config.calibration_length
    need = partial(quantizing, samples=samples, length=length)
    bits = config.bits or 4
    return forecast_of_shape(
        before,
        disk=lambda shape: (
            shape.inside * bits / 8 + shape.outside * BYTES_PER_PARAMETER["bfloat16"]
        ),
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
    effects=effects,
    check=check,
    check_availability=check_availability,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    outputs=outputs,
    forecast=forecast,
)
