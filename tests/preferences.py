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

from swiftbox.core.data.encode import encode_labeled_answers, encode_pairs
from swiftbox.core.data.samples import LabeledAnswer, PreferencePair
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.terms import LossContext
from swiftbox.data.example import Example, Message
from swiftbox.methods import METHODS

WORDS = (json.__doc__ or "").split()


def examples(count: int, seed: int = 0) -> list[Example]:
    """Make preferences of uneven length; every third has an earlier exchange."""
    chooser = random.Random(seed)

    def words(least: int, most: int) -> str:
        return " ".join(chooser.choice(WORDS) for _ in range(chooser.randint(least, most)))

    made = []
    for number in range(count):
        before = [Message("user", words(3, 25))]
        if number % 3 == 2:
            before += [Message("assistant", words(2, 8)), Message("user", words(2, 9))]
        chosen, rejected = (
            (*before, Message("assistant", f"{start} {words(1, 20)}")) for start in ("yes", "no")
        )
        made.append(Example(messages=chosen, rejected=rejected))
    return made


def pairs(count: int, seed: int = 0, **more: Any) -> list[PreferencePair]:
    return encode_pairs(examples(count, seed), train_tokenizer(), **more)


def judged(count: int, seed: int = 0) -> list[LabeledAnswer]:
    made = [
        Example(messages=one.messages if at % 2 else one.rejected, label=bool(at % 2))
        for at, one in enumerate(examples(count, seed))
    ]
    return encode_labeled_answers(made, train_tokenizer())


def load(folder: Path, **more: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="sdpa", dtype=torch.float32, **more
    )


def context(model: Any, stage: str, reference: Any = None, **settings: Any) -> LossContext:
    values = {
        name: field.get_default(call_default_factory=True)
        for name, field in METHODS[stage].config.model_fields.items()
        if not field.is_required()
    }
    return LossContext(SimpleNamespace(**values | settings), reader_for(model), reference)


def padded(rows: list[Any]) -> dict[str, torch.Tensor]:
    """Pad rows as TRL takes them: ids, attention mask, and where the completion is."""
    longest = max(len(row) for row in rows)
    found = {
        name: torch.zeros(len(rows), longest, dtype=torch.long)
        for name in ("input_ids", "attention_mask", "completion_mask")
    }
    for at, row in enumerate(rows):
        found["input_ids"][at, : len(row)] = torch.from_numpy(row.input_ids.astype(np.int64))
        found["attention_mask"][at, : len(row)] = 1
        found["completion_mask"][at, : len(row)] = torch.from_numpy(
            (row.labels >= 0).astype(np.int64)
        )
    return found
