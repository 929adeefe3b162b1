"""Set a run's reference policy up, and precompute what it says where the config asks for that."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE
from swiftbox.core.data.samples import Pair, Sample
from swiftbox.core.losses.readout import readout_of
from swiftbox.core.losses.reference_cache import (
    BATCH_TOKENS,
    BATCH_TOKENS_ELSEWHERE,
    Store,
    model_hash,
    precompute,
    scorer,
)
from swiftbox.core.losses.reference_policy import Reference
from swiftbox.core.losses.terms import Context
from swiftbox.core.training.trainer_inputs import Made
from swiftbox.errors import ConfigError
from swiftbox.language import home, text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

SECONDS_BETWEEN_NOTES = 10.0


def prepare_context(
    made: Made, parts: Sequence[Sequence[Sample]], layout: str, emit: Emit
) -> tuple[Context, Sequence[Sequence[Sample]]]:
    """Return what the method's loss needs, and the parts of the data with what is known of them."""
    config, method = made.config, made.method
    readout = None
    if method.head == "language":
        sharded = config.distributed not in ("none", "ddp")
        readout = readout_of(made.network, getattr(torch, config.dtype), sharded=sharded)
    if method.reference == "none" or getattr(config, "reference_free", False):
        return Context(config, readout), parts
    reference = reference_of(made.network, config, made.folders[1])
    if precomputes(config):
        parts = with_reference(made, parts, readout, layout, emit)
    return Context(config, readout, reference), parts


def precomputes(config: TrainConfig) -> bool:
    """Tell whether the settled config wants the reference computed before training."""
    return getattr(config, "precompute_ref_log_probs", "false") == "true"


def reference_of(network: Any, config: TrainConfig, adapter: Path | None) -> Reference:
    """Return the reference policy; to be called before the first update.

    A new LoRA adapter adds nothing yet, so that switching it off gives the start. An adapter that
    goes on is the start itself, as is one whose initialization changed the base.
    """
    fresh = config.tuner_type not in WHOLE and adapter is None and adds_nothing(network)
    keeps_start = not precomputes(config)
    if not fresh and keeps_start and config.distributed not in ("none", "ddp"):
        raise ConfigError(
            text(
                f"distributed: {config.distributed} spreads the weights out, so that those of the "
                "start cannot be put back for the reference",
                f"distributed: {config.distributed} 会切分权重，无法还原起始权重作为参考模型",
            ),
            hint=text(
                "start from a new LoRA adapter (merge the old one first), or set distributed: ddp",
                "从新的 LoRA 适配器开始（先合并旧的），或设 distributed: ddp",
            ),
        )
    return Reference(network, adapter_off=fresh, keeps_start=keeps_start)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def adds_nothing(network: Any) -> bool:
    """Tell whether the model with its adapter says exactly what it says without."""
    device = network.get_input_embeddings().weight.device
    ids = torch.arange(1, 9, device=device)[None]  # (1, 8)
    was_training = network.training
    network.eval()
    with_adapter = network(input_ids=ids, use_cache=False).logits
    with network.disable_adapter():
        without = network(input_ids=ids, use_cache=False).logits
    network.train(was_training)
    return bool(torch.equal(with_adapter, without))


def with_reference(
    made: Made, parts: Sequence[Sequence[Sample]], readout: Any, layout: str, emit: Emit
) -> list[list[Sample]]:
    """Return the parts of the data with the reference's log-probabilities precomputed."""
    emit(events.STAGE, name="reference", detail="")
    network, arguments = made.network, made.arguments
    store = store_of(made)
    known, last = len(store.known), [time.monotonic()]

    def progress(done: int, of: int) -> None:
        if time.monotonic() - last[0] > SECONDS_BETWEEN_NOTES:
            last[0] = time.monotonic()
            emit(events.NOTE, key="reference", message=f"{done} / {of}")

    was_training = network.training
    stays = next(network.parameters()).device
    network.eval().to(arguments.device)
    found = precompute(
        list(_pairs(parts)),
        scorer(network, readout, layout, getattr(torch, made.config.dtype)),
        store,
        process=arguments.process_index,
        processes=arguments.world_size,
        batch_tokens=BATCH_TOKENS.get(arguments.device.type, BATCH_TOKENS_ELSEWHERE),
        on_progress=progress,
    )
    network.train(was_training).to(stays)
    computed = len(store.known) - known
    message = text(
        f"reference log-probabilities: {computed} computed, {len(found) - computed} were known",
        f"参考对数概率：计算 {computed} 个，{len(found) - computed} 个已有",
    )
    emit(events.NOTE, key="precompute_ref_log_probs", message=message)
    made_of = iter(found)
    return [[next(made_of) for _ in part] for part in parts]


def store_of(made: Made) -> Store:
    """Return what is kept of this very starting point: weights, adapter, number type."""
    folders = [one for one in made.folders if one is not None]
    settings = (made.config.dtype, str(getattr(made.config, "quant_bits", None)))
    return Store(home() / "cache" / "reference" / model_hash(folders, settings))


def _pairs(parts: Iterable[Iterable[Sample]]) -> Iterable[Pair]:
    for part in parts:
        for sample in part:
            if not isinstance(sample, Pair):
                raise TypeError(f"{type(sample).__name__} has no reference of its own")
            yield sample
