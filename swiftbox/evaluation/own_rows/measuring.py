"""Have a child choose the rows and measure losses: torch and the weights stay in that process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.source import RowSource
from swiftbox.errors import RunError
from swiftbox.evaluation.candidates import Candidate, ServedWeights
from swiftbox.evaluation.own_rows.measurable import loss_fault
from swiftbox.evaluation.own_rows.row_files import RowFiles
from swiftbox.quantization.processes import ToolCommand, run_command
from swiftbox.runs.events import Emit

CHILD = ToolCommand("measure", Path(sys.executable), ("-m", "swiftbox.evaluation.own_rows.measure"))


@dataclass(frozen=True)
class LocalRows:
    """Rows on this machine, and how a training reads, splits and cuts them."""

    training: TrainConfig
    measured: TrainConfig
    """The training that computes the loss: sft, or pt for texts."""
    model: Path
    """The model whose tokenizer decides which rows fit: that of the training."""
    sources: Sequence[RowSource]
    validation: Sequence[RowSource] = ()
    held_out: bool = False
    """Whether the rows that the training holds out are measured; else all of `sources`."""
    measures_loss: bool = True


def measure(
    rows: LocalRows, served: ServedWeights, files: RowFiles, emit: Emit, stop: threading.Event
) -> None:
    """Choose rows and write the prompts and losses for a set of weights.

    Raises RunError with the child's reason, ToolStopped if `stop` was set meanwhile.
    """
    work = files.folder / "work" / files.prompts(served.model).stem
    open_losses = (item for item in served.candidates if not files.losses(item).is_file())
    measured = [item for item in open_losses if rows.measures_loss and not loss_fault(item)]
    request = {
        "training": rows.training.model_dump(mode="json"),
        "measured": rows.measured.model_dump(mode="json"),
        "sources": [vars(source) for source in rows.sources],
        "validation": [vars(source) for source in rows.validation],
        "held_out": rows.held_out,
        "deciding_model": str(rows.model),
        "model": served.model,
        "rows": str(files.rows),
        "prompts": str(files.prompts(served.model)),
        "work": str(work),
        "candidates": [_candidate(item, served, files) for item in measured],
    }
    for path in (files.rows, files.prompts(served.model), *map(files.losses, measured)):
        path.parent.mkdir(parents=True, exist_ok=True)
    result = run_command(CHILD, request, work, emit, stop)
    if "error" in result:
        raise RunError(str(result["error"]), hint=str(result["hint"]))


def _candidate(item: Candidate, served: ServedWeights, files: RowFiles) -> dict[str, Any]:
    return {
        "name": item.name,
        "adapter": served.adapters.get(item.served),
        "losses": str(files.losses(item)),
    }
