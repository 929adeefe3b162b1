"""task: train. Resolve, fetch, check and train; see training_resolve.py and training_check.py.

What only the front does (resolve, check, forecast) is imported when it is called: the child starts
sooner without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.config.teacher import KEY as TEACHER
from swiftbox.config.teacher import teacher_of
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.errors import RunError
from swiftbox.files import write_json
from swiftbox.language import text
from swiftbox.lazy import Table
from swiftbox.methods import METHODS
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.runs.folder import INPUTS, MODEL, checkpoints
from swiftbox.runs.heavy_imports import heavy_imports
from swiftbox.runs.optional_packages import BITSANDBYTES, reveal_packages
from swiftbox.runs.plain_files import read_record
from swiftbox.tasks.learned_memory import MemoryObserver
from swiftbox.tasks.task import Output, Task
from swiftbox.tasks.training_packages import needs_bitsandbytes, unused_packages

if TYPE_CHECKING:
    from swiftbox.data.findings import CheckedRows
    from swiftbox.devices.machine import Machine
    from swiftbox.fit.forecast import Forecast, RunInputs
    from swiftbox.fit.workload import Workload
    from swiftbox.hub.download import Download
    from swiftbox.tasks.checks import OnRemark
    from swiftbox.tasks.effects import Effects
    from swiftbox.tasks.task import Resolved

REVISIONS = ("revision", "teacher_revision")
"""Inputs that are not known of every folder."""


def resolve(config: TrainConfig, machine: Machine) -> Resolved:
    """Settle every `auto` for a machine; see training_resolve.py."""
    from swiftbox.tasks import training_resolve

    return training_resolve.resolve(config, machine)


def resolve_workload(config: TrainConfig, machine: Machine, workload: Workload) -> Resolved:
    """Settle every `auto` for a machine, a model and its rows."""
    from swiftbox.tasks import training_resolve

    return training_resolve.resolve(config, machine, workload)


def check(config: TrainConfig, on_remark: OnRemark) -> CheckedRows | None:
    """Check a training before it starts; see training_check.py."""
    from swiftbox.tasks import training_check

    return training_check.check(config, on_remark)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the config with every existing local path made absolute."""
    from swiftbox.tasks import training_check

    return training_check.with_absolute_paths(config)


def forecast(config: TrainConfig, machine: Machine, before: RunInputs) -> Forecast | None:
    """Estimate the resources of a training; see fit/forecast.py."""
    from swiftbox.fit.forecast import training_forecast

    return training_forecast(config, machine, before)


def effects(config: TrainConfig) -> Effects:
    """Return what a training executes, sends and writes outside its folder."""
    from swiftbox.tasks.shared_effects import effects_of, reward_code

    return effects_of(config, code=reward_code(config.model_dump().get("reward_funcs")))


def run(config: TrainConfig, folder: Path, emit: Emit) -> Path | None:
    """Train in this process; return the folder of the trained model, None if stopped early."""
    from swiftbox.data.files import dataset_hash
    from swiftbox.hub.fetch import fetch_dataset, fetch_model

    emit = MemoryObserver(emit, folder)
    method = METHODS[str(getattr(config, "stage"))]  # noqa: B009 - the discriminator of the union
    emit(events.STAGE, name="fetch", detail=config.model)
    fetched = fetch_model(config.model, hub=config.hub, revision=config.revision, emit=emit)
    model = fetched.folder
    _require_usable(config, model, emit)
    adapter, taught = _fetch_adapter(config, emit), _fetch_teacher(config, emit)
    teacher = taught.folder if taught else None
    fetch = partial(fetch_dataset, columns=config.columns, hub=config.hub, emit=emit)
    sources, validation = fetch(config.dataset), fetch(config.val_dataset or [])
    data_hash = dataset_hash(sources)
    inputs = {
        "model": str(model),
        "revision": fetched.commit or config.revision,
        "adapter": str(adapter) if adapter else None,
        "dataset_sha256": data_hash,
        "val_dataset_sha256": dataset_hash(validation) if validation else None,
        **_inputs_of_teacher(config, taught),
    }
    require_same_inputs(folder, inputs)
    emit(events.INPUTS, **inputs)
    if needs_bitsandbytes(model):
        reveal_packages(BITSANDBYTES)
    with heavy_imports():
        from swiftbox.core.training.parallel import destroy_process_group
        from swiftbox.core.training.session import train
        from swiftbox.core.training.trainer_inputs import LocalInputs

    local = LocalInputs(model, adapter, sources, data_hash, validation, teacher)
    trained = train(config, method, folder, emit, local)
    destroy_process_group()
    return trained


