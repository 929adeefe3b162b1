"""Made-up preferences, their rows of tokens, and the scores of models; shared by tests."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tiny import train_tokenizer
from transformers import AutoModelForCausalLM

from swiftbox.core.data.encode import EncodedExample, encode_labeled_answers, encode_pairs
from swiftbox.core.data.samples import LabeledAnswer, PreferencePair
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.terms import LossContext
from swiftbox.data.example import Example, Turn
from swiftbox.methods import METHODS

WORDS = (json.__doc__ or "").split()


def examples(count: int, seed: int = 0) -> list[Example]:
    """Make preferences of uneven length; every third has an earlier exchange."""
    chooser = random.Random(seed)

    def sentence(least: int, most: int) -> str:
        return " ".join(chooser.choice(WORDS) for _ in range(chooser.randint(least, most)))

    preferences = []
    for number in range(count):
        prompt = [Turn("user", sentence(3, 25))]
        if number % 3 == 2:
            prompt += [Turn("assistant", sentence(2, 8)), Turn("user", sentence(2, 9))]
        chosen, rejected = (
            (*prompt, Turn("assistant", f"{start} {sentence(1, 20)}")) for start in ("yes", "no")
        )
        preferences.append(Example(messages=chosen, rejected=rejected))
    return preferences


def pairs(count: int, seed: int = 0, **more: Any) -> list[PreferencePair]:
    return samples_of(encode_pairs(examples(count, seed), train_tokenizer(), config("dpo"), **more))


def labeled_answers(count: int, seed: int = 0) -> list[LabeledAnswer]:
    answers = [
        Example(messages=pair.messages if number % 2 else pair.rejected, label=bool(number % 2))
        for number, pair in enumerate(examples(count, seed))
    ]
    return samples_of(encode_labeled_answers(answers, train_tokenizer(), config("kto")))


def config(stage: str, **settings: Any) -> Any:
    """Return a config of a stage that needs no files."""
    return METHODS[stage].config(model="m", dataset="d", **settings)


def samples_of(encoded: list[EncodedExample]) -> list[Any]:
    """Return the samples of examples that could be encoded."""
    assert [example.error for example in encoded if example.error] == []
    return [sample for example in encoded for sample in example.samples]


def load(folder: Path, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="sdpa", dtype=dtype, **more
    )


def context(model: Any, stage: str, reference: Any = None, **settings: Any) -> LossContext:
    values = {
        name: field.get_default(call_default_factory=True)
        for name, field in METHODS[stage].config.model_fields.items()
        if not field.is_required()
    }
    return LossContext(SimpleNamespace(**values | settings), reader_for(model), reference)


def padded(rows: list[Any]) -> dict[str, torch.Tensor]:
    """Pad rows in TRL's format: ids, attention mask, and the mask of the completion."""
    longest = max(len(row) for row in rows)
    batch = {
        name: torch.zeros(len(rows), longest, dtype=torch.long)
        for name in ("input_ids", "attention_mask", "completion_mask")
    }
    for number, row in enumerate(rows):
        completion = torch.from_numpy((row.labels >= 0).astype(np.int64))
        batch["input_ids"][number, : len(row)] = torch.from_numpy(row.input_ids.astype(np.int64))
        batch["attention_mask"][number, : len(row)] = 1
        batch["completion_mask"][number, : len(row)] = completion
    return batch
