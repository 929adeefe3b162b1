"""What a training writes: the download, checkpoints up to their limit and one more, the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.fit.memory import BYTES_PER_WEIGHT, OPTIMIZER_BYTES
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.remote_rows import RemoteRows
from swiftbox.fit.training import OPTIMIZERS, trained_parameters


@dataclass(frozen=True)
class DiskNeed:
    """Bytes."""

    download: float
    checkpoints: float
    result: float
    data: float = 0.0
    """Datasets to be fetched, guessed from their rows."""
    uncounted: tuple[str, ...] = ()
    """Datasets to be fetched whose size nobody knows here."""

    @property
    def total(self) -> float:
        """Return the bytes that have to be free before the start."""
        return self.download + self.data + self.checkpoints + self.result

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        sizes = ("download", "data", "checkpoints", "result")
        found = {key: round(getattr(self, key)) for key in sizes}
        return {**found, "uncounted": list(self.uncounted)}


def disk_need(config: TrainConfig, found: ModelProfile, data: RemoteRows) -> DiskNeed:
    """Return what a settled config writes; `data` is what of its rows has to be fetched."""
    trained = trained_parameters(config, found.shape)
    state = OPTIMIZER_BYTES[OPTIMIZERS.get(config.optim, "adamw")]
    kept = found.shape.params if config.tuner_type in FULL_TUNERS else trained
    checkpoint = 4 * kept + state * trained
    count = config.save_total_limit + 1 if config.save_steps else 1  # the new one is whole first
    each = BYTES_PER_WEIGHT.get(config.dtype, 2.0) if config.tuner_type in FULL_TUNERS else 4.0
    download = 0.0 if found.local else found.shape.params * (0.6 if found.quantized else 2.0)
    return DiskNeed(download, count * checkpoint, kept * each, data.bytes, data.unknown)
