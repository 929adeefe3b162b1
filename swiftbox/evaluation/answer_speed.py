"""How fast a model answered here before: minutes of an evaluation, said before it starts.

A measured speed is kept in a small file per model, engine, data type and concurrency. It only
makes an estimate; a file that cannot be read is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.files import read_json, write_json
from swiftbox.language import cache_home

FOLDER = "answer_speed"


@dataclass(frozen=True)
class AnswerSpeed:
    """What was measured of a model's answers."""

    tokens_per_s: float
    """Of all requests together."""
    tokens_per_answer: float

    def seconds(self, answers: int, max_tokens: int) -> float:
        """Return how long answers take together."""
        return answers * min(self.tokens_per_answer, max_tokens) / self.tokens_per_s


def _file(config: EvaluateConfig) -> Path:
    subject = [config.model, config.endpoint, config.engine, config.dtype, config.batch_size]
    name = hashlib.sha256(json.dumps(subject).encode()).hexdigest()[:32]
    return cache_home() / FOLDER / f"{name}.json"


def remembered_speed(config: EvaluateConfig) -> AnswerSpeed | None:
    """Return the speed of an earlier run like this one; None if there was none."""
    values = read_json(_file(config))
    numbers = [values.get(key) for key in ("tokens_per_s", "tokens_per_answer")]
    if not all(isinstance(value, float) and 0 < value < math.inf for value in numbers):
        return None
    return AnswerSpeed(*map(float, numbers))  # type: ignore[arg-type]  # all are floats here


def remember_speed(config: EvaluateConfig, *, answers: int, tokens: int, seconds: float) -> None:
    """Keep a measured speed; a folder that cannot be written only loses an estimate."""
    if not (answers and tokens and seconds > 0):
        return
    with contextlib.suppress(OSError):
        file = _file(config)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"tokens_per_s": tokens / seconds, "tokens_per_answer": tokens / answers})
