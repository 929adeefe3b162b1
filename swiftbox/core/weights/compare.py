"""How far two models are apart: logits and greedy answers on the same few prompts.

Shapes: T tokens of a prompt, V vocabulary, A tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import GenerationConfig

QUESTIONS = (
    "What is the capital of France, and which river runs through it?",
    "用三句话介绍一下长城。",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Translate into Chinese: the early bird catches the worm.",
)
"""Two languages, prose and code: what they are about matters less than that tokens differ."""

ANSWER_TOKENS = 24
LIMIT = 1e-5
"""Of the largest logit, and never less than that of 1.

Float32 keeps 24 bits: adding B A to W before the product instead of after it moves each sum by
about 6e-8 of its size, and a model's depth adds tens of those. A wrong merge moves logits by
hundredths at the least.
"""


@dataclass(frozen=True)
class Seen:
    """What a model said to the prompts."""

    logits: tuple[torch.Tensor, ...]
    """One (T, V) per prompt, in float32."""
    answers: tuple[tuple[int, ...], ...]
    """Greedy, A tokens each; empty for a model that scores."""
    margins: tuple[tuple[float, ...], ...]
    """By how much each token of an answer won over the second."""


@dataclass(frozen=True)
class Difference:
    """By how much the logits of two models differ."""

    maximum: float
    mean: float
    scale: float
    """The largest logit."""
    same_answers: int
    answers: int

    @property
    def limit(self) -> float:
        """Return the largest difference that rounding in float32 explains."""
        return LIMIT * max(1.0, self.scale)

    @property
    def is_rounding(self) -> bool:
        """Tell whether the models are the same but for rounding; NaN is not."""
        return self.maximum <= self.limit and self.same_answers == self.answers

    def figures(self) -> dict[str, Any]:
        """Return plain data for the record."""
        return {**asdict(self), "limit": self.limit}


def prompts(tokenizer: Any) -> list[torch.Tensor]:
    """Return the tokens of the check prompts, as chats where there is a template.  # each (T,)"""
    found = []
    for question in QUESTIONS:
        content = question
        if tokenizer.chat_template:
            content = tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
        ids = tokenizer(content, add_special_tokens=not tokenizer.chat_template)["input_ids"]
        found.append(torch.tensor(ids))
    return found


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def see(model: Any, asked: Sequence[torch.Tensor]) -> Seen:
    """Ask a model; it is left as it was but for eval mode."""
    model.eval()
    logits = tuple(
        model(input_ids=ids[None], use_cache=False).logits[0].float() for ids in asked
    )  # (T, V)
    if not hasattr(model, "generate") or logits[0].dim() < 2:
        return Seen(logits, (), ())
    answers, margins = [], []
    for ids in asked:
        tokens, won_by = _answer(model, ids)
        answers.append(tokens)
        margins.append(won_by)
    return Seen(logits, tuple(answers), tuple(margins))


def _answer(model: Any, ids: torch.Tensor) -> tuple[tuple[int, ...], tuple[float, ...]]:
    own = model.generation_config
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=ANSWER_TOKENS,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id if own.pad_token_id is not None else 0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    said = model.generate(
        input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], generation_config=greedy
    )
    tokens = said.sequences[0, len(ids) :].tolist()  # (A,)
    best = [torch.topk(one[0].float(), 2).values for one in said.logits]  # A of (2,)
    return tuple(tokens), tuple(float(first - second) for first, second in best)


def difference(one: Seen, other: Seen) -> Difference:
    """Compare what two models said to the same prompts.

    Where the vocabularies differ (one was resized) the shared part counts. An answer that turns
    at a tie, nearer than rounding, is the same answer.
    """
    gaps, scale, total, count = [], 0.0, 0.0, 0
    for first, second in zip(one.logits, other.logits, strict=True):
        shared = min(first.shape[-1], second.shape[-1])
        first, second = first[..., :shared], second[..., :shared]  # noqa: PLW2901 - the same, cut
        gap = (first - second).abs()
        gaps.append(gap.max())
        scale = max(scale, float(first.abs().max()))
        total, count = total + float(gap.double().sum()), count + gap.numel()
    maximum = float(torch.stack(gaps).max())
    tie = 2 * LIMIT * max(1.0, scale)
    same = sum(
        _same_answer(first, second, margins, tie)
        for first, second, margins in zip(one.answers, other.answers, one.margins, strict=True)
    )
    return Difference(maximum, total / count, scale, same, len(one.answers))


def _same_answer(
    first: Sequence[int], second: Sequence[int], margins: Sequence[float], tie: float
) -> bool:
    turns = [at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]]
    if not turns:
        return len(first) == len(second)
    return margins[turns[0]] <= tie
