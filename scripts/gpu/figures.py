"""A measured figure, its target, and where it is written: one JSON line each, as it is known."""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

COMPARE: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Figure:
    """One figure of a part; `value` is None if it could not be measured, `note` says why."""

    part: str
    name: str
    value: float | str | bool | None
    unit: str = ""
    target: str = ""
    """Such as ">= 2"; empty: measured for information."""
    note: str = ""
    check: int = 0
    """The number of the device check that it answers; 0: none."""
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Return ok, MISSED or nothing."""
        if not self.target:
            return ""
        if not isinstance(self.value, (int, float)):
            return "MISSED"
        sign, _, limit = self.target.partition(" ")
        return "ok" if COMPARE[sign](float(self.value), float(limit)) else "MISSED"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass
class Recorder:
    """Appends the figures of one part to a file, so that a part that dies keeps what it has."""

    part: str
    path: Path

    def record(self, name: str, value: Any, unit: str = "", **details: Any) -> Figure:
        """Write a figure; `details` are fields of Figure."""
        figure = Figure(self.part, name, value, unit, **details)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figure.to_dict()) + "\n")
        return figure


def read_figures(path: Path) -> list[Figure]:
    """Return the figures that a part has written; a torn last line is left out."""
    figures = []
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        values.pop("verdict")
        figures.append(Figure(**values))
    return figures


def median_error(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Return the median of |estimate / measured - 1|; None without pairs."""
    errors = [abs(guess / truth - 1) for guess, truth in pairs if truth and guess]
    return statistics.median(errors) if errors else None


def cell(figure: Figure) -> str:
    """Return the value with its unit, as the table shows it."""
    value = figure.value
    if value is None:
        return "-"
    if isinstance(value, (bool, str)):
        return str(value)
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {figure.unit}".rstrip()


def table(figures: Iterable[Figure]) -> str:
    """Return the table of all figures, part by part."""
    rows = list(figures)
    width = max([40, *(len(figure.name) + 1 for figure in rows)])
    lines = [f"{'part':10}{'figure':{width}}{'value':>18}  {'target':9}"]
    for figure in rows:
        verdict = f"{figure.target:9}{figure.verdict}" if figure.target else ""
        note = f"  {figure.note}" if figure.note else ""
        lines.append(
            f"{figure.part:10}{figure.name:{width}}{cell(figure):>18}  {verdict}{note}".rstrip()
        )
    return "\n".join(lines)
