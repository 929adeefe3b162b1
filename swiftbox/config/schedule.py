"""How the learning rate changes: the schedule, its floor and its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen, require_share_or_count
from swiftbox.formatting import nearest, suggestion_ending
from swiftbox.language import text

Schedule = Literal[
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "reduce_lr_on_plateau",
    "greedy",
]
"""Names of transformers' schedules."""

MEASURED = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow the held-out loss instead of the number of updates."""

WITHOUT_WARMUP = ("constant", *MEASURED)

WARMED_UP = tuple(name for name in get_args(Schedule) if name not in WITHOUT_WARMUP)

FLOORED = (
    "cosine",
    "polynomial",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    *MEASURED,
)
"""Schedules that can have a floor; plain cosine then becomes cosine_with_min_lr."""

NEED_FLOOR = ("cosine_with_min_lr", "cosine_warmup_with_min_lr", "greedy")
"""Schedules whose floor transformers does not choose, or chooses above usual rates."""

USUAL_FLOOR = 0.1
"""Share of the peak, as in arXiv:2203.15556."""

_WAVES = ("num_cycles",)
_PLATEAU = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "cosine": _WAVES,
    "cosine_with_restarts": _WAVES,
    "cosine_with_min_lr": _WAVES,
    "cosine_warmup_with_min_lr": (*_WAVES, "warmup_lr_rate"),
    "polynomial": ("power",),
    "inverse_sqrt": ("timescale",),
    "warmup_stable_decay": ("num_stable_steps", "warmup_type", "decay_type", *_WAVES),
    "reduce_lr_on_plateau": _PLATEAU,
    "greedy": (*_PLATEAU, "warmup", "max_lr", "smooth", "window_size", "reset_start"),
}
"""What lr_scheduler_kwargs may hold, by schedule; our own keys are not repeated here."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "warmup_type": ("linear", "cosine", "1-sqrt"),
    "decay_type": ("linear", "cosine", "1-sqrt"),
    "mode": ("min", "max"),
    "threshold_mode": ("rel", "abs"),
}
"""Arguments that are words."""


class ScheduleFields(Frozen):
    """The learning rate after its peak."""

    lr_scheduler_type: Schedule = setting(
        "cosine",
        label_zh="学习率调度",
        en="shape of the learning rate schedule",
        zh="学习率的变化方式",
        section="train",
    )
    warmup_steps: float = setting(
        0.05,
        label_zh="预热步数",
        en="updates over which the learning rate rises; below 1: a share of all updates",
        zh="学习率预热的步数；小于 1 表示占总步数的比例",
        section="train",
        only={"lr_scheduler_type": WARMED_UP},
        ge=0,
        limit=100_000_000,
    )
    min_lr: float | None = setting(
        None,
        label_zh="最低学习率",
        en="learning rate at which the schedule ends; empty: see min_lr_rate",
        zh="学习率下降到的最低值；留空则看 min_lr_rate",
        section="train",
        only={"lr_scheduler_type": FLOORED},
        ge=0,
        lt=10,
    )
    min_lr_rate: float | None = setting(
        None,
        label_zh="最低学习率比例",
        en="the same as a share of learning_rate, such as 0.1",
        zh="同上，以占 learning_rate 的比例表示，例如 0.1",
        section="train",
        only={"lr_scheduler_type": FLOORED},
        ge=0,
        lt=1,
    )
    num_decay_steps: float = setting(
        0.1,
        label_zh="衰减步数",
        en="warmup_stable_decay: updates of the decay at the end; below 1: a share of all updates",
        zh="warmup_stable_decay：末尾衰减的步数；小于 1 表示占总步数的比例",
        section="train",
        only={"lr_scheduler_type": ("warmup_stable_decay",)},
        gt=0,
        limit=100_000_000,
    )
    lr_scheduler_kwargs: dict[str, float | str] = setting(
        {},
        label_zh="调度参数",
        en="further arguments of transformers' schedule, such as {num_cycles: 2} or {power: 2}",
        zh="transformers 调度函数的其他参数，例如 {num_cycles: 2} 或 {power: 2}",
        section="train",
    )

    @field_validator("warmup_steps", "num_decay_steps")
    @classmethod
    def _share_or_steps(cls, value: float) -> float:
        return require_share_or_count(value)

    @field_validator("lr_scheduler_kwargs")
    @classmethod
    def _known_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        known = sorted({name for names in ARGUMENTS.values() for name in names})
        for name, argument in value.items():
            if name not in known:
                raise ValueError(_unknown_argument(name, known))
            choices = WORDS.get(name)
            if choices is not None and argument not in choices:
                raise ValueError(_wrong_word(name, choices))
        return {
            name: argument if name in WORDS else _number(name, argument)
            for name, argument in value.items()
        }


def _number(name: str, argument: float | str) -> float:
    try:
        return float(argument)  # YAML reads 1e-4 as a text
    except ValueError:
        raise ValueError(_not_a_number(name, str(argument))) from None


def floor_share(config: ScheduleFields, learning_rate: float) -> float | None:
    """Return the floor as a share of the peak; None if there is none."""
    if config.min_lr is not None:
        return config.min_lr / learning_rate
    return config.min_lr_rate


# ---- messages


def _unknown_argument(name: str, known: list[str]) -> str:
    listed = ", ".join(known)
    return text(
        f"no schedule has the argument {name}; there are {listed}",
        f"没有名为 {name} 的调度参数；可选：{listed}",
    ) + suggestion_ending(nearest(name, known))


def _wrong_word(name: str, choices: tuple[str, ...]) -> str:
    listed = ", ".join(choices)
    return text(f"{name} should be one of {listed}", f"{name} 应为其中之一：{listed}")


def _not_a_number(name: str, argument: str) -> str:
    return text(
        f"{name} should be a number (got {argument})", f"{name} 应为数字（当前为 {argument}）"
    )
