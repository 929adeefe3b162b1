"""Models whose weights were all changed, as a training of all weights leaves them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from transformers import AutoModelForCausalLM

from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.models.requirements import Remark
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def tune(source: Path, folder: Path, *, seed: int = 7, scale: float = 0.02, **keys: Any) -> Path:
    """Save a copy of a model with a random change of every weight, and its tokenizer.

    `only`: a part of the names of the weights that change; `rows`: those of the embeddings;
    `dtype`: the number type that is stored.
    """
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    torch.manual_seed(seed)
    if "rows" in keys:
        model.resize_token_embeddings(keys["rows"], mean_resizing=False)
    for name, parameter in model.named_parameters():
        if keys.get("only", "") in name:
            parameter.data += scale * torch.randn_like(parameter)
    model.to(keys.get("dtype", torch.float32)).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, folder)
    return folder


@contextmanager
def killed_at(module: Any, function: str) -> Iterator[None]:
    """Let a function of a module end the process: nothing that is open is tidied up."""

    def kill(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, kill)
        patch.setattr(shutil, "rmtree", lambda *_arguments, **_keys: None)
        with pytest.raises(KeyboardInterrupt):
            yield


class TaskRun:
    """A run of a task in this process: planned, checked as a launch does, then run."""

    def __init__(self, task: str, out: Path | None = None, **keys: Any) -> None:
        source = json.dumps({"task": task, "hub": "local", **keys}, default=str)
        planned = plan(loads(source, source="a.yaml").config, made_up("cpu")).config
        self.config = with_absolute_paths(planned)
        self.remarks: list[Remark] = []
        assert check_config(self.config, self.remarks.append) is None
        self.events: list[tuple[str, dict[str, Any]]] = []
        if out is None:
            return
        out.mkdir()
        folder = TASKS[task].run(self.config, out, self._emit)  # type: ignore[arg-type]
        assert folder == out / "model"
        self.folder = folder
        self.figures = json.loads((out / f"{task}.json").read_text("utf-8"))

    def _emit(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def messages(self, event: str = "note") -> str:
        return "\n".join(fields["message"] for name, fields in self.events if name == event)
