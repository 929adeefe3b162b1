"""Cast a merged model to the numbers that are wanted, and write it with what goes with a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from swiftbox.errors import ResultError
from swiftbox.language import text
from swiftbox.runs import folder as run_folder

COMPANIONS = (
    "generation_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)
"""Files of a base that a merge does not change; copied as they are."""


@dataclass(frozen=True)
class Types:
    """The number type of every weight that is written."""

    main: str
    kept: Mapping[str, str]
    """Weights that keep the type that the base has them in, as routers and norms may."""

    def of(self, name: str) -> str:
        """Return the type of one weight."""
        return self.kept.get(name, self.main)


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which is gone in the end unless it was renamed."""
    aside = folder / f".{run_folder.MODEL}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def cast(model: Any, types: Types) -> str:
    """Cast each weight; return the types in words. Raises ResultError where one does not fit."""
    used = set()
    for name, value in model.named_parameters():
        wanted = types.of(name)
        used.add(wanted)
        value.data = value.data.to(getattr(torch, wanted))
        if not torch.isfinite(value.data).all():
            raise ResultError(
                text(f"{name} does not fit into {wanted}", f"{name} 超出 {wanted} 的范围"),
                hint=text("set dtype: bfloat16 or float32", "设 dtype: bfloat16 或 float32"),
            )
    return ", ".join(sorted(used))


def write(model: Any, base: Path, aside: Path, *, max_shard_size: str) -> None:
    """Write the weights and config.json.

    The base's generation_config.json is copied later: transformers refuses to save some of those
    that are published.
    """
    own = getattr(model, "generation_config", None)
    copied = own is not None and (base / "generation_config.json").is_file()
    if copied:
        model.generation_config = GenerationConfig()
    model.save_pretrained(str(aside), max_shard_size=max_shard_size)
    if copied:
        model.generation_config = own


def write_along(base: Path, aside: Path, *, code: bool) -> None:
    """Copy from the base what a merge does not change; with `code`, its Python files too."""
    sources = [base / name for name in COMPANIONS]
    sources += list(base.glob("*.py")) if code else []
    for source in sources:
        if source.is_file():
            shutil.copyfile(source, aside / source.name)
