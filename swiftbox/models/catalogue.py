"""The offline catalogue: models, datasets and benchmarks, read from one data file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

SHORTEST_LOOSE = 3
"""Two letters are found in order nearly everywhere."""

FILE = Path(__file__).with_name("catalogue.json")

SELDOM = ("embedding", "reranker")
"""Kinds that do not write text; they are not counted as language models."""

UNTRAINED = (*SELDOM, "encoder")
"""Kinds that no method here trains."""


@dataclass(frozen=True)
class Model:
    """One model; sizes in billions of parameters, None where it is not known."""

    id: str
    hf_id: str | None
    family: str
    params_b: float | None
    active_params_b: float | None
    modality: str
    architecture: str | None
    model_type: str
    kind: str
    stage: str | None
    quant: str
    native: str | None
    """yes: the installed transformers has its class; remote-code: its own Python is needed; no."""
    transformers_spec: str | None
    max_transformers: str | None
    extra_requires: tuple[str, ...]
    prompt_format: str | None
    context: int | None
    disk_bytes: int | None
    """Derived: parameters times the bytes of their format."""
    subfolder: str | None
    dims: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Return the id, with the folder inside the repository where there is one."""
        return f"{self.id}:{self.subfolder}" if self.subfolder else self.id


@dataclass(frozen=True)
class Dataset:
    """One dataset of a hub."""

    id: str | None
    hf_id: str | None
    subsets: tuple[str, ...]
    rows: int | None
    tags: tuple[str, ...]
    languages: tuple[str, ...]
    format: str | None
    modality: str | None
    huge: bool

    @property
    def name(self) -> str:
        """Return the id on the hub that has it."""
        return self.id or self.hf_id or ""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of EvalScope."""

    name: str
    dataset_id: str | None
    task_type: str | None
    few_shot: int | None
    category: str | None
    tags: tuple[str, ...]
    metrics: tuple[str, ...]
    subsets: tuple[str, ...]
    samples: int | None
    sandbox: bool
    title: str | None


@cache
def models() -> tuple[Model, ...]:
    """Return all models."""
    return tuple(map(_model, range(len(_data()["models"]["rows"]))))


def family(name: str) -> list[Model]:
    """Return the models of a family; only they are made of their rows."""
    return [_model(at) for at, one in enumerate(_column("family")) if one == name]


@cache
def datasets() -> tuple[Dataset, ...]:
    """Return all datasets."""
    return tuple(Dataset(**row) for row in _rows("datasets"))


@cache
def benchmarks() -> tuple[Benchmark, ...]:
    """Return all benchmarks."""
    return tuple(Benchmark(**row) for row in _rows("benchmarks"))


def lora_targets(model_type: str) -> Mapping[str, list[str]]:
    """Return the names of a type's attention and MLP linears; empty where they are not known."""
    found: Mapping[str, list[str]] = _data()["lora_targets"].get(model_type, {})
    return found


def model(name: str) -> Model | None:
    """Return the model of an id on either hub, whatever its case; None where there is none."""
    at = _by_name().get(name.lower())
    return None if at is None else _model(at)


def dataset(name: str) -> Dataset | None:
    """Return the dataset of an id on either hub, whatever its case; None where there is none."""
    wanted = name.lower()
    ids = ((one, (one.id, one.hf_id)) for one in datasets())
    return next((one for one, names in ids if wanted in [(n or "").lower() for n in names]), None)


def search(
    query: str,
    *,
    modality: str | None = None,
    kind: str | None = None,
    family: str | None = None,
) -> list[Model]:
    """Return the models in whose id, family, type and kind all words occur, the best first.

    Where there are none, those whose ids have the letters in this order, close together (`qwn3`).
    """
    words = query.lower().split()
    wanted = [
        one
        for one in models()
        if (not modality or modality in one.modality)
        and (not kind or kind == one.kind)
        and (not family or family.lower() == one.family.lower())
    ]
    for score in (_score, _loose_score):
        scored = [(score(one, words), one.params_b or inf, one.name, one) for one in wanted]
        found = [item for item in scored if item[0] is not None]
        if found:
            return [one for *_, one in sorted(found, key=lambda item: item[:3])]
    return []


def search_datasets(query: str) -> list[Dataset]:
    """Return the datasets in whose ids, tags, languages and format all words occur."""
    words = query.lower().split()

    def around(one: Dataset) -> str:
        parts = (one.id or "", one.hf_id or "", *one.tags, *one.languages, one.format or "")
        return " ".join(parts).lower()

    return [one for one in datasets() if all(word in around(one) for word in words)]


def similar(name: str) -> list[str]:
    """Return the nearest ids, for hints."""
    import difflib

    ids = {one.name.lower(): one.name for one in models()}
    tails = {one.name.lower().rsplit("/", 1)[-1]: one.name for one in models()}
    near = difflib.get_close_matches(name.lower(), ids, n=3, cutoff=0.6)
    near_tails = difflib.get_close_matches(name.lower().rsplit("/", 1)[-1], tails, n=3, cutoff=0.6)
    return list(dict.fromkeys([*(ids[one] for one in near), *(tails[one] for one in near_tails)]))


def _score(one: Model, words: list[str]) -> int | None:
    """Rank a match: 0 where words begin the name or name the family, more where they are inside."""
    tail = one.name.lower().rsplit("/", 1)[-1]
    around = f"{one.name} {one.hf_id or ''} {one.family} {one.model_type} {one.kind}".lower()
    score = 0
    for word in words:
        if word not in around:
            return None
        score += 0 if tail.startswith(word) or word == one.family.lower() else 1
        score += 0 if word in tail else 1
    return score


def _loose_score(one: Model, words: list[str]) -> int | None:
    """Rank by how far a word's letters lie apart, at most twice its length; an id is no word."""
    name, score = one.name.lower(), 0
    for word in words:
        if word in name:
            continue
        spans = re.finditer("(?=(" + ".*?".join(map(re.escape, word)) + "))", name)
        span = min((len(one[1]) for one in spans), default=0)
        if "/" in word or len(word) < SHORTEST_LOOSE or not 0 < span <= 2 * len(word):
            return None
        score += span
    return score


@cache
def _by_name() -> dict[str, int]:
    """Return the places of rows by their names: an id goes before another hub's, then the first."""
    ids, others, insides = (_column(key) for key in ("id", "hf_id", "subfolder"))
    found: dict[str, int] = {}
    for at, other in enumerate(others):
        if other:
            found.setdefault(other.lower(), at)
    for at in range(len(ids) - 1, -1, -1):
        name = ids[at].lower()
        found[name] = at
        if insides[at]:
            found[f"{name}:{insides[at].lower()}"] = at
    return found


def _column(key: str) -> list[Any]:
    at = _data()["models"]["columns"].index(key)
    return [row[at] for row in _data()["models"]["rows"]]


@cache
def _model(at: int) -> Model:
    """Make one model of its row; making all takes longer than reading the file."""
    part = _data()["models"]
    return Model(**_named(part["columns"], part["rows"][at]))


@cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def _rows(part: str) -> list[dict[str, Any]]:
    columns = _data()[part]["columns"]
    return [_named(columns, row) for row in _data()[part]["rows"]]


def _named(columns: list[str], row: list[Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in zip(columns, row, strict=True)
    }
