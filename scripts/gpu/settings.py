"""What every part knows: the device, the sizes, the folder, and the time that is left."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any


@cache
def settled_dtype() -> str:
    """Return the number type that a plan for this machine chooses."""
    from swiftbox.devices.choices import choose_dtype
    from swiftbox.devices.probe import probe

    return choose_dtype(probe(Path.cwd()), "auto").value


@dataclass(frozen=True)
class Settings:
    """Settings of a run of `scripts/bench gpu`."""

    folder: Path
    """Scratch folder on a fast disk: models, data, runs."""
    tiny: bool
    """Tiny shapes, few steps: shows on a CPU that every part works."""
    deadline: float
    """Unix seconds at which the part must have ended."""

    def seconds_left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.time()

    def to_json(self) -> str:
        """Return the settings as an argument of a child process."""
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, content: str) -> Settings:
        """Read what `to_json` wrote."""
        values: Mapping[str, Any] = json.loads(content)
        return cls(Path(values["folder"]), bool(values["tiny"]), float(values["deadline"]))

    @property
    def device(self) -> str:
        """Return the device of torch: its accelerator, or cpu with tiny shapes or without one."""
        import torch

        accelerator = torch.accelerator.current_accelerator()
        if self.tiny or accelerator is None or not torch.accelerator.is_available():
            return "cpu"
        return str(accelerator.type)

    @property
    def dtype(self) -> str:
        """Return the number type of the models: what `dtype: auto` settles to on this device."""
        return "float32" if self.device == "cpu" else settled_dtype()
