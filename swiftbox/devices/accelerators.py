"""What accelerators are rated for, by the names that drivers report."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("accelerators.csv")


@dataclass(frozen=True)
class Accelerator:
    """One row: dense 16-bit rate in FLOP per second, memory bandwidth in bytes per second."""

    name: str
    aliases: tuple[str, ...]
    memory_gib: float
    flops: float
    bandwidth: float


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """Read the table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Accelerator(
                name=row["name"],
                aliases=tuple(row["aliases"].split(";")) if row["aliases"] else (),
                memory_gib=float(row["memory_gib"] or 0),
                flops=float(row["bf16_tflops_dense"] or row["fp16_tflops_dense"] or 0) * 1e12,
                bandwidth=float(row["bandwidth_gbs"] or 0) * 1e9,
            )
            for row in csv.DictReader(file)
        )


def find(name: str, memory_bytes: int = 0) -> Accelerator | None:
    """Return the row of a device by its driver's name, the one whose memory is nearest."""
    wanted = set(words(name))
    best: list[tuple[int, float, Accelerator]] = []
    for one in accelerators():
        for alias in (one.name, *one.aliases):
            own = set(words(alias))
            if own and (own <= wanted or wanted <= own):
                apart = abs(one.memory_gib - memory_bytes / 2**30) if memory_bytes else 0.0
                best.append((-len(own & wanted), apart, one))
    return min(best, key=lambda item: item[:2])[2] if best else None


def words(name: str) -> list[str]:
    """Split a device's name into what tells devices apart."""
    noise = {"nvidia", "tesla", "geforce", "amd", "instinct", "apple", "huawei", "radeon", "gpu"}
    parts = re.split(r"[\s\-_()/,]+", name.lower())
    return [part for part in parts if part and part not in noise]
