"""Prepare to train a finished or stopped run for longer, in a new folder.

The new run begins with the last checkpoint: weights, optimizer, random numbers and place in the
data. Its schedule is planned over the new number of updates and continues at this update: with a
constant rate it is the run that would have been longer from the start, bit for bit.
The run that is extended stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.config.schedule_curve import rate_at
from swiftbox.config.train import TrainConfig
from swiftbox.core.training.checkpoint import last_intact
from swiftbox.errors import ConfigError, RunError
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.launch.extension import Extension
from swiftbox.launch.output_folder import settled_in
from swiftbox.launch.prepare import Prepared, checked_launch, machine_for, require_idle
from swiftbox.launch.reasons import with_first_reasons
from swiftbox.plan import Plan, plan
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import START
from swiftbox.runs.plain_files import require_plain_tree
from swiftbox.runs.summary import best_checkpoint
from swiftbox.tasks.task import result_neutral_settings

if TYPE_CHECKING:
    from swiftbox.fit.workload import Workload

LENGTH = ("num_train_epochs", "max_steps")
SCHEDULE = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "min_lr",
    "min_lr_rate",
    "num_decay_steps",
    "lr_scheduler_kwargs",
)
JUDGEMENT = (
    "early_stopping_patience",
    "early_stopping_threshold",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
)
CHANGEABLE = frozenset((*LENGTH, *SCHEDULE, *JUDGEMENT, "output_dir"))
"""Settings that an extension may change; others would change the data or the model."""


def prepare_extend(folder: Path, overrides: Iterable[str]) -> Prepared:
    """Prepare to train a run for longer; raise UserError if that is not possible."""
    from swiftbox.launch.foreign import foreign_run

    run = run_folder.find(str(folder))
    require_idle(run)
    require_plain_tree(run.folder)
    foreign = foreign_run(run.folder, resumes=True)
    before = settled_in(run.folder).config
    if not isinstance(before, TrainConfig):
        raise _not_a_training(run.name, before.task)
    overrides = tuple(_with_length(before, tuple(overrides), run.folder))
    loaded = settled_in(run.folder, overrides)
    if not isinstance(loaded.config, TrainConfig):
        raise _not_a_training(run.name, loaded.config.task)
    _require_changeable(before, loaded.config, run.name)
    extension = _extension(run.folder, keeps_best=loaded.config.keeps_best)
    machine = machine_for(loaded.config)

    def make_plan(workload: Workload | None) -> Plan:
        planned = plan(loaded.config, machine, workload)
        return with_first_reasons(planned, run.folder, loaded.config, overrides)

    prepared = checked_launch(loaded, machine, make_plan, foreign=foreign)
    lines = tuple(_course(extension, before, prepared.plan.config, run.name))
    return replace(
        prepared, new_folder=True, extends=extension, remarks=(*prepared.remarks, *lines)
    )


def _with_length(before: TrainConfig, overrides: tuple[str, ...], folder: Path) -> Iterator[str]:
    """Yield overrides with a new folder, and without a limit of updates if epochs are given."""
    keys = {override.partition("=")[0].strip() for override in overrides}
    yield from overrides
    if "num_train_epochs" in keys and "max_steps" not in keys and before.max_steps is not None:
        yield "max_steps=null"
    if "output_dir" not in keys:
        yield f"output_dir={folder}-extended"


def _require_changeable(before: TrainConfig, now: TrainConfig, name: str) -> None:
    """Raise RunError for a change of the data, the model or the method, and for no change."""
    first, second = before.model_dump(mode="json"), now.model_dump(mode="json")
    free = CHANGEABLE | result_neutral_settings("train")
    changed = [key for key in second if first.get(key) != second[key]]
    fixed = [key for key in changed if key not in free]
    if fixed:
        raise _fixed_settings(fixed, name)
    if not set(changed) & set(LENGTH):
        raise _no_length(before, name)


def _extension(folder: Path, *, keeps_best: bool) -> Extension:
    """Return what is taken over from a run; raise RunError without a complete checkpoint."""
    last, _ = last_intact(folder)
    if last is None:
        raise _no_checkpoint(folder)
    best = best_checkpoint(folder) if keeps_best else None
    also = [path for path in run_folder.checkpoints(folder) if path.name == best and path != last]
    return Extension(folder, (*also, last))


def updates_of(config: TrainConfig, rows: int) -> int:
    """Return the number of updates of a settled training on rows, as its trainer counts them."""
    if config.max_steps is not None:
        return config.max_steps
    answers: int | None = getattr(config, "num_generations", None)
    if answers is not None:  # a batch counts answers; prompts that do not fill an update are left
        prompts = config.micro_batch * config.gradient_accumulation_steps
        prompts = prompts * (config.num_devices or 1) // answers
        return math.ceil(config.num_train_epochs * (rows // prompts))
    share = math.ceil(rows / (config.num_devices or 1))
    batches = math.ceil(share / config.micro_batch)
    return math.ceil(
        config.num_train_epochs * math.ceil(batches / config.gradient_accumulation_steps)
    )


def _course(extension: Extension, before: TrainConfig, now: object, name: str) -> Iterator[str]:
    """Yield how long the new run is and what its learning rate does; raise if nothing is left."""
    if not isinstance(now, TrainConfig):
        return
    start = run_folder.newest_event(extension.folder, START)
    rows, trained, step = start.get("rows"), start.get("total_steps"), extension.step
    if not isinstance(rows, int) or not isinstance(trained, int):
        yield _from_here(name, step)
        return
    total = updates_of(now, rows)
    if total <= step:
        raise _nothing_left(name, step, total)
    yield _from_here(name, step) + text(
        f"; {counted(total, 'update')} in total instead of {trained:,}",
        f"；共 {total:,} 步，原为 {trained:,} 步",
    )
    yield _rates(before, now, (trained, total, step))


def _rates(before: TrainConfig, now: TrainConfig, counts: tuple[int, int, int]) -> str:
    """Say what the learning rate was, is at the next update and will be at the last one."""
    trained, total, step = counts
    after = rate_at(now, total, step)
    if after is None:
        return text(
            f"learning rate: {now.lr_scheduler_type} continues from its state in the checkpoint",
            f"学习率：{now.lr_scheduler_type} 按检查点中的状态继续",
        )
    was = rate_at(before, trained, max(0, step - 1))
    end = rate_at(now, total, total - 1)
    was_text = "-" if was is None else f"{was:.3g}"
    return text(
        f"learning rate: {now.lr_scheduler_type} is planned over {total:,} updates and continues "
        f"at update {step + 1:,} with {after:.3g} (the last one was {was_text}) to {end:.3g}; the "
        "state of the optimizer is kept",
        f"学习率：{now.lr_scheduler_type} 按 {total:,} 步重新规划，第 {step + 1:,} 步从 "
        f"{after:.3g} 开始（上一步为 {was_text}），到 {end:.3g} 结束；沿用优化器状态",
    )


# ---- messages


def _from_here(name: str, step: int) -> str:
    return text(
        f"extends {name} from checkpoint-{step}, which is copied; {name} stays as it is",
        f"从 {name} 的 checkpoint-{step} 延长训练（复制该检查点）；{name} 保持不变",
    )


def _not_a_training(name: str, task: str) -> RunError:
    return RunError(
        text(f"{name} is not a training (task: {task})", f"{name} 不是训练（task: {task}）"),
        hint=text("`swiftbox runs list` shows the runs", "`swiftbox runs list` 列出全部运行"),
    )


def _fixed_settings(keys: list[str], name: str) -> RunError:
    listed = ", ".join(keys)
    return RunError(
        text(
            f"{listed}: an extension cannot change the data, the model or the method",
            f"{listed}：延长训练不能改动数据、模型或方法",
        ),
        hint=text(
            f"start a new run: `swiftbox runs rerun {name} key=value`",
            f"请新开一次运行：`swiftbox runs rerun {name} key=value`",
        ),
    )


def _no_length(before: TrainConfig, name: str) -> ConfigError:
    longer = f"num_train_epochs={math.ceil(2 * before.num_train_epochs)}"
    if before.max_steps is not None:
        longer = f"max_steps={2 * before.max_steps}"
    return ConfigError(
        text("how long should it train?", "要训练多久？"),
        hint=f"swiftbox runs extend {name} {longer}",
    )


def _no_checkpoint(folder: Path) -> RunError:
    return RunError(
        text(f"{folder.name} has no complete checkpoint", f"{folder.name} 没有完整的检查点"),
        hint=_new_training(folder),
    )


def _new_training(folder: Path) -> str:
    """Return how to train further without a checkpoint: from the result, or from the start."""
    model = folder / run_folder.MODEL
    if (model / "adapter_config.json").is_file():
        return text(
            f"continue its adapter in a new training: adapter: {model}",
            f"在新的训练中继续其适配器：adapter: {model}",
        )
    if (model / "config.json").is_file():
        return text(
            f"continue its model in a new training: model: {model}",
            f"在新的训练中继续其模型：model: {model}",
        )
    return text(
        f"train it again, for longer: `swiftbox runs rerun {folder.name} num_train_epochs=...`",
        f"请重新训练更久：`swiftbox runs rerun {folder.name} num_train_epochs=...`",
    )


def _nothing_left(name: str, step: int, total: int) -> ConfigError:
    number = counted(total, "update")
    return ConfigError(
        text(
            f"{name} has trained {step:,} updates, and this asks for {number}",
            f"{name} 已训练 {step:,} 步，而现在要求共 {total:,} 步",
        ),
        hint=text(
            "raise num_train_epochs or max_steps; both count from the start",
            "增大 num_train_epochs 或 max_steps：两者都从头计算",
        ),
    )
