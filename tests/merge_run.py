"""Merges run in this process, and what their results are compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from adapters import logits
from made_up import made_up
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks.load import loads
from swiftbox.tasks.merge import RECORD, run


class MergeRun:
    """A merge that was run: its folder, its events, its figures."""

    def __init__(self, out: Path, **keys: Any) -> None:
        source = json.dumps({"task": "merge", "hub": "local", **keys}, default=str)
        planned = plan(loads(source, source="a.yaml").config, made_up("cpu")).config
        config = with_absolute_paths(planned)
        check_config(config)
        out.mkdir()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.folder = run(config, out, self._emit)  # type: ignore[arg-type]
        assert self.folder == out / "model"
        self.figures = json.loads((out / RECORD).read_text("utf-8"))

    def _emit(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def model(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)

    def note(self, key: str) -> str:
        return " ".join(
            fields["message"]
            for name, fields in self.events
            if name == "note" and fields["key"] == key
        )

    def dtypes(self) -> dict[str, str]:
        """Return the number type of each written tensor."""
        types = {}
        for path in self.folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                types |= {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
        return types


def adapter_logits(model_folder: Path, adapter: Path, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits of the model with the adapter, loaded by peft."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(model, adapter), ids)


def close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether logits are equal to 1e-5 of the largest.

    Float32 rounds each product by 6e-8; the two layers of the tiny models add up tens of these.
    """
    difference = (actual - expected).abs().max()
    return bool(difference <= 1e-5 * max(1.0, float(expected.abs().max())))
