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

from swiftbox.formatting import near

MIN_FUZZY_LETTERS = 3
"""Two letters occur in order in nearly every id."""

FILE = Path(__file__).with_name("catalogue.json")

NON_GENERATIVE = ("embedding", "reranker")
"""Kinds that do not generate text; they are not language models."""

NOT_TRAINABLE = (*NON_GENERATIVE, "encoder")
"""Kinds that no method trains."""


@dataclass(frozen=True)
class Model:
    """One model; sizes in billions of parameters; None means unknown."""

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
    """yes: transformers has its class; remote-code: the repository's Python is needed; no."""
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
        """Return the id, with the folder inside the repository if there is one."""
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
    """Return the models of a family; only their rows are parsed."""
    return [_model(index) for index, value in enumerate(_column("family")) if value == name]


@cache
def datasets() -> tuple[Dataset, ...]:
    """Return all datasets."""
    return tuple(Dataset(**row) for row in _rows("datasets"))


@cache
def benchmarks() -> tuple[Benchmark, ...]:
    """Return all benchmarks."""
    return tuple(Benchmark(**row) for row in _rows("benchmarks"))


def lora_targets(model_type: str) -> Mapping[str, list[str]]:
    """Return the names of a model type's attention and MLP layers; empty if unknown."""
    targets: Mapping[str, list[str]] = _data()["lora_targets"].get(model_type, {})
    return targets


def model(name: str) -> Model | None:
    """Return the model with an id on either hub, ignoring case; None if there is none."""
    index = _by_name().get(name.lower())
    return None if index is None else _model(index)


def dataset(name: str) -> Dataset | None:
    """Return the dataset with an id on either hub, ignoring case; None if there is none."""
    lowered = name.lower()
    for row in datasets():
        if lowered in [(dataset_id or "").lower() for dataset_id in (row.id, row.hf_id)]:
            return row
    return None


def search(
    query: str,
    *,
    modality: str | None = None,
    kind: str | None = None,
    family: str | None = None,
) -> list[Model]:
    """Return the models whose id, family, type or kind contain every word, best match first.

    Without any, the models whose ids contain the letters in order, close together (`qwn3`).
    """
    terms = query.lower().split()
    candidates = [
        row
        for row in models()
        if (not modality or modality in row.modality)
        and (not kind or kind == row.kind)
        and (not family or family.lower() == row.family.lower())
    ]
    for score in (_score, _fuzzy_score):
        scored = [(score(row, terms), row.params_b or inf, row.name, row) for row in candidates]
        ranked = [item for item in scored if item[0] is not None]
        if ranked:
            return [row for *_, row in sorted(ranked, key=lambda item: item[:3])]
    return []


def search_datasets(query: str) -> list[Dataset]:
    """Return the datasets whose ids, tags, languages or format contain every word."""
    terms = query.lower().split()

    def searchable(row: Dataset) -> str:
        parts = (row.id or "", row.hf_id or "", *row.tags, *row.languages, row.format or "")
        return " ".join(parts).lower()

    return [row for row in datasets() if all(term in searchable(row) for term in terms)]


def similar(name: str) -> list[str]:
    """Return the ids that are spelled most like a name, for hints."""
    ids = {row.name.lower(): row.name for row in models()}
    names = {row.name.lower().rsplit("/", 1)[-1]: row.name for row in models()}
    near_ids = [ids[match] for match in near(name.lower(), ids)]
    near_names = [names[match] for match in near(name.lower().rsplit("/", 1)[-1], names)]
    return list(dict.fromkeys([*near_ids, *near_names]))


def _score(row: Model, terms: list[str]) -> int | None:
    """Rank a match: 0 if the words start the name or are the family, more if they are inside."""
    model_name = row.name.lower().rsplit("/", 1)[-1]
    searchable = f"{row.name} {row.hf_id or ''} {row.family} {row.model_type} {row.kind}".lower()
    score = 0
    for term in terms:
        if term not in searchable:
            return None
        score += 0 if model_name.startswith(term) or term == row.family.lower() else 1
        score += 0 if term in model_name else 1
    return score


def _fuzzy_score(row: Model, terms: list[str]) -> int | None:
    """Rank by how far a word's letters are apart, at most twice its length; ids do not match."""
    name, score = row.name.lower(), 0
    for term in terms:
        if term in name:
            continue
        matches = re.finditer("(?=(" + ".*?".join(map(re.escape, term)) + "))", name)
        span = min((len(match[1]) for match in matches), default=0)
        if "/" in term or len(term) < MIN_FUZZY_LETTERS or not 0 < span <= 2 * len(term):
            return None
        score += span
    return score


@cache
def _by_name() -> dict[str, int]:
    """Map names to row numbers; ids take precedence over other hubs' ids, then earlier rows."""
    ids, hf_ids, subfolders = (_column(key) for key in ("id", "hf_id", "subfolder"))
    by_name: dict[str, int] = {}
    for index, hf_id in enumerate(hf_ids):
        if hf_id:
            by_name.setdefault(hf_id.lower(), index)
    for index in range(len(ids) - 1, -1, -1):
        name = ids[index].lower()
        by_name[name] = index
        if subfolders[index]:
            by_name[f"{name}:{subfolders[index].lower()}"] = index
    return by_name


def _column(key: str) -> list[Any]:
    position = _data()["models"]["columns"].index(key)
    return [row[position] for row in _data()["models"]["rows"]]


@cache
def _model(index: int) -> Model:
    """Build one model from its row; building all takes longer than reading the file."""
    part = _data()["models"]
    return Model(**_named(part["columns"], part["rows"][index]))


@cache
def _data() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def _rows(part: str) -> list[dict[str, Any]]:
    columns = _data()[part]["columns"]
    return [_named(columns, row) for row in _data()[part]["rows"]]


def _named(columns: list[str], row: list[Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in zip(columns, row, strict=True)
    }
