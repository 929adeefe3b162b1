"""A table whose rows are imported when they are asked for: what is not used costs no start-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TypeVar

Row = TypeVar("Row")


class Table(Mapping[str, Row]):
    """Rows by name, made once by what is given for each; names alone make none."""

    def __init__(self, makers: Mapping[str, Callable[[], Row]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, Row] = {}

    def __getitem__(self, name: str) -> Row:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __contains__(self, name: object) -> bool:
        return name in self._makers


def imported(package: str, rows: Mapping[str, str]) -> Table[Row]:
    """Return a table of `module:NAME` within a package."""

    def maker(place: str) -> Callable[[], Row]:
        module, _, attribute = place.partition(":")

        def make() -> Row:
            row: Row = getattr(import_module(f"{package}.{module}"), attribute)
            return row

        return make

    return Table({name: maker(place) for name, place in rows.items()})
