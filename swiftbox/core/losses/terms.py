"""What a method's loss takes beside the model and the batch, and what it gives; light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Terms:
    """A loss as the sum of its terms and their number, and sums of what is worth watching.

    Divided by the number of terms of a whole update, gradients do not depend on how rows were
    spread over batches and devices.
    """

    total: Any
    count: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Sums over the terms, such as of right orders; the log shows them per term, or per what
    `name#` counts where only some of the terms have a value."""


@dataclass(frozen=True)
class Context:
    """What a loss needs beside the model and the batch."""

    config: Any
    readout: Any = None
    """core.readout.Readout; None for a model that scores."""
    reference: Any = None
    """core.reference.Reference; None where a method has none."""
