"""Fix position frequencies that depend on a length, so that no row depends on another.

With `rope_type` longrope or dynamic, transformers chooses the frequencies of every forward pass by
its longest row (modeling_rope_utils.dynamic_rope_update): a row's result would depend on the rows
beside it, on the split into micro-batches, and on the layout. Training computes all rows with the
frequencies that its longest row needs, as vLLM does with those for its maximum length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_rope_utils import dynamic_rope_update

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.samples import LabeledAnswer, PromptSample, Sample
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

FIXED = "fixed"
"""The type of frequencies that stay; transformers' forward passes leave unknown types unchanged."""

MEMORY = "_fixed_rope"
"""The attribute of a rotary embedding that keeps its FixedRope."""


@dataclass(frozen=True)
class FixedRope:
    """The types of a rotary embedding before they were fixed, and the length they are fixed for."""

    types: str | Mapping[str, str]
    """One type, or one for each type of layer."""
    length: int


def longest_row(parts: Iterable[Sequence[Sample]], config: TrainConfig) -> int:
    """Return the most tokens of a row that a run computes.

    KTO joins prompts with the answers of other rows; others add generated answers to prompts.
    """
    longest = prompt = answer = 0
    generated = int(getattr(config, "max_completion_length", 0))
    answers = getattr(config, "samples_answers", False)
    for sample in (sample for part in parts for sample in part):
        longest = max(longest, len(sample))
        if isinstance(sample, LabeledAnswer):
            prompt = max(prompt, sample.row.learned_from)
            answer = max(answer, len(sample) - sample.row.learned_from)
        elif isinstance(sample, PromptSample):
            prompt, answer = longest, generated
        elif answers:
            prompt, answer = max(prompt, len(sample.rows[-1].last_prompt)), generated
    return max(longest, prompt + answer)


def fix_rope_lengths(
    model: Any, parts: Iterable[Sequence[Sample]], config: TrainConfig, emit: Emit
) -> None:
    """Fix all frequencies that depend on a length for the longest row, and report it."""
    modules = [module for module in model.modules() if _changing_types(module)]
    if not modules:
        return
    length = longest_row(parts, config)
    kinds = dict.fromkeys(kind for module in modules for kind in _changing_types(module).values())
    for module in modules:
        fix_length(module, length)
    names = ", ".join(kinds)
    message = text(
        f"rope_type {names}: position frequencies are fixed for the longest row, {length} tokens; "
        "if each forward pass chose its own, a row's result would depend on the rows beside it. "
        "Servers choose by the length of a request or by their maximum length",
        f"rope_type {names}：位置频率按最长的一行（{length} 个 token）固定；若每次前向各自选择，"
        "一行的结果会随同批的其他行而变。推理服务则按请求长度或其最大长度选择",
    )
    emit(events.NOTE, key="rope_type", message=message)


def fix_length(module: Any, length: int) -> None:
    """Choose a rotary embedding's frequencies for a length, and keep them from then on."""
    types = module.rope_type
    changing = _changing_types(module)
    _choose(module, length)
    setattr(module, MEMORY, FixedRope(types, length))
    if isinstance(types, str):
        module.rope_type = FIXED
    else:
        module.rope_type = {**types, **dict.fromkeys(changing, FIXED)}


@contextlib.contextmanager
def chosen_by_length(model: Any) -> Iterator[None]:
    """Let each forward pass choose its frequencies again, as servers with transformers do."""
    modules = [module for module in model.modules() if isinstance(_fixed(module), FixedRope)]
    lengths = [_fixed(module).length for module in modules]
    for module in modules:
        module.rope_type = _fixed(module).types
        setattr(module, MEMORY, None)
        _choose(module, 1)  # those of longer rows would stay for some lengths
    try:
        yield
    finally:
        for module, length in zip(modules, lengths, strict=True):
            fix_length(module, length)


def fixed_settings(model: Any) -> tuple[str, ...]:
    """Name what is fixed; empty if the model's frequencies depend on no length."""
    fixed = filter(None, map(_fixed, model.modules()))
    return tuple(dict.fromkeys(str(rope) for rope in fixed))


def _fixed(module: Any) -> Any:
    return getattr(module, MEMORY, None)


def _changing_types(module: Any) -> dict[str, str]:
    """Return the types that depend on a length, by the type of layer; that of all layers is ''."""
    types = getattr(module, "rope_type", None)
    by_layer = {"": types} if isinstance(types, str) else types
    if not isinstance(by_layer, Mapping):
        return {}
    # The conditions of dynamic_rope_update.
    return {
        layer: kind for layer, kind in by_layer.items() if kind == "longrope" or "dynamic" in kind
    }


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def _choose(module: Any, length: int) -> None:
    """Let transformers choose the frequencies as in a forward pass with rows of a length."""
    for layer in _changing_types(module):
        frequencies = getattr(module, f"{layer}_inv_freq" if layer else "inv_freq")
        positions = torch.tensor([[length - 1]], device=frequencies.device)  # (1, 1)
        options = {"layer_type": layer} if layer else {}
        dynamic_rope_update(_compute_nothing)(module, frequencies, positions, **options)


def _compute_nothing(module: Any, x: Any, position_ids: Any, layer_type: str = "") -> None:
    """Stand for the part of a rotary embedding's forward pass that follows the choice."""
