"""The rated speed and memory of accelerators, by the names that drivers report."""

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


def find_accelerator(name: str, memory_bytes: int = 0) -> Accelerator | None:
    """Return the row that matches a driver's device name, of several the one nearest in memory."""
    device_parts = set(name_parts(name))
    matches: list[tuple[int, float, Accelerator]] = []
    for row in accelerators():
        for alias in (row.name, *row.aliases):
            parts = set(name_parts(alias))
            if parts and (parts <= device_parts or device_parts <= parts):
                difference = abs(row.memory_gib - memory_bytes / 2**30) if memory_bytes else 0.0
                matches.append((-len(parts & device_parts), difference, row))
    return min(matches, key=lambda match: match[:2])[2] if matches else None


def name_parts(name: str) -> list[str]:
    """Split a device's name into the parts that distinguish devices."""
    noise = {"nvidia", "tesla", "geforce", "amd", "instinct", "apple", "huawei", "radeon", "gpu"}
    parts = re.split(r"[\s\-_()/,]+", name.lower())
    return [part for part in parts if part and part not in noise]
