"""Configs of other tools written on the spot, and the outcomes of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swiftbox.converters.conversion import translate
from swiftbox.converters.foreign_file import read
from swiftbox.converters.recognition import recognise
from swiftbox.converters.rows import KeyOutcome

CONFIGS = Path(__file__).with_name("configs")
GOLDEN = Path(__file__).with_name("golden")

BASE = {
    "llamafactory": "model_name_or_path: Qwen/Qwen3-4B\ncutoff_len: 512\n",
    "axolotl": "base_model: m\nsequence_len: 512\n",
    "ms-swift": "model: m\ntorch_dtype: bfloat16\nattn_impl: sdpa\n",
    "megatron-swift": "model: m\nno_save_rng: true\nrecompute_method: uniform\n",
    "llamafactory-v1": "model: Qwen/Qwen3-4B\nmodel_class: llm\nsample_backend: hf\n",
}


def outcomes(folder: Path, content: str, tool: str | None = None) -> dict[str, list[KeyOutcome]]:
    """Return the outcomes of each key of a YAML, or of a script if it starts like one."""
    path = folder / ("a.sh" if content.startswith("#!") else "a.yaml")
    path.write_text(content, encoding="utf-8")
    document = read(path)
    by_key: dict[str, list[KeyOutcome]] = {}
    for line in translate(document, recognise(document, tool).tool):
        by_key.setdefault(line.setting.key, []).append(line.outcome)
    return by_key


def ours(folder: Path, content: str, tool: str | None = None) -> dict[str, Any]:
    """Return the settings of ours that a config gives, whether or not the stage is there yet."""
    return {
        key: value
        for several in outcomes(folder, content, tool).values()
        for outcome in several
        if outcome.kind == "adopted"
        for key, value in outcome.ours.items()
    }
