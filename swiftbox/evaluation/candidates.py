"""The candidates of an evaluation: model, adapters, others; and which share a server."""

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
from swiftbox.models.gguf_files import is_gguf_folder
from swiftbox.models.location import find_folder, locate, locate_adapter, require_all, short_name
from swiftbox.security.paths import file_name


@dataclass(frozen=True)
class Candidate:
    """A model whose answers are scored; the first of a run is the baseline of the others."""

    name: str
    kind: str
    """base, adapter, model or endpoint."""
    model: str
    """Folder or id of the weights; of an adapter, its base model; at an endpoint, its name."""
    adapter: str | None = None
    revision: str | None = None

    @property
    def slug(self) -> str:
        """Return its name in file names."""
        return slug(self.name)

    @property
    def served(self) -> str:
        """Return its name in requests."""
        return self.name if self.kind == "endpoint" else self.slug


@dataclass(frozen=True)
class ServedWeights:
    """The weights of one server, with the candidates that share them."""

    model: str
    revision: str | None
    candidates: tuple[Candidate, ...]
    fetched: Mapping[str, str] = field(default_factory=dict)
    """Folders of adapters that were given by id, by served name."""

    @property
    def base_name(self) -> str:
        """Return the name under which the weights themselves are served."""
        names = (item.served for item in self.candidates if item.adapter is None)
        return next(names, f"{slug(short_name(self.model))}.base")

    @property
    def adapters(self) -> dict[str, str]:
        """Return the adapters by served name."""
        adapters = {item.served: item.adapter for item in self.candidates if item.adapter}
        return {**adapters, **self.fetched}


def slug(name: str) -> str:
    """Return a name that is valid as a file name and in requests."""
    return file_name(re.sub(r"[^\w.-]+", "-", name), fallback="model")


def with_absolute_paths(config: EvaluateConfig) -> EvaluateConfig:
    """Replace local names by folders, and fill in the base model of an adapter without one."""
    changes: dict[str, Any] = {}
    if config.endpoint is not None:
        return config
    compared = _compared(config)
    named = [("adapter", name) for name in as_list(config.adapter or [])]
    named += [("compare", path) for path in compared.values()]
    require_all([("model", config.model), *named], hub=config.hub)
    if config.adapter is not None:
        names = [
            str(locate(name, key="adapter", hub=config.hub) or name)
            for name in as_list(config.adapter)
        ]
        changes["adapter"] = names if isinstance(config.adapter, list) else names[0]
    if config.model is None and not any(map(is_reference, as_list(config.adapter or []))):
        changes |= _base_of_adapter(config)
    elif config.model is not None:
        changes["model"] = str(locate(config.model, key="model", hub=config.hub) or config.model)
    if config.compare:
        changes["compare"] = {
            name: str(locate(path, key="compare", hub=config.hub) or path)
            for name, path in compared.items()
        }
    if config.benchmark_dir and Path(config.benchmark_dir).expanduser().is_dir():
        changes["benchmark_dir"] = str(Path(config.benchmark_dir).expanduser().resolve())
    return config.model_copy(update=changes)


def _base_of_adapter(config: EvaluateConfig) -> Mapping[str, Any]:
    names = as_list(config.adapter or [])
    adapter = locate_adapter(names[0], hub=config.hub) if names else None
    if adapter is None:
        raise ConfigError(
            text("model: is required", "model：必填"),
            hint=text(
                "set model=FOLDER, an id, or adapter=runs/NAME",
                "请给出 model=目录或 id，或 adapter=runs/名称",
            ),
        )
    base_model = base_of(adapter)
    # Benchmarks come from this hub too: a base model that is a folder does not decide it.
    hub = base_model.hub if base_model.hub not in (None, "local") else config.hub
    revision = config.revision or base_model.revision
    return {"model": base_model.name, "hub": hub, "revision": revision}


def _compared(config: EvaluateConfig) -> dict[str, str]:
    """Return the models of `compare` by name; raise ConfigError for a name used twice."""
    models = config.compare or []
    if isinstance(models, dict):
        return dict(models)
    by_name: dict[str, str] = {}
    for model in models:
        if short_name(model) in by_name:
            raise _duplicate(short_name(model))
        by_name[short_name(model)] = model
    return by_name


def _duplicate(name: str) -> ConfigError:
    return ConfigError(
        text(f"compare: two models are named {name}", f"compare：有两个名为 {name}"),
        hint=text("name them: compare: {a: ..., b: ...}", "请命名：compare: {a: ..., b: ...}"),
    )


def candidates(config: EvaluateConfig) -> tuple[Candidate, ...]:
    """Return the candidates, with absolute paths; the first is the baseline.

    Raises ConfigError for a name used twice, and for an invalid adapter.
    """
    scored = list(_weights(config) if config.endpoint is None else _named(config))
    seen: set[str] = set()
    for candidate in scored:
        if candidate.slug.lower() in seen:
            raise _duplicate(candidate.name)
        seen.add(candidate.slug.lower())
    return tuple(scored)


def _named(config: EvaluateConfig) -> Iterator[Candidate]:
    for name in config.endpoint_models or []:
        yield Candidate(name, "endpoint", name)


def _weights(config: EvaluateConfig) -> Iterator[Candidate]:
    model = str(config.model)
    baseline = Candidate(short_name(model), "base", model, revision=config.revision)
    yield baseline
    for adapter in as_list(config.adapter or []):
        yield replace(baseline, name=short_name(adapter), kind="adapter", adapter=adapter)
    for name, path in (_compared(config) if config.compare else {}).items():
        folder = find_folder(path)
        if folder is None or not (folder / ADAPTER_CONFIG).is_file():
            yield Candidate(name, "model", path)
            continue
        base_model = base_of(read_adapter(folder))
        weights = baseline
        if not _is_same(base_model.name, model):
            weights = Candidate(name, "model", base_model.name, revision=base_model.revision)
        yield replace(weights, name=name, kind="adapter", adapter=path)


def _is_same(name: str, other: str) -> bool:
    return name == other or str(find_folder(name)) == str(find_folder(other) or "")


def servers(scored: tuple[Candidate, ...]) -> tuple[ServedWeights, ...]:
    """Return the servers that are needed, one per set of weights, in order."""
    shared: dict[tuple[str, str | None], list[Candidate]] = {}
    for candidate in scored:
        shared.setdefault((candidate.model, candidate.revision), []).append(candidate)
    return tuple(ServedWeights(*key, tuple(group)) for key, group in shared.items())


def quantized(candidate: Candidate) -> str:
    """Return how the weights are quantized according to their files; empty if they are not."""
    folder = find_folder(candidate.model)
    if folder is not None and is_gguf_folder(folder):
        return "gguf"
    config = read_json(folder / "config.json") if folder else {}
    settings = config.get("quantization_config") or {}
    name = str(settings.get("quant_method") or "")
    bits = settings.get("bits") or (
        4 if settings.get("load_in_4bit") else 8 if settings.get("load_in_8bit") else ""
    )
    return f"{name} {bits}-bit" if name and bits else name
