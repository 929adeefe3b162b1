"""Cast a merged model to its final number types, and write it with the base's other files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from swiftbox.errors import ResultError
from swiftbox.language import text
from swiftbox.runs import folder as run_folder

Keep = Callable[[torch.Tensor], torch.Tensor]
"""Returns a tensor with the same values, in memory or in a mapped file."""

PROCESSOR_FILES = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)
"""Files without which other programs do not load a model that reads pictures or sound."""

COMPANIONS = ("generation_config.json", *PROCESSOR_FILES)
"""Files of a base that a merge does not change; they are copied."""


@dataclass(frozen=True)
class WeightTypes:
    """The number type of every weight that is written."""

    default: str
    exceptions: Mapping[str, str]
    """Types of weights that the base stores otherwise, such as routers and norms, by name."""

    def of(self, name: str) -> str:
        """Return the type of one weight."""
        return self.exceptions.get(name, self.default)


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write the model into; it is deleted at the end unless it was renamed."""
    temporary = folder / f".{run_folder.MODEL}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cast_weights(model: Any, types: WeightTypes, keep: Keep) -> str:
    """Cast every weight, one at a time; return the names of the types.

    What the cast changes is passed to `keep`. Raises ResultError on overflow.
    """
    used = set()
    for name, parameter in model.named_parameters():
        dtype = types.of(name)
        used.add(dtype)
        cast = parameter.data.to(getattr(torch, dtype))
        if cast.dtype != parameter.dtype:
            cast = keep(cast)
        parameter.data = cast
        if not torch.isfinite(cast).all():
            raise ResultError(
                text(f"{name} exceeds the range of {dtype}", f"{name} 超出 {dtype} 的范围"),
                hint=text("set dtype: bfloat16 or float32", "设 dtype: bfloat16 或 float32"),
            )
    return ", ".join(sorted(used))


def write_weights(model: Any, source: Path, target: Path, *, max_shard_size: str) -> None:
    """Write the weights and config.json of a model that comes from `source`.

    A generation_config.json of the source is left out, to be copied later: transformers refuses to
    save some of those that are published.
    """
    generation_config = getattr(model, "generation_config", None)
    is_copied = generation_config is not None and (source / "generation_config.json").is_file()
    if is_copied:
        model.generation_config = GenerationConfig()
    model.save_pretrained(str(target), max_shard_size=max_shard_size)
    if is_copied:
        model.generation_config = generation_config


def copy_processor(source: Path, target: Path) -> None:
    """Copy the settings of a processor, unless there are some."""
    for name in PROCESSOR_FILES:
        if (source / name).is_file() and not (target / name).exists():
            shutil.copyfile(source / name, target / name)


def copy_companions(source: Path, target: Path, *, code: bool) -> None:
    """Copy the files that a merge does not change; with `code`, the Python files too."""
    files = [source / name for name in COMPANIONS]
    files += list(source.glob("*.py")) if code else []
    for file in files:
        if file.is_file():
            shutil.copyfile(file, target / file.name)
