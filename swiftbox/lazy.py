"""A table whose rows are imported on first use, so that unused rows cost no start-up time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TypeVar

Row = TypeVar("Row")


class Table(Mapping[str, Row]):
    """Rows by name; each is built on first access, and listing names builds none."""

    def __init__(self, factories: Mapping[str, Callable[[], Row]]) -> None:
        self._factories = dict(factories)
        self._rows: dict[str, Row] = {}

    def __getitem__(self, name: str) -> Row:
        if name not in self._rows:
            self._rows[name] = self._factories[name]()
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)

    def __contains__(self, name: object) -> bool:
        return name in self._factories


def imported(package: str, rows: Mapping[str, str]) -> Table[Row]:
    """Return a table of rows, each given as `module:NAME` within a package."""

    def factory(target: str) -> Callable[[], Row]:
        module, _, attribute = target.partition(":")

        def load() -> Row:
            row: Row = getattr(import_module(f"{package}.{module}"), attribute)
            return row

        return load

    return Table({name: factory(target) for name, target in rows.items()})
