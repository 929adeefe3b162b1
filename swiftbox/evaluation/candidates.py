"""Whose answers are compared: the model, adapters on it, others; and which share a server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import as_list
from swiftbox.config.references import is_reference
from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.adapters import ADAPTER_CONFIG, base_of, read_adapter
from swiftbox.models.location import find_folder, locate, locate_adapter, short_name


@dataclass(frozen=True)
class Candidate:
    """One whose answers are scored; the first of a run is what the others are compared with."""

    name: str
    kind: str
    """base, adapter, model or endpoint."""
    model: str
    """Folder or id of the weights; of an adapter, its base's. Of an endpoint, its own name."""
    adapter: str | None = None
    revision: str | None = None

    @property
    def slug(self) -> str:
        """Return its name in the names of files."""
        return slug(self.name)

    @property
    def served(self) -> str:
        """Return its name in requests."""
        return self.name if self.kind == "endpoint" else self.slug


@dataclass(frozen=True)
class Served:
    """Weights with the candidates that share them: one server."""

    model: str
    revision: str | None
    candidates: tuple[Candidate, ...]
    fetched: Mapping[str, str] = field(default_factory=dict)
    """The folders of adapters that were ids, by the names they are served under."""

    @property
    def base_name(self) -> str:
        """Return the name under which the weights themselves are served."""
        own = (one.served for one in self.candidates if one.adapter is None)
        return next(own, f"{slug(short_name(self.model))}.base")

    @property
    def adapters(self) -> dict[str, str]:
        """Return the adapters by the names they are served under."""
        said = {one.served: one.adapter for one in self.candidates if one.adapter}
        return {**said, **self.fetched}


def slug(name: str) -> str:
    """Return a name that may be the name of a file."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def with_absolute_paths(config: EvaluateConfig) -> EvaluateConfig:
    """Name the folders of everything that is here, and the base of an adapter given alone."""
    changes: dict[str, Any] = {}
    if config.endpoint is not None:
        return config
    if config.adapter is not None:
        names = [
            str(locate(name, key="adapter", hub=config.hub) or name)
            for name in as_list(config.adapter)
        ]
        changes["adapter"] = names if isinstance(config.adapter, list) else names[0]
    if config.model is None and not any(map(is_reference, as_list(config.adapter or []))):
        changes |= _base(config)
    elif config.model is not None:
        changes["model"] = str(locate(config.model, key="model", hub=config.hub) or config.model)
    if config.compare:
        changes["compare"] = {
            name: str(locate(path, key="compare", hub=config.hub) or path)
            for name, path in _compared(config).items()
        }
    if config.benchmark_dir and Path(config.benchmark_dir).expanduser().is_dir():
        changes["benchmark_dir"] = str(Path(config.benchmark_dir).expanduser().resolve())
    return config.model_copy(update=changes)


def _base(config: EvaluateConfig) -> Mapping[str, Any]:
    names = as_list(config.adapter or [])
    adapter = locate_adapter(names[0], hub=config.hub) if names else None
    if adapter is None:
        raise ConfigError(
            text("model: is required", "model：必填"),
            hint=text(
                "give model=FOLDER, an id, or adapter=runs/NAME",
                "请给出 model=目录或 id，或 adapter=runs/名称",
            ),
        )
    base = base_of(adapter)
    # The benchmarks come from this hub too: a base that is a folder says nothing of it.
    hub = base.hub if base.hub not in (None, "local") else config.hub
    found = {"model": base.name, "hub": hub}
    return {**found, "revision": config.revision or base.revision}


def _compared(config: EvaluateConfig) -> dict[str, str]:
    """Return what else is compared by name; raise ConfigError for two of one name."""
    said = config.compare or []
    if isinstance(said, dict):
        return dict(said)
    found: dict[str, str] = {}
    for one in said:
        if short_name(one) in found:
            raise _two(short_name(one))
        found[short_name(one)] = one
    return found


def _two(name: str) -> ConfigError:
    return ConfigError(
        text(f"compare: two are named {name}", f"compare：有两个名为 {name}"),
        hint=text("name them: compare: {a: ..., b: ...}", "请命名：compare: {a: ..., b: ...}"),
    )


def candidates(config: EvaluateConfig) -> tuple[Candidate, ...]:
    """Return whose answers are scored, its paths absolute; the first is the baseline.

    Raises ConfigError for two of one name, and for an adapter that is not one.
    """
    found = list(_weights(config) if config.endpoint is None else _named(config))
    seen: set[str] = set()
    for one in found:
        if slug(one.name).lower() in seen:
            raise _two(one.name)
        seen.add(slug(one.name).lower())
    return tuple(found)


def _named(config: EvaluateConfig) -> Iterator[Candidate]:
    for one in config.endpoint_models or []:
        yield Candidate(one, "endpoint", one)


def _weights(config: EvaluateConfig) -> Iterator[Candidate]:
    model = str(config.model)
    base = Candidate(short_name(model), "base", model, revision=config.revision)
    yield base
    for one in as_list(config.adapter or []):
        yield replace(base, name=short_name(one), kind="adapter", adapter=one)
    for name, path in (_compared(config) if config.compare else {}).items():
        folder = find_folder(path)
        if folder is None or not (folder / ADAPTER_CONFIG).is_file():
            yield Candidate(name, "model", path)
            continue
        on = base_of(read_adapter(folder))
        same = _same(on.name, model)
        weights = base if same else Candidate(name, "model", on.name, revision=on.revision)
        yield replace(weights, name=name, kind="adapter", adapter=path)


def _same(one: str, other: str) -> bool:
    return one == other or str(find_folder(one)) == str(find_folder(other) or "")


def servers(found: tuple[Candidate, ...]) -> tuple[Served, ...]:
    """Return the servers that are wanted, one for each set of weights, in order."""
    shared: dict[tuple[str, str | None], list[Candidate]] = {}
    for one in found:
        shared.setdefault((one.model, one.revision), []).append(one)
    return tuple(Served(*key, tuple(ones)) for key, ones in shared.items())


def quantized(candidate: Candidate) -> str:
    """Return how the weights of a candidate are quantized, as their config.json says; or empty."""
    folder = find_folder(candidate.model)
    said = read_json(folder / "config.json") if folder else {}
    how = said.get("quantization_config") or {}
    name = str(how.get("quant_method") or "")
    bits = how.get("bits") or (
        4 if how.get("load_in_4bit") else 8 if how.get("load_in_8bit") else ""
    )
    return f"{name} {bits}-bit" if name and bits else name
