"""The dataset names of LLaMA-Factory: what dataset_info.json says of each, where it is found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.converters.rows import ForeignConfig, KeyOutcome, refused, split_names, unsupported
from swiftbox.converters.shared_values import MULTIMODAL, MULTIMODAL_HINT
from swiftbox.data.registry import COLUMNS, INFO, MAX_INFO_BYTES
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.security.regular import read_regular

PREFERENCES = {"chosen": "chosen", "rejected": "rejected", "kto_tag": "label"}
MEDIA = ("images", "videos", "audios")


@dataclass(frozen=True)
class Registry:
    """A dataset_info.json: its folder and its entries."""

    folder: Path
    entries: Mapping[str, Any]


def dataset(value: Any, foreign: ForeignConfig, *, key: str = "dataset") -> list[KeyOutcome]:
    """Translate names of datasets to paths and ids; a name that is not found stays as it is.

    `key` is the setting of ours that names them.
    """
    registry = None if online(foreign) else find_registry(foreign)
    sources: list[Any] = []
    others: list[KeyOutcome] = []
    for name in split_names(value):
        if online(foreign):
            source: dict[str, Any] = {"path": name}
        elif registry is None or name not in registry.entries:
            source = {"path": name}
            if not Path(name).expanduser().exists():
                others.append(_unresolved(name, registry, foreign))
        else:
            entry = registry.entries[name]
            if any(column in (entry.get("columns") or {}) for column in MEDIA):
                reason = text(f"{name}: ", f"{name}：") + text(*MULTIMODAL)
                return refused(reason, text(*MULTIMODAL_HINT), key)
            source, further = source_of(entry, registry.folder, name)
            others += further
        sources.append(_limited(source, foreign.values.get("max_samples")))
    single = len(sources) == 1 and isinstance(sources[0], str)
    return [KeyOutcome("adopted", {key: sources[0] if single else sources}), *others]


def online(foreign: ForeignConfig) -> bool:
    """Tell whether names are ids on the hub."""
    return foreign.values.get("dataset_dir") == "ONLINE"


def find_registry(foreign: ForeignConfig) -> Registry | None:
    """Look for dataset_info.json in dataset_dir, from here and from the config's folder upward."""
    folder_name = str(foreign.values.get("dataset_dir") or "data")
    for folder in _candidates(folder_name, foreign.folder):
        file = folder / INFO
        if file.is_file():
            return Registry(folder, _entries(file))
    return None


def _candidates(folder_name: str, folder: Path) -> Iterator[Path]:
    yield Path(folder_name).expanduser()
    for parent in (folder, *folder.parents):
        yield parent / folder_name
    yield folder


def _entries(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(read_regular(file, MAX_INFO_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            text(f"{file}: cannot be read ({error})", f"{file}：无法读取（{error}）"),
            hint=text(
                "fix the file, or give the dataset as a path: dataset=rows.jsonl",
                "请修正该文件，或以路径给出数据集：dataset=rows.jsonl",
            ),
        ) from None
    entries = content if isinstance(content, dict) else {}
    return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}


def source_of(
    entry: Mapping[str, Any], folder: Path, name: str
) -> tuple[dict[str, Any], list[KeyOutcome]]:
    """Return what an entry says in the words of our `dataset:`, and what it says in vain."""
    if file := entry.get("file_name"):
        path = str(folder / str(file))
        if "/" not in str(file):  # the reader of rows honours the registry beside a file
            return {"path": path}, []
    else:
        path = str(entry.get("hf_hub_url") or entry.get("ms_hub_url") or name)
    source: dict[str, Any] = {"path": path}
    for theirs in ("subset", "split", "num_samples"):
        if entry.get(theirs):
            source[theirs] = entry[theirs]
    if source.get("split") == "train":
        del source["split"]
    known = {**PREFERENCES, **COLUMNS}
    columns = {
        str(column): known[key]
        for key, column in (entry.get("columns") or {}).items()
        if key in known and column != known[key]
    }
    if columns:
        source["columns"] = columns
    return source, [
        unsupported(text(f"{name}: {key} is not read", f"{name}：不读取 {key}"), f"[{name}].{key}")
        for key in ("script_url", "cloud_file_name", "folder", "tags")
        if entry.get(key)
    ]


def _unresolved(name: str, registry: Registry | None, foreign: ForeignConfig) -> KeyOutcome:
    if registry is None:
        folder_name = foreign.values.get("dataset_dir") or "data"
        return unsupported(
            text(
                f"kept as a name: no {folder_name}/{INFO} describes it; set dataset=PATH",
                f"保留名称：此处没有 {folder_name}/{INFO} 说明它；请给出 dataset=路径",
            ),
            f"[{name}]",
        )
    return unsupported(
        text(
            f"kept as a name: {registry.folder / INFO} has no such entry; set dataset=PATH",
            f"保留名称：{registry.folder / INFO} 中没有该项；请给出 dataset=路径",
        ),
        f"[{name}]",
    )


def _limited(source: dict[str, Any], limit: Any) -> Any:
    """Keep the first rows; a source of a path and a number alone is written as `path#n`."""
    if isinstance(limit, int) and limit > 0:
        if source.get("num_samples"):
            source["num_samples"] = min(limit, source["num_samples"])
        else:
            source["split"] = f"{source.get('split', '')}[:{limit}]"
    if set(source) <= {"path", "num_samples"}:
        count = source.get("num_samples")
        return f"{source['path']}#{count}" if count else source["path"]
    return source
