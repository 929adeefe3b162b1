"""Settle the schedule of the learning rate and which checkpoint is the result; pure.

What cannot work is refused with every reason at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from swiftbox.config.best_model import LOSS
from swiftbox.config.classification import ClassificationFields
from swiftbox.config.combinations import SHARDED, Conflict
from swiftbox.config.schedule import ARGUMENTS, MEASURED, NEED_FLOOR, USUAL_FLOOR, floor_share
from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.tasks.task import Reason


def settled_schedule(config: TrainConfig) -> Iterator[Reason]:
    """Yield what is settled of a schedule and of early stopping.

    Raises ConfigError for what cannot work; `config` has its learning rate already.
    """
    problems = list(_conflicts(config))
    if problems:
        hints = "\n".join(dict.fromkeys(fix for _, fix in problems))
        raise ConfigError("\n".join(what for what, _ in problems), hint=hints)
    yield from _floor(config)
    if not config.keeps_best:
        return
    if config.load_best_model_at_end is None:
        yield _result()
    if config.greater_is_better is None:
        why = text(f"usual for {config.best_metric}", f"{config.best_metric} 通常如此")
        yield Reason("greater_is_better", config.prefers_greater, why)


def _floor(config: TrainConfig) -> Iterator[Reason]:
    name, floor = config.lr_scheduler_type, floor_share(config, config.learning_rate)
    if name == "cosine" and floor is not None:
        key = "min_lr" if config.min_lr is not None else "min_lr_rate"
        why = text(f"cosine with {key}", f"余弦，并设了 {key}")
        yield Reason("lr_scheduler_type", "cosine_with_min_lr", why)
    if name in NEED_FLOOR and floor is None:
        why = text(f"usual; {name} needs a floor", f"常用值；{name} 需要下限")
        yield Reason("min_lr_rate", USUAL_FLOOR, why)


def _result() -> Reason:
    why = text(
        "early stopping: the result is the best evaluation, each of which saves a checkpoint when "
        "it is the best so far, whatever save_steps is",
        "早停：结果取最好的一次评估；每次评估若为目前最好便保存检查点，与 save_steps 无关",
    )
    return Reason("load_best_model_at_end", True, why)


def _conflicts(config: TrainConfig) -> Iterator[Conflict]:
    name, rate = config.lr_scheduler_type, config.learning_rate
    if config.min_lr is not None and config.min_lr_rate is not None:
        yield _one_floor_only()
    elif config.min_lr is not None and config.min_lr >= rate:
        yield _floor_above_peak(config.min_lr, rate)
    known = ARGUMENTS.get(name, ())
    for argument in config.lr_scheduler_kwargs:
        if argument not in known:
            yield _argument_of_another(name, argument, known)
    if config.best_of_evaluations or name in MEASURED:
        yield from _evaluation_conflicts(config)


def _evaluation_conflicts(config: TrainConfig) -> Iterator[Conflict]:
    """Yield why a training cannot be judged by its held-out rows."""
    key = f"lr_scheduler_type: {config.lr_scheduler_type}"
    if config.best_of_evaluations:
        is_early = config.early_stopping_patience is not None
        key = "early_stopping_patience" if is_early else "load_best_model_at_end"
    method = METHODS[config.model_dump()["stage"]]
    if method.reward_functions is not None:
        yield _not_with_engine(key, method.name)
        return
    if not config.holds_out_rows:
        yield _no_held_out_rows(key)
    known = (LOSS, *method.measured(config))
    if config.best_metric not in known:
        kind = f"stage: {method.name}"
        if isinstance(config, ClassificationFields):
            kind += f", problem_type: {config.problem}"
        yield _unknown_metric(config, kind, known)
    if not config.keeps_best:
        return
    if config.distributed in SHARDED:
        yield _unverified_when_sharded(key, config.distributed)
    if config.tuner_type == "adalora":
        yield _no_checkpoints(key)


# ---- messages


def _one_floor_only() -> Conflict:
    return (
        text(
            "min_lr and min_lr_rate both set the floor of the learning rate",
            "min_lr 与 min_lr_rate 都设了学习率下限",
        ),
        text("remove one of the two", "去掉其中之一"),
    )


def _floor_above_peak(floor: float, rate: float) -> Conflict:
    return (
        text(
            f"min_lr: {floor:g} is not below learning_rate: {rate:g}",
            f"min_lr：{floor:g} 不低于 learning_rate：{rate:g}",
        ),
        text("lower min_lr, or raise learning_rate", "减小 min_lr，或增大 learning_rate"),
    )


def _argument_of_another(name: str, argument: str, known: tuple[str, ...]) -> Conflict:
    listed = ", ".join(known) or text("none", "无")
    return (
        text(
            f"lr_scheduler_kwargs: {argument} is not an argument of {name}; its arguments: "
            f"{listed}",
            f"lr_scheduler_kwargs：{argument} 不是 {name} 的参数；可用参数：{listed}",
        ),
        text(
            f"remove {argument} from lr_scheduler_kwargs",
            f"从 lr_scheduler_kwargs 中去掉 {argument}",
        ),
    )


def _not_with_engine(key: str, stage: str) -> Conflict:
    return (
        text(
            f"{key}: not available for stage: {stage}, which TRL trains",
            f"{key}：不适用于 stage: {stage}：其训练由 TRL 进行",
        ),
        text(f"remove {key.partition(':')[0]}", f"去掉 {key.partition(':')[0]}"),
    )


def _no_held_out_rows(key: str) -> Conflict:
    return (
        text(
            f"{key}: needs rows that are held out for evaluation",
            f"{key}：需要留出用于评估的数据",
        ),
        text("set val_dataset, or val_size: 0.05", "设 val_dataset，或 val_size: 0.05"),
    )


def _unknown_metric(config: TrainConfig, kind: str, known: tuple[str, ...]) -> Conflict:
    listed = ", ".join(known)
    return (
        text(
            f"metric_for_best_model: {config.metric_for_best_model} is not measured with {kind}",
            f"metric_for_best_model：{kind} 不测量 {config.metric_for_best_model}",
        ),
        text(f"take one of {listed}", f"可选：{listed}"),
    )


def _unverified_when_sharded(key: str, distributed: str) -> Conflict:
    return (
        text(
            f"{key} with distributed: {distributed} has not been verified",
            f"{key} 与 distributed: {distributed} 的组合未经验证",
        ),
        text("set distributed: ddp or none", "设 distributed: ddp 或 none"),
    )


def _no_checkpoints(key: str) -> Conflict:
    return (
        text(
            f"{key}: checkpoints cannot hold the rank allocation of adalora",
            f"{key}：检查点无法保存 adalora 的秩分配",
        ),
        text("set tuner_type: lora", "设 tuner_type: lora"),
    )
