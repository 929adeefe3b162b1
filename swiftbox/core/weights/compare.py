"""How far apart two models are: their logits and greedy answers to the same few prompts.

Shapes: T tokens of a prompt, V vocabulary, A tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from swiftbox.templates.client_messages import render_for_client
from swiftbox.templates.template import ConversationTemplate

QUESTIONS = (
    "What is the capital of France, and which river runs through it?",
    "用三句话介绍一下长城。",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Translate into Chinese: the early bird catches the worm.",
)
"""Two languages, prose and code. Varied tokens matter here, the topics do not."""

ANSWER_TOKENS = 24
ROUNDING_LIMIT = 1e-5
"""Share of the largest logit, which counts as at least 1.

Float32 has 24 bits of precision: adding B A to W before the product instead of after it moves
each sum by about 6e-8 of its size, and the depth of a model adds up tens of these. A wrong merge
moves logits by hundredths at least.
"""


ROUNDING_NOISE = 2.0**-23
"""The error of a rounding to float32, as a share of the number."""

REACH_SPREAD = 4.0
"""Errors of other signs move logits by a few times as much as those that were tried."""


@dataclass(frozen=True)
class ModelOutputs:
    """What a model answers to the check prompts."""

    logits: tuple[torch.Tensor, ...]
    """One (T, V) per prompt, in float32."""
    answers: tuple[tuple[int, ...], ...]
    """Greedy answers of A tokens; empty for a model with a score head."""
    margins: tuple[tuple[float, ...], ...]
    """The lead of each answer token's logit over the second largest."""


@dataclass(frozen=True)
class OutputDifference:
    """How far apart the outputs of two models are."""

    maximum: float
    mean: float
    scale: float
    """The largest logit."""
    same_answers: int
    answers: int
    reach: float = 0.0
    """How far rounding errors of its layers were seen to move the logits of the model."""

    @property
    def limit(self) -> float:
        """Return the largest difference that float32 rounding explains."""
        return rounding_limit(self.scale, self.reach)

    @property
    def is_rounding(self) -> bool:
        """Return whether rounding explains the difference; it never explains NaN."""
        return self.maximum <= self.limit and self.same_answers == self.answers

    def figures(self) -> dict[str, Any]:
        """Return plain data for the record."""
        return {**asdict(self), "limit": self.limit}


def rounding_limit(scale: float, reach: float) -> float:
    """Return the largest difference that rounding explains, for logits of that size."""
    return max(ROUNDING_LIMIT * max(1.0, scale), REACH_SPREAD * reach)


@contextmanager
def rounding_noise(model: Any) -> Iterator[None]:
    """Give the outputs of all linear layers a rounding error each, the same in every run.

    Recurrent layers carry errors from token to token: they amplify rounding tens of times.
    """
    generator = torch.Generator().manual_seed(0)

    def disturb(_layer: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        noise = 2 * torch.rand(output.shape, generator=generator) - 1
        return output * (1 + ROUNDING_NOISE * noise.to(output.device))

    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    handles = [layer.register_forward_hook(disturb) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_prompts(tokenizer: Any) -> list[torch.Tensor]:
    """Return the tokens (T,) of each check prompt, in the chat template if there is one."""
    prompts = []
    for question in QUESTIONS:
        content = question
        if tokenizer.chat_template:
            turn = {"role": "user", "content": question}
            content = render_for_client(
                ConversationTemplate.of_tokenizer(tokenizer), [turn], [], prompt=True
            )
        ids = tokenizer(content, add_special_tokens=not tokenizer.chat_template)["input_ids"]
        prompts.append(torch.tensor(ids))
    return prompts


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def run_prompts(model: Any, prompts: Sequence[torch.Tensor]) -> ModelOutputs:
    """Run the prompts through a model, which is put in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    prompts = [ids.to(device) for ids in prompts]
    logits = tuple(
        model(input_ids=ids[None], use_cache=False).logits[0].float().cpu() for ids in prompts
    )  # (T, V)
    if not hasattr(model, "generate") or logits[0].dim() < 2:
        return ModelOutputs(logits, (), ())
    pairs = [_greedy_answer(model, ids) for ids in prompts]
    answers = tuple(tokens for tokens, _ in pairs)
    return ModelOutputs(logits, answers, tuple(margins for _, margins in pairs))


def _greedy_answer(model: Any, ids: torch.Tensor) -> tuple[tuple[int, ...], tuple[float, ...]]:
    defaults = model.generation_config
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=ANSWER_TOKENS,
        eos_token_id=defaults.eos_token_id,
        pad_token_id=defaults.pad_token_id if defaults.pad_token_id is not None else 0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    output = model.generate(
        input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], generation_config=settings
    )
    tokens = output.sequences[0, len(ids) :].tolist()  # (A,)
    best = [torch.topk(logits[0].float(), 2).values for logits in output.logits]  # A of (2,)
    return tuple(tokens), tuple(float(first - second) for first, second in best)


def compare_outputs(
    expected: ModelOutputs, actual: ModelOutputs, *, reach: float = 0.0
) -> OutputDifference:
    """Compare the outputs of two models for the same prompts.

    If one vocabulary was resized, only the shared part counts. Answers that part at a tie, where
    rounding decides, are the same. `reach` is how far rounding was seen to move the logits.
    """
    maxima, scale, total, count = [], 0.0, 0.0, 0
    for first, second in zip(expected.logits, actual.logits, strict=True):
        shared = min(first.shape[-1], second.shape[-1])
        distance = (first[..., :shared] - second[..., :shared]).abs()
        maxima.append(distance.max())
        scale = max(scale, float(first[..., :shared].abs().max()))
        total, count = total + float(distance.double().sum()), count + distance.numel()
    maximum = float(torch.stack(maxima).max())
    tie = 2 * rounding_limit(scale, reach)
    answers = zip(expected.answers, actual.answers, expected.margins, strict=True)
    same = sum(_same_answer(first, second, margins, tie) for first, second, margins in answers)
    return OutputDifference(maximum, total / count, scale, same, len(expected.answers), reach)


def _same_answer(
    first: Sequence[int], second: Sequence[int], margins: Sequence[float], tie: float
) -> bool:
    pairs = enumerate(zip(first, second, strict=False))
    parting = next((index for index, (left, right) in pairs if left != right), None)
    if parting is None:
        return len(first) == len(second)
    return margins[parting] <= tie
