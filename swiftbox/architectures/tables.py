"""The tables of the installed transformers: its model types, and the classes that load them.

They are parsed from its source, since importing transformers takes seconds.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = re.compile(r"^(MODEL_\w+_MAPPING_NAMES) = OrderedDict\(\n(.*?)^\)$", re.S | re.M)
ENTRY = re.compile(r'\(\s*"([\w.-]+)",\s*"(\w+)"')
CLASS = re.compile(r'"([A-Z]\w+)"')
CONFIG = re.compile(r'"([\w.-]+)"(?:,|:)\s+"\w+Config"')
FOLDER = re.compile(r'^        \("([\w.-]+)", "(\w+)"\),$', re.M)
ENCODER_DECODER = re.compile(r"^    is_encoder_decoder: bool(?: \| None)? = True", re.M)

Classes = Mapping[str, str]
"""The name of the class by model type."""


@dataclass(frozen=True)
class ClassTables:
    """Classes by what they compute; `names` are all classes that some table has."""

    causal: Classes = field(default_factory=dict)
    multimodal: Classes = field(default_factory=dict)
    masked: Classes = field(default_factory=dict)
    score: Classes = field(default_factory=dict)
    names: frozenset[str] = frozenset()


SOURCES: Mapping[str, str] = {
    "causal": "CAUSAL_LM",
    "multimodal": "MULTIMODAL_LM",
    "masked": "MASKED_LM",
    "score": "SEQUENCE_CLASSIFICATION",
}
"""The middle of each table's name in modeling_auto.py of 5.23."""

IMAGES = "IMAGE_TEXT_TO_TEXT"
"""The table that the multimodal one includes."""


@functools.cache
def library_folder() -> Path | None:
    """Return the folder of the installed transformers; None without it."""
    spec = importlib.util.find_spec("transformers")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


@functools.cache
def known_types() -> frozenset[str] | None:
    """Return the model types of the installed transformers; None without it."""
    types: set[str] = set()
    for name in ("auto_mappings.py", "configuration_auto.py"):
        types.update(CONFIG.findall(_source(f"models/auto/{name}")))
    return frozenset(types) or None


@functools.cache
def class_tables() -> ClassTables | None:
    """Return the classes of the installed transformers; None without it."""
    source = _source("models/auto/modeling_auto.py")
    found_tables = {
        name.removeprefix("MODEL_FOR_").removesuffix("_MAPPING_NAMES"): dict(ENTRY.findall(body))
        for name, body in TABLE.findall(source)
    }
    if not found_tables:
        return None
    tables = {key: found_tables.get(middle, {}) for key, middle in SOURCES.items()}
    tables["multimodal"] = {**found_tables.get(IMAGES, {}), **tables["multimodal"]}
    return ClassTables(**tables, names=frozenset(CLASS.findall(source)))


@functools.cache
def is_encoder_decoder_type(model_type: str) -> bool:
    """Tell whether models of a type have an encoder that reads the prompt."""
    return bool(ENCODER_DECODER.search(source_of(model_type, "configuration")))


def source_of(model_type: str, kind: str) -> str:
    """Return the source of a type's `modeling` or `configuration`; empty if there is none."""
    name = _folders().get(model_type, model_type.replace("-", "_"))
    return _source(f"models/{name}/{kind}_{name}.py") if name.isidentifier() else ""


def family_source(config: Mapping[str, Any]) -> str:
    """Return the source of the classes of a model and of its parts."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    types = {str(part.get("model_type") or "") for part in parts}
    return "\n".join(source_of(model_type, "modeling") for model_type in sorted(types - {""}))


@functools.cache
def _folders() -> Mapping[str, str]:
    """Return the folder of each type that shares it with another type."""
    _, mark, folders = _source("models/auto/auto_mappings.py").partition(
        "\nSPECIAL_MODEL_TYPE_TO_MODULE_NAME = "
    )
    return dict(FOLDER.findall(folders.partition("\n)")[0])) if mark else {}


def _source(path: str) -> str:
    folder = library_folder()
    try:
        return (folder / path).read_text(encoding="utf-8") if folder is not None else ""
    except OSError:
        return ""
