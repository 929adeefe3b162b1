"""Choose how a model decodes: with a cache that grows, or with slots and replayed steps.

Slots pay where launching kernels takes longer than computing them, so on devices that can replay.
They need a model whose layers cache plain keys and values, and which computes the same with a mask
of four dimensions: a short trial at the start decides, not the name of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from swiftbox.core.generation.batch import Prefill, PrefillEntry
from swiftbox.core.generation.device_access import has_graphs, upload
from swiftbox.core.generation.host_reads import HostReads
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.core.generation.network import Network
from swiftbox.core.generation.slot_cache import CacheSpace, SlotCache
from swiftbox.core.generation.step_graphs import StepGraphs, is_close
from swiftbox.language import text
from swiftbox.runs.diagnosis import first_line

MASKED_ATTENTION = ("sdpa", "eager")
"""Implementations that take a mask of four dimensions."""

TRIAL_LENGTHS = (5, 23)
"""Prompts of uneven length: a wrong position or mask changes the logits of the shorter one."""

TRIAL_STEPS = 3


@dataclass(frozen=True)
class DecodePath:
    """How batches decode: `graphs` is None for a cache that grows."""

    graphs: StepGraphs | None = None

    @property
    def is_static(self) -> bool:
        """Return whether sequences decode in slots."""
        return self.graphs is not None


def choose_path(network: Network, warn: Callable[[str], None]) -> DecodePath:
    """Return the path for a model on its device; `warn` receives why it is the slower one."""
    if not has_graphs(network.model.device):
        return DecodePath()
    return try_slots(network, StepGraphs.of(network.model.device, warn), warn)


def try_slots(network: Network, graphs: StepGraphs, warn: Callable[[str], None]) -> DecodePath:
    """Return the path with slots if a trial gives the same logits; otherwise the other one."""
    reason = _obstacle(network)
    if not reason:
        try:
            with torch.inference_mode():
                reason = _trial(network, graphs)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            why = first_line(error)
            reason = text(f"the trial failed: {why}", f"试算失败：{why}")
    if not reason:
        return DecodePath(graphs)
    warn(
        text(
            f"answers are generated without replayed steps, which is slower: {reason}",
            f"生成时不使用计算图重放，速度较慢：{reason}",
        )
    )
    return DecodePath()


def _obstacle(network: Network) -> str:
    """Return why slots cannot be used; empty if a trial may decide."""
    config = network.model.config.get_text_config()
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    if kinds != {DynamicLayer}:
        return text(
            "the model does not cache keys and values of all tokens in every layer",
            "该模型并非每层都缓存全部 token 的键和值",
        )
    if config._attn_implementation not in MASKED_ATTENTION:
        kind = config._attn_implementation
        return text(f"{kind} takes no mask of this kind", f"{kind} 不支持这种掩码")
    return ""


def _trial(network: Network, graphs: StepGraphs) -> str:
    """Decode a few tokens on both paths; return what differs. Disables graphs if steps wait."""
    model, device = network.model, network.model.device
    entries = [PrefillEntry(list(range(1, 1 + length)), [], "") for length in TRIAL_LENGTHS]
    prefill = Prefill.of(entries, network.layers, device)
    while prefill.step(model, prefill.length) is None:
        pass
    rows, width = len(entries), max(TRIAL_LENGTHS)
    space = CacheSpace(rows, width + TRIAL_STEPS, rows * 4 * width, 0)
    slots = SlotCache(network.layers, space, StepGraphs(None, lambda _: None))
    growing = BatchCache(network.layers)
    for cache in (slots, growing):
        cache.make_room(rows, width)
        for row, length in enumerate(TRIAL_LENGTHS):
            cache.join(prefill.past, row, length, 1)
    tokens = upload([2, 3], torch.long, device)
    for _ in range(TRIAL_STEPS):
        for cache in (slots, growing):
            cache.make_room()
        expected = growing.forward(lambda: model, tokens)
        with HostReads() as reads:
            actual = slots.forward(lambda: model, tokens)
        if not is_close(actual, expected):
            return text("the logits of the trial differ", "试算的 logits 不一致")
        tokens = expected.argmax(dim=-1)
    if reads.count and graphs.enabled:
        graphs.disable(
            text(
                f"each step of this model reads {reads.count} values from the device",
                f"该模型每步要从设备读取 {reads.count} 个值",
            )
        )
    return ""
