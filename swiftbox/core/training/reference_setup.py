"""Create the reference policy of a run, and precompute its log-probabilities if configured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from swiftbox.config.sharded_reference import sharded_start
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.core.attention.varlen import with_masks
from swiftbox.core.data.samples import PreferencePair, Sample
from swiftbox.core.losses.log_prob_reader import LogProbReader, reader_for
from swiftbox.core.losses.reference_cache import (
    PairScorer,
    ReferenceCache,
    model_hash,
    pair_scores,
    precompute,
)
from swiftbox.core.losses.reference_policy import ReferencePolicy
from swiftbox.core.losses.teacher import Teacher
from swiftbox.core.losses.terms import LossContext
from swiftbox.core.losses.token_budget import TokenBudget
from swiftbox.core.training.parallel import is_sharded
from swiftbox.core.training.rope_lengths import fixed_settings
from swiftbox.core.training.streamed_layers import streamed_layers
from swiftbox.core.training.trainer_inputs import TrainerInputs
from swiftbox.language import cache_home, text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

SECONDS_BETWEEN_NOTES = 10.0

ROUNDING = "head and frozen tables in dtype"
"""How log-probabilities are rounded; caches that were rounded otherwise have another name."""


def loss_context_for(
    inputs: TrainerInputs,
    parts: Sequence[Sequence[Sample]],
    layout: str,
    emit: Emit,
    teacher: Teacher | None = None,
) -> tuple[LossContext, Sequence[Sequence[Sample]]]:
    """Return the context of the loss, and the data with precomputed reference scores, if any."""
    config, method = inputs.config, inputs.method
    reader = None
    if method.head == "language":
        sharded = is_sharded(config)
        reader = reader_for(inputs.network, getattr(torch, config.dtype), sharded=sharded)
        reader = replace(reader, smoothing=config.smoothing)
    if method.reference == "none" or getattr(config, "reference_free", False):
        return LossContext(config, reader, teacher=teacher), parts
    reference = reference_of(inputs.network, config, inputs.adapter_folder)
    if precomputes(config):
        parts = with_reference(inputs, parts, reader, layout, emit)
    return LossContext(config, reader, reference), parts


def precomputes(config: TrainConfig) -> bool:
    """Whether the settled config computes the reference before training."""
    return getattr(config, "precompute_ref_log_probs", "false") == "true"


def reference_of(network: Any, config: TrainConfig, adapter: Path | None) -> ReferencePolicy:
    """Return the reference policy; call this before the first update.

    A new adapter is still the identity, so the reference is the model with the adapter disabled.
    If an adapter is continued, or its initialization changed the base, the starting weights are
    copied instead.
    """
    adapter_off = config.tuner_type not in FULL_TUNERS and adapter is None and is_identity(network)
    copies_start = not precomputes(config)
    if not adapter_off and copies_start and is_sharded(config):
        raise sharded_start(config.distributed)
    return ReferencePolicy(network, adapter_off=adapter_off, copies_start=copies_start)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def is_identity(network: Any) -> bool:
    """Whether the adapter leaves the logits exactly as they are without it."""
    device = network.get_input_embeddings().weight.device
    ids = torch.arange(1, 9, device=device)[None]  # (1, 8)
    was_training = network.training
    network.eval()
    with with_masks(network):  # weights that are sharded later may still be on the CPU
        with_adapter = network(input_ids=ids, use_cache=False).logits
        with network.disable_adapter():
            without = network(input_ids=ids, use_cache=False).logits
    network.train(was_training)
    return bool(torch.equal(with_adapter, without))


def with_reference(
    inputs: TrainerInputs, parts: Sequence[Sequence[Sample]], reader: Any, layout: str, emit: Emit
) -> list[list[Sample]]:
    """Return the parts of the data with the reference's log-probabilities precomputed."""
    emit(events.STAGE, name="reference", detail="")
    network, arguments = inputs.network, inputs.arguments
    cache = reference_cache(inputs)
    cached, last_note = len(cache.known), [time.monotonic()]

    def report(done: int, total: int) -> None:
        if time.monotonic() - last_note[0] > SECONDS_BETWEEN_NOTES:
            last_note[0] = time.monotonic()
            emit(events.NOTE, key="reference", message=f"{done} / {total}")

    was_training = network.training
    network.eval()
    with on_device(inputs) as exact_reader:
        scorer = PairScorer(
            pair_scores(
                network,
                exact_reader or reader,
                layout,
                getattr(torch, inputs.config.dtype),
                arguments.device,
            ),
            process=arguments.process_index,
            processes=arguments.world_size,
            budget=TokenBudget(arguments.device),
        )
        scored = precompute(list(_pairs(parts)), scorer, cache, report)
    network.train(was_training)
    computed = len(cache.known) - cached
    message = text(
        f"reference log-probabilities: {computed} computed, {len(scored) - computed} from cache",
        f"参考对数概率：计算 {computed} 个，{len(scored) - computed} 个来自缓存",
    )
    emit(events.NOTE, key="precompute_ref_log_probs", message=message)
    remaining = iter(scored)
    return [[next(remaining) for _ in part] for part in parts]


@contextlib.contextmanager
def on_device(inputs: TrainerInputs) -> Iterator[LogProbReader | None]:
    """Place the network for a pass without gradients; yield its reader if there is a better one.

    Weights that FSDP will shard are on the CPU, in float32 if all are trained: they pass through
    the device layer by layer. Until they are sharded, the head need not compute all logits.
    """
    network, device = inputs.network, inputs.arguments.device
    home = next(network.parameters()).device
    if home == device:
        yield None
    elif inputs.config.distributed == "fsdp":
        with streamed_layers(network, device):
            yield reader_for(network, getattr(torch, inputs.config.dtype))
    else:
        network.to(device)
        yield None
        network.to(home)


def reference_cache(inputs: TrainerInputs) -> ReferenceCache:
    """Return the cache of this starting point: weights, adapter and number type."""
    folders = [inputs.model_folder, *([inputs.adapter_folder] if inputs.adapter_folder else [])]
    config = inputs.config
    fixed = fixed_settings(inputs.network)
    settings = (config.dtype, str(getattr(config, "quant_bits", None)), ROUNDING, *fixed)
    if config.adds_tokens:  # their ids alone do not tell which tokens they are
        settings = (*settings, str((config.new_tokens, config.new_special_tokens)))
    return ReferenceCache(cache_home() / "cache" / "reference" / model_hash(folders, settings))


def _pairs(parts: Iterable[Iterable[Sample]]) -> Iterable[PreferencePair]:
    for part in parts:
        for sample in part:
            if not isinstance(sample, PreferencePair):
                raise TypeError(f"{type(sample).__name__} has no reference to precompute")
            yield sample
