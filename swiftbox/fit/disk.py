"""What a training writes to the disk: the download, checkpoints (limit plus one), the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.fit.memory import BYTES_PER_WEIGHT, OPTIMIZER_BYTES
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.remote_rows import RemoteRows
from swiftbox.fit.teacher import teacher_download
from swiftbox.fit.training import OPTIMIZERS, trained_parameters

BEST_AND_NEWEST = 2


@dataclass(frozen=True)
class DiskNeed:
    """Disk space of a training, in bytes."""

    download: float
    checkpoints: float
    result: float
    data: float = 0.0
    """Datasets to download, estimated from their numbers of rows."""
    uncounted: tuple[str, ...] = ()
    """Datasets to download whose size is unknown."""

    @property
    def total(self) -> float:
        """Return the bytes that must be free before the start."""
        return self.download + self.data + self.checkpoints + self.result

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        sizes = ("download", "data", "checkpoints", "result")
        rounded = {key: round(getattr(self, key)) for key in sizes}
        return {**rounded, "uncounted": list(self.uncounted)}


def disk_need(config: TrainConfig, profile: ModelProfile, data: RemoteRows) -> DiskNeed:
    """Return the disk space that a settled config needs; `data` are the datasets to download."""
    trained = trained_parameters(config, profile.shape)
    state = OPTIMIZER_BYTES[OPTIMIZERS.get(config.optim, "adamw")]
    saved = profile.shape.params if config.tuner_type in FULL_TUNERS else trained
    checkpoint = 4 * saved + state * trained
    # A new checkpoint is complete before the oldest one is deleted.
    count = config.save_total_limit + 1 if config.save_steps else 1
    if config.keeps_best:  # which stays besides the newest
        count = max(count, BEST_AND_NEWEST + 1)
    bytes_each = (
        BYTES_PER_WEIGHT.get(config.dtype, 2.0) if config.tuner_type in FULL_TUNERS else 4.0
    )
    download = 0.0 if profile.local else profile.shape.params * (0.6 if profile.quantized else 2.0)
    download += teacher_download(config)
    return DiskNeed(download, count * checkpoint, saved * bytes_each, data.bytes, data.unknown)
