"""Settle by the estimate what a training's config leaves open, with the runner-up; pure.

Rows per forward pass, recomputation, layout, optimizer and offloading together decide whether a
training fits and how fast it is; fit/planner.py compares their combinations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swiftbox.config.train import TrainConfig
from swiftbox.devices.machine import Machine
from swiftbox.fit.candidates import (
    ATTENTION_KEY,
    BATCH,
    CHECKPOINTING,
    LAYOUT,
    OFFLOAD,
    OPTIMIZER,
    PASSES,
    candidates,
)
from swiftbox.fit.planner import Decision, Prediction, decide
from swiftbox.fit.verdict import COMFORTABLE_SHARE
from swiftbox.fit.workload import Workload
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.tasks.fixed_batches import rows_per_update
from swiftbox.tasks.task import Reason


def estimated_reasons(
    requested: TrainConfig,
    settled: TrainConfig,
    machine: Machine,
    workload: Workload,
    attention: Sequence[str],
) -> Iterator[Reason]:
    """Yield what the estimate settles; nothing if the model is not known, or answers are generated.

    `settled` has the values that the other decisions give; `attention` are the exact kinds.
    """
    if requested.generates_answers:
        return
    offered = list(candidates(requested, settled, machine, attention))
    decision = decide(settled, machine, workload, offered)
    if decision is None:
        return
    values = decision.best.candidate.settings
    if requested.per_device_train_batch_size == "auto":
        yield Reason(BATCH, values[BATCH], _batch_reason(decision))
        rows = requested.gradient_accumulation_steps
        yield Reason(PASSES, values[PASSES], rows_per_update(rows))
    if requested.gradient_checkpointing == "auto":
        yield Reason(CHECKPOINTING, values[CHECKPOINTING], _key_reason(decision, CHECKPOINTING))
    if values[LAYOUT] != settled.padding_free:
        yield Reason(LAYOUT, values[LAYOUT], _key_reason(decision, LAYOUT))
    if values[ATTENTION_KEY] != settled.attn_implementation:
        why = _key_reason(decision, ATTENTION_KEY)
        yield Reason(ATTENTION_KEY, values[ATTENTION_KEY], why)
    if values[OPTIMIZER] != settled.optim:
        yield Reason(OPTIMIZER, values[OPTIMIZER], _key_reason(decision, OPTIMIZER))
    if values[OFFLOAD] != settled.activation_offload:
        yield Reason(OFFLOAD, values[OFFLOAD], _key_reason(decision, OFFLOAD))


def _batch_reason(decision: Decision) -> str:
    """Describe the chosen setting, the next best one and what the prediction is based on."""
    parts = [
        _choice(decision),
        *_runner_up(decision),
        *_main_memory(decision),
        *_basis(decision),
    ]
    return text("; ", "；").join(parts)


def _choice(decision: Decision) -> str:
    need, have = size(decision.best.fit.need_bytes), size(decision.best.fit.have_bytes)
    if decision.best.fit.lacks_main_memory:
        return text("nothing fits: ", "都放不下：") + decision.best.fit.waiting.line()
    if decision.best.fit.failed_before:
        return text(
            "an earlier run here ran out of memory with a setting that needs no more than this "
            f"one, which needs the least: {need} of {have}",
            f"本机此前的运行曾以不高于此的用量耗尽内存；此设置所需最少：{need}（现有 {have}）",
        )
    if not decision.best.fits:
        return text(
            f"nothing fits; this needs the least: {need} of {have}",
            f"都放不下；此设置所需最少：{need}（现有 {have}）",
        )
    cost = _cost(decision, decision.best)
    return text(f"the fastest that fits: {cost}", f"放得下的最快设置：{cost}")


def _runner_up(decision: Decision) -> Iterator[str]:
    other = decision.runner_up
    if other is None or not decision.best.fits:
        return
    name, cost = _described(decision, other), _cost(decision, other)
    yield text(f"next: {name}: {cost}", f"其次 {name}：{cost}")


def _described(decision: Decision, other: Prediction) -> str:
    """Name a setting by its rows and passes, and by what else it changes."""
    values, chosen = other.candidate.settings, decision.best.candidate.settings
    changes = [
        f"{key}: {str(value).lower()}"
        for key, value in values.items()
        if key not in (BATCH, PASSES) and value != chosen[key]
    ]
    return " ".join([f"{values[BATCH]} x {values[PASSES]}", *changes])


def _cost(decision: Decision, prediction: Prediction) -> str:
    """Write the memory, and the time relative to the chosen setting.

    The estimate tells how long a training takes; step_time.py only compares settings.
    """
    need, ratio = size(prediction.fit.need_bytes), prediction.seconds / decision.best.seconds
    if prediction is decision.best:
        return need
    return text(f"{ratio:.2f} x the time, {need}", f"{ratio:.2f} 倍时间、{need}")


def _basis(decision: Decision) -> Iterator[str]:
    """Yield what is assumed, and what earlier runs on this machine showed."""
    sizes = decision.sizes
    if sizes.is_assumed:
        tokens = round(sizes.mean)
        yield text(
            f"assuming {tokens} tokens a row until the rows are on this machine",
            f"数据尚未下载，假定每行 {tokens} 个 token",
        )
    yield from decision.learned.lines()


def _key_reason(decision: Decision, key: str) -> str:
    """Compare the value of a key with the best setting that has another one."""
    other = decision.alternative(key)
    if other is None:
        return text("the only value that applies", "仅有此值可用")
    value = str(other.candidate.settings[key]).lower()
    if other.fits:
        cost = _cost(decision, other)
        return text(f"the fastest that fits; {value}: {cost}", f"放得下的最快值；{value}：{cost}")
    if not decision.best.fits:
        return text("needs the least memory", "所需内存最少")
    if other.fit.lacks_main_memory:
        waiting = other.fit.waiting.line()
        return text(f"{value} does not fit: {waiting}", f"{value} 放不下：{waiting}")
    need, limit = size(other.fit.need_bytes), size(COMFORTABLE_SHARE * decision.best.fit.have_bytes)
    have = size(decision.best.fit.have_bytes)
    if other.fit.failed_before:
        return text(
            f"{value} needs at least {need} of {have}: no less than what ran out of memory in an "
            "earlier run here",
            f"{value} 至少需 {need}（现有 {have}）：不低于本机此前耗尽内存的用量",
        )
    return text(
        f"{value} does not fit: at least {need}, more than {limit} of {have}",
        f"{value} 放不下：至少需 {need}，超过 {have} 中可用的 {limit}",
    )


def _main_memory(decision: Decision) -> Iterator[str]:
    """Yield why what waits in main memory was not chosen, if nothing else fits."""
    other = decision.short_of_host
    if other is None or decision.best.fits or decision.best.fit.lacks_main_memory:
        return
    name, waiting = _described(decision, other), other.fit.waiting.line()
    yield text(f"{name} would fit the device, but {waiting}", f"{name} 设备放得下，但{waiting}")