def _fetch_adapter(config: TrainConfig, emit: Emit) -> Path | None:
    """Return the folder of the adapter that training continues from; None for a new one."""
    from swiftbox.hub.fetch import fetch_model

    if not config.adapter:
        return None
    adapter = fetch_model(config.adapter, hub=config.hub, revision=None, emit=emit, key="adapter")
    _require_continuable(adapter.folder)
    return adapter.folder


def _fetch_teacher(config: TrainConfig, emit: Emit) -> Download | None:
    """Return where a distillation's teacher is; None for a method without one."""
    from swiftbox.hub.fetch import fetch_model
    from swiftbox.models.inspection import require_usable_model

    if not config.has_teacher:
        return None
    name, revision = teacher_of(config)
    emit(events.STAGE, name="fetch", detail=name)
    fetched = fetch_model(name, hub=config.hub, revision=revision, emit=emit, key=TEACHER)
    if not Path(name).exists():  # a local one was checked before the start
        require_usable_model(fetched.folder, emit, known=name)
    return fetched


def _inputs_of_teacher(config: TrainConfig, teacher: Download | None) -> dict[str, str | None]:
    """Return what a run records of its teacher; empty without one."""
    if teacher is None:
        return {}
    revision = teacher.commit or teacher_of(config)[1]
    return {"teacher": str(teacher.folder), "teacher_revision": revision}


def _require_continuable(adapter: Path) -> None:
    """Raise ConfigError for an adapter with new tokens; one from a hub is checked only here."""
    from swiftbox.files import read_json
    from swiftbox.tasks.training_vocabulary import require_no_trained_rows

    require_no_trained_rows(read_json(adapter / "adapter_config.json"), adapter)


def _require_usable(config: TrainConfig, model: Path, emit: Emit) -> None:
    """Raise UserError for a model that cannot be used, or a template that must not be rendered."""
    from swiftbox.models.templates import require_bounded_templates
    from swiftbox.security.templates import require_bounded
    from swiftbox.templates.files import template_file

    if not Path(config.model).exists():  # a local model was checked before the start
        from swiftbox.models.inspection import require_usable_model

        head = METHODS[config.model_dump()["stage"]].head
        require_usable_model(model, emit, known=config.model, head=head)
    require_bounded_templates(model, used=False)
    if config.template not in ("auto", "chatml"):
        require_bounded([template_file(Path(config.template).expanduser())])


def require_same_inputs(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Record the inputs of a run; raise RunError if they changed since its checkpoints."""
    recorded = read_record(folder / INPUTS)
    if not recorded or not checkpoints(folder):
        write_json(folder / INPUTS, inputs)
        return
    unknown = {key for key in REVISIONS if None in (recorded.get(key), inputs.get(key))}
    changed = [key for key, value in inputs.items() if recorded.get(key) != value]
    changed = [key for key in changed if key not in unknown]
    if changed:
        names = ", ".join(key.removesuffix("_sha256") for key in changed)
        raise RunError(
            text(
                f"{names}: changed since the checkpoint; rows would be repeated or skipped",
                f"{names}：在保存检查点之后有改动；继续会重复或跳过数据",
            ),
            hint=text(
                "restore the file, or start over (`swiftbox runs rerun`)",
                "恢复原文件，或重新开始（`swiftbox runs rerun`）",
            ),
        )


def run_name(config: TrainConfig) -> str:
    """Name a training after its method, tuner and model."""
    stage = config.model_dump()["stage"]
    return f"{stage}-{config.tuner_type}-{Path(config.model).name.lower()}"


def _config_of(stage: str) -> Callable[[], type[TrainConfig]]:
    return lambda: METHODS[stage].config


def outputs(config: TrainConfig) -> Mapping[str, Output]:
    """Return the output of a training: a full model, or an adapter."""
    kind = "model" if config.tuner_type in FULL_TUNERS else "adapter"
    return {kind: lambda folder: str(folder / MODEL)}


TRAIN: Task[TrainConfig] = Task(
    name="train",
    discriminator="stage",
    default="sft",
    config_classes=Table({name: _config_of(name) for name in METHODS}),
    resolve=resolve,
    resolve_workload=resolve_workload,
    run=run,
    run_name=run_name,
    effects=effects,
    check=check,
    with_absolute_paths=with_absolute_paths,
    outputs=outputs,
    forecast=forecast,
    unused_packages=unused_packages,
)
