"""One quantization: what it works on, where it is recorded, and its steps that survive a stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.data.source import RowSource
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.merge_checks import FLOATS
from swiftbox.quantization.resolve import ENGINES
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit

PIECES = "pieces.json"
"""In the folder of unfinished parts: the tokens to calibrate with, and to measure on."""


@dataclass(frozen=True)
class QuantizationJob:
    """What to quantize, for which machine, and where the run is recorded."""

    config: QuantizeConfig
    source: Path
    """Folder of the complete unquantized model: fetched, or merged."""
    calibration_sources: tuple[RowSource, ...]
    """The user's calibration data; empty for the built-in data."""
    folder: Path
    machine: Machine
    emit: Emit

    @property
    def engine(self) -> str:
        """Return the engine of the method; empty for swiftbox's environment."""
        return ENGINES.get(self.config.method, "")

    @property
    def device(self) -> str:
        """Return torch's name of the device."""
        return BACKENDS[self.machine.backend].torch_device

    @property
    def work_folder(self) -> Path:
        """Return the folder of the steps' results."""
        return self.folder / run_folder.WORK

    @property
    def dtype(self) -> str:
        """Return the number type of the weights that stay unquantized."""
        if self.config.dtype != "stored":
            return self.config.dtype
        return FLOATS[weights.read_weights(self.source).main_dtype or "F32"]

    @property
    def saved_dtype(self) -> str:
        """Return the number type that the method saves: gptqmodel packs float16 scales only."""
        return "float16" if self.engine == "gptq" and self.dtype == "float32" else self.dtype

    @property
    def pieces_file(self) -> Path:
        """Return the file of the tokens to calibrate with and to measure on."""
        return self.work_folder / PIECES

    def tokenizer(self) -> Any:
        """Return the tokenizer of the model."""
        from swiftbox.core.weights.load import read_tokenizer

        return read_tokenizer(self.source, trust_remote_code=self.config.trust_remote_code)


def complete_step(job: QuantizationJob, name: str, make: Callable[[Path], None]) -> Path:
    """Run a step that fills a folder, unless it was completed before a stop."""
    folder = job.work_folder / name
    if folder.is_dir():
        message = text(
            f"{name}: reusing the result from before the stop", f"{name}：沿用中断前的结果"
        )
        job.emit(events.NOTE, key=name, message=message)
        return folder
    unfinished = job.work_folder / f".{name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    make(unfinished)
    unfinished.rename(folder)
    return folder
