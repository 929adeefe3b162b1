"""Sums of metrics that stay on the device until they are logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch


class MetricSums:
    """Adds up the metrics of batches; see core.losses.terms.LossTerms for their meaning."""

    def __init__(self, sums: Mapping[str, Any] | None = None) -> None:
        self._sums: dict[str, Any] = dict(sums or {})

    def copy(self) -> MetricSums:
        """Return sums that can grow without changing these."""
        return MetricSums(self._sums)

    def add(self, terms: Any) -> None:
        """Add the metrics of a batch; nothing is read from the device."""
        for name, value in terms.metrics.items():
            self._add(name, value)
        if terms.metrics:
            self._add("terms", terms.count)

    def take(self, processes: int = 1) -> dict[str, float]:
        """Return the means over all processes, and reset the sums."""
        local, self._sums = numbers(self._sums), {}
        sums: Counter[str] = Counter()
        for metrics in gathered(local, processes):
            sums.update(metrics)
        terms = sums.pop("terms", 0.0)
        counts = {name: sums.get(f"{name}#", terms) for name in sums if not name.endswith("#")}
        return {name: sums[name] / count for name, count in counts.items() if count}

    def _add(self, name: str, value: Any) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return scalars as numbers; all tensors are read from the device at once."""
    tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    read: list[float] = []
    if tensors:
        precision = reduce(torch.promote_types, (value.dtype for value in tensors.values()))
        read = torch.stack([value.to(precision) for value in tensors.values()]).tolist()
    by_name = {**values, **dict(zip(tensors, read, strict=True))}
    return {name: float(value) for name, value in by_name.items()}


def gathered(local: Any, processes: int) -> list[Any]:
    """Return the object of every process."""
    if processes == 1:
        return [local]
    per_process: list[Any] = [None] * processes
    torch.distributed.all_gather_object(per_process, local)
    return per_process
