"""Answers that the student or its teacher writes during a distillation (arXiv:2306.13649).

Shapes: B rows, T tokens, V vocabulary.

An update learns either the rows of the data or answers to their last prompts. Which of them, and
every sampled token, depends only on the seed, the update, the row and the weights: a run that is
resumed writes the same answers, and so does one that answers fewer rows at a time. For this each
row has its own generator: the likeliest token after adding Gumbel noise to the log-probabilities
is a sample of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor

from swiftbox.config.train import TrainConfig
from swiftbox.core.attention.varlen import with_masks
from swiftbox.core.data.samples import IGNORED, GeneratedAnswer, Sample, TokenRow, Tokens
from swiftbox.core.generation.parity import end_tokens
from swiftbox.core.losses.log_prob_reader import unwrapped
from swiftbox.core.losses.teacher import Teacher
from swiftbox.core.training.memory_recovery import free_memory
from swiftbox.core.training.rope_lengths import chosen_by_length
from swiftbox.core.training.trainer_inputs import TrainerInputs
from swiftbox.errors import MemoryLimitError
from swiftbox.language import text
from swiftbox.runs.diagnosis import first_line, is_out_of_memory

Unit = Sequence[Sample]

SMALLEST_NOISE = 2.0**-32
"""Stands for a draw of 0, which some processors round to: any token would be the likeliest."""


@dataclass(frozen=True)
class UpdatePlace:
    """Which update of a run it is."""

    epoch: int
    update: int
    process: int = 0

    def seeds(self, seed: int, rows: int) -> list[int]:
        """Return the seed of each row of this process's update."""
        entropy = [seed, self.epoch, self.update, self.process]
        states = np.random.SeedSequence(entropy).generate_state(rows, np.uint64)
        return [int(state >> np.uint64(1)) for state in states]


