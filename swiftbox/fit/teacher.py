"""What a teacher, and the answers of a distillation, add to memory, disk and time.

Letters: T tokens of a micro-batch, H hidden size, V vocabulary.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from swiftbox.config.references import is_reference
from swiftbox.config.teacher import teacher_of
from swiftbox.config.train import TrainConfig
from swiftbox.fit.memory import Recipe, stored
from swiftbox.fit.micro_batch import BatchShape
from swiftbox.fit.profile import ModelProfile, profile_model
from swiftbox.fit.shape import ModelShape

LAYER_TENSORS = 3
"""Tensors of the width of an MLP that a layer has at once in a pass without gradients."""

STREAMS = 4
"""Those of the hidden size: its input, the normalized one, attention's result, the sum."""

SAMPLING_TENSORS = 4
"""Tensors of (rows, V) in float32 from which the next tokens are sampled."""

STORED = {"gptq": "int4", "awq": "int4", "fp8": "int8", "int8": "int8", "bitsandbytes": "nf4"}
"""Storage of a teacher that is quantized already, by a part of its method's name."""


def teacher_profile(config: TrainConfig) -> ModelProfile | None:
    """Return the profile of a config's teacher; None without one, or if its size is not known."""
    name = teacher_of(config)[0] if config.has_teacher else ""
    if not name or is_reference(name):
        return None
    return _profile(name, _changed_at(Path(name).expanduser() / "config.json"))


def teacher_bytes(config: TrainConfig) -> float:
    """Return the bytes of the teacher's weights, which every device keeps."""
    profile = teacher_profile(config)
    if profile is None:
        return 0.0
    kind = next((kind for name, kind in STORED.items() if name in profile.quantized.lower()), None)
    numbers = config.dtype if config.dtype != "auto" else "bfloat16"
    recipe = Recipe(tokens=0, length=0, weights=kind or numbers, outside=numbers)
    return stored(profile.shape, recipe)


def teacher_work(config: TrainConfig, batch: BatchShape) -> float:
    """Return the temporary bytes of the teacher's pass over a micro-batch."""
    profile = teacher_profile(config)
    if profile is None:
        return 0.0
    shape = profile.shape
    width = LAYER_TENSORS * shape.layer_width + 4 * shape.query_width + STREAMS * shape.hidden
    return _number_bytes(config) * (batch.tokens * width + batch.mask_entries)


def generation_work(config: TrainConfig, shape: ModelShape) -> float:
    """Return the temporary bytes of answering a micro-batch's prompts: cache and logits.

    The model with the larger cache counts, if the teacher writes answers as well.
    """
    if not config.samples_answers:
        return 0.0
    values: dict[str, Any] = config.model_dump()
    shapes = [shape]
    if values["seq_kd"] and (profile := teacher_profile(config)) is not None:
        shapes.append(profile.shape)
    rows, length = config.micro_batch, config.max_length + values["max_completion_length"]
    widest = max(2.0 * model.layers * model.key_width for model in shapes)
    cache: float = rows * length * widest * _number_bytes(config)
    return cache + SAMPLING_TENSORS * 4.0 * rows * shape.vocab


def teacher_download(config: TrainConfig) -> float:
    """Return the bytes of a teacher that is still on a hub."""
    profile = teacher_profile(config)
    if profile is None or profile.local:
        return 0.0
    return profile.shape.params * (0.6 if profile.quantized else 2.0)


def relative_size_of_teacher(config: TrainConfig) -> float:
    """Return the teacher's parameters per parameter of the trained model; 0 without a teacher."""
    teacher = teacher_profile(config)
    student = None if teacher is None else profile_model(config.model)
    if teacher is None or student is None:
        return 0.0
    return teacher.shape.passed / student.shape.passed


def _number_bytes(config: TrainConfig) -> int:
    return 4 if config.dtype == "float32" else 2


@lru_cache(maxsize=8)
def _profile(name: str, _changed: int) -> ModelProfile | None:
    """Return a profile once for all candidates of a plan; `_changed` tells of another file."""
    return profile_model(name)


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
