"""What a model is compared with: its base, further adapters, and other models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from swiftbox.language import text
from swiftbox.menu.options.adapters import AdapterOptions
from swiftbox.menu.options.models import ModelOptions
from swiftbox.menu.options.option import (
    ALL,
    LOCAL,
    MachineSource,
    Option,
    TableColumns,
    marked_local,
)

BASE, ADAPTERS = "base", "adapters"


@dataclass
class ComparisonOptions:
    """Adapters and models, and the word `base` where a config takes it."""

    machine: MachineSource
    offers_base: bool = False
    """Whether the config takes `base` for the adapter's own base."""

    def __post_init__(self) -> None:
        self._models = ModelOptions(self.machine, for_training=False)
        self._adapters = AdapterOptions()

    @cached_property
    def columns(self) -> TableColumns:
        """The columns of the list."""
        return self._models.columns

    @cached_property
    def local(self) -> list[Option]:
        """The adapters and models on this machine."""
        return [*self._adapters.local, *self._models.local]

    @cached_property
    def _bases(self) -> list[Option]:
        name = text("base: the base of the adapter", "base：适配器的基座")
        return [Option(BASE, name)] if self.offers_base else []

    def views(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        return [*self._models.views()[:2], (ADAPTERS, text("adapters", "适配器"))]

    def find(self, query: str, view: str, family: str = "") -> list[Option]:
        """Return the options that match, adapters first."""
        adapters = self._adapters.find(query, ALL)
        if view == ADAPTERS:
            return adapters
        models = self._models.find(query, LOCAL if view == LOCAL else ALL, family)
        return [*([] if query else self._bases), *adapters, *models]

    def cells(self, option: Option) -> tuple[str, ...]:
        """Return a row's text in each column."""
        if option in self._adapters.local:
            return (marked_local(option.name), "", "", text("adapter", "适配器"), "")
        return self._models.cells(option)

    def details(self, option: Option) -> list[str]:
        """Return lines on a row."""
        return self._adapters.details(option) or self._models.details(option)
