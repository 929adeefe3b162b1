"""Configs of other tools written on the spot, and what becomes of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swiftbox.converters.reading import read
from swiftbox.converters.recognising import recognise
from swiftbox.converters.row import Finding
from swiftbox.converters.translating import translate

CONFIGS = Path(__file__).with_name("configs")
GOLDEN = Path(__file__).with_name("golden")

BASE = {
    "llamafactory": "model_name_or_path: m\ncutoff_len: 512\n",
    "axolotl": "base_model: m\nsequence_len: 512\n",
    "ms-swift": "model: m\ntorch_dtype: bfloat16\nattn_impl: sdpa\n",
}


def findings(folder: Path, content: str, tool: str | None = None) -> dict[str, list[Finding]]:
    """Return what becomes of each key of a YAML, or of a script where it starts like one."""
    path = folder / ("a.sh" if content.startswith("#!") else "a.yaml")
    path.write_text(content, encoding="utf-8")
    document = read(path)
    found: dict[str, list[Finding]] = {}
    for line in translate(document, recognise(document, tool).tool):
        found.setdefault(line.written.key, []).append(line.finding)
    return found


def ours(folder: Path, content: str, tool: str | None = None) -> dict[str, Any]:
    """Return the settings of ours that a config gives, whether or not the stage is there yet."""
    return {
        key: value
        for several in findings(folder, content, tool).values()
        for one in several
        if one.kind == "taken"
        for key, value in one.ours.items()
    }