@dataclass
class AnswerWriter:
    """Replaces the rows of an update by generated answers, where the config says so."""

    config: TrainConfig
    student: Any
    teacher: Any
    """A transformers model."""
    ends: frozenset[int]
    """The tokens that end an answer."""
    rows_at_once: int
    device: torch.device
    _last: tuple[UpdatePlace, Sequence[Unit]] | None = field(default=None, init=False)

    def units_of(self, units: Sequence[Unit], place: UpdatePlace) -> Sequence[Unit]:
        """Return the units of an update, with answers of the model that writes it, if any.

        An update that is begun again, in smaller parts, has the same answers.
        """
        writer = self.writer_of(place)
        if writer is None:
            return units
        if self._last is None or self._last[0] != place:
            self._last = place, self._answered(units, place, writer)
        return self._last[1]

    def writer_of(self, place: UpdatePlace) -> str | None:
        """Return who writes the answers of an update: student or teacher; None if nobody does.

        All processes get the same result.
        """
        values = self.config.model_dump()
        draw = np.random.default_rng([self.config.seed, place.epoch, place.update]).random()
        if draw < values["lmbda"]:
            return "student"
        return "teacher" if values["seq_kd"] else None

    def _answered(
        self, units: Sequence[Unit], place: UpdatePlace, writer: str
    ) -> list[list[GeneratedAnswer]]:
        prompts = [sample.rows[-1].last_prompt for unit in units for sample in unit]
        seeds = place.seeds(self.config.seed, len(prompts))
        network = self.student if writer == "student" else self.teacher
        with answering(network, self.config, self.device) as model:
            answers = iter(self._answers(model, prompts, seeds))
        by_student = writer == "student"
        return [[GeneratedAnswer(next(answers), by_student) for _ in unit] for unit in units]

    def _answers(
        self, model: Any, prompts: Sequence[Tokens], seeds: Sequence[int]
    ) -> list[TokenRow]:
        """Answer prompts, as many at once as fit the memory."""
        rows: list[TokenRow] = []
        while len(rows) < len(prompts):
            part = slice(len(rows), len(rows) + self.rows_at_once)
            written = self._that_fit(model, prompts[part], seeds[part])
            if written is None:
                free_memory()  # outside the handler, where the error no longer holds the tensors
                self.rows_at_once = max(1, len(prompts[part]) // 2)
            else:
                rows += written
        return rows

    def _that_fit(
        self, model: Any, prompts: Sequence[Tokens], seeds: Sequence[int]
    ) -> list[TokenRow] | None:
        """Return prompts with their answers; None if they did not fit together."""
        values = self.config.model_dump()
        try:
            return answered_rows(
                model,
                prompts,
                SampledTokens(seeds, values["temperature"], self.device),
                values["max_completion_length"],
                self.ends,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(prompts) == 1:
                raise _answer_too_large(error, len(prompts[0])) from error
        return None


class SampledTokens(LogitsProcessor):
    """Makes the likeliest token a sample: the noise of each row is from another generator."""

    def __init__(self, seeds: Sequence[int], temperature: float, device: torch.device) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(
        self,
        input_ids: torch.Tensor,  # noqa: ARG002 - the signature of transformers
        scores: torch.Tensor,
    ) -> torch.Tensor:
        """Return the scores of the next tokens with noise.  # (B, V)"""
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        noise.clamp_(min=SMALLEST_NOISE)
        return scores.float() / self.temperature - noise.log()


def writer_for(inputs: TrainerInputs, teacher: Teacher | None) -> AnswerWriter | None:
    """Return the writer of a distillation; None if all updates learn the rows of the data."""
    config = inputs.config
    if teacher is None or not config.samples_answers:
        return None
    student, device = unwrapped(inputs.network), inputs.arguments.device
    ends = end_tokens(student.generation_config, inputs.tokenizer)
    return AnswerWriter(config, student, teacher.network, ends, config.micro_batch, device)


@contextlib.contextmanager
def answering(network: Any, config: TrainConfig, device: torch.device) -> Iterator[Any]:
    """Let a network generate in evaluation mode, by settings that are complete by themselves.

    The model's own generation settings would fill what ours leave out, such as a penalty.
    """
    was_training, settings = network.training, network.generation_config
    dtype = getattr(torch, config.dtype)
    network.eval()
    network.generation_config = GenerationConfig()
    autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    try:
        with torch.no_grad(), autocast, with_masks(network), chosen_by_length(network):
            yield network
    finally:
        network.generation_config = settings
        network.train(was_training)


def answered_rows(
    model: Any,
    prompts: Sequence[Tokens],
    sampler: SampledTokens,
    most_tokens: int,
    ends: frozenset[int],
) -> list[TokenRow]:
    """Generate an answer to each prompt; an answer ends with an end token or the most tokens."""
    device, longest = model.device, max(map(len, prompts))
    padding = min(ends, default=0)
    ids = torch.full((len(prompts), longest), padding)  # (B, T)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, longest - len(prompt) :] = 1
    sequences = model.generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        logits_processor=[sampler],
        do_sample=False,
        max_new_tokens=most_tokens,
        eos_token_id=sorted(ends) or None,
        pad_token_id=padding,
        use_cache=True,
    )
    answers = sequences[:, longest:].cpu().numpy()
    return [
        answered_row(prompt, answer, ends) for prompt, answer in zip(prompts, answers, strict=True)
    ]


def answered_row(prompt: Tokens, answer: Any, ends: frozenset[int]) -> TokenRow:
    """Join a prompt and its answer up to the first end token, which is learned as well."""
    stops = np.flatnonzero(np.isin(answer, sorted(ends)))
    answer = answer[: stops[0] + 1] if len(stops) else answer
    input_ids = np.concatenate([prompt, answer]).astype(np.int32)
    labels = input_ids.copy()
    labels[: len(prompt)] = IGNORED
    return TokenRow(input_ids, labels)


def _answer_too_large(error: BaseException, tokens: int) -> MemoryLimitError:
    cause = first_line(error)
    return MemoryLimitError(
        text(
            f"out of memory: a prompt of {tokens} tokens cannot be answered: {cause}",
            f"内存不足：无法为 {tokens} 个 token 的提示生成回答：{cause}",
        ),
        hint=text(
            "set a smaller max_completion_length or max_length, or lmbda: 0, which learns the "
            "answers of the data",
            "请设更小的 max_completion_length 或 max_length，或设 lmbda: 0，改为学习数据中的回答",
        ),
    )
