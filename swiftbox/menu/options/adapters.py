"""The adapters that a picker offers: results of runs, the newest first, then folders."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

from swiftbox.language import text
from swiftbox.menu.options.option import ALL, Option, TableColumns, config_path, matches
from swiftbox.models import local_adapters
from swiftbox.models.local_adapters import LocalAdapter


class AdapterOptions:
    """The adapters on this machine."""

    @cached_property
    def columns(self) -> TableColumns:
        """The columns of the list."""
        titles = (text("adapter", "适配器"), text("base", "基座"), text("trained", "时间"))
        return TableColumns(titles, (37, 24, 11))

    @cached_property
    def _adapters(self) -> dict[str, LocalAdapter]:
        return {config_path(adapter.folder): adapter for adapter in local_adapters.list_adapters()}

    @cached_property
    def local(self) -> list[Option]:
        """All of them."""
        return [Option(value, adapter.name) for value, adapter in self._adapters.items()]

    def views(self) -> list[tuple[str, str]]:
        """Return the only view."""
        return [(ALL, text("on this machine", "本机"))]

    def find(self, query: str, view: str, family: str = "") -> list[Option]:  # noqa: ARG002 - one view
        """Return the adapters whose path, name or base match."""
        return [
            option
            for option in self.local
            if matches(query, option.value, option.name, self._adapters[option.value].base_model)
        ]

    def cells(self, option: Option) -> tuple[str, ...]:
        """Return a row's text in each column."""
        adapter = self._adapters[option.value]
        trained = time.strftime("%m-%d %H:%M", time.localtime(adapter.created))
        return (option.name, short_name(adapter.base_model), trained)

    def details(self, option: Option) -> list[str]:
        """Return the path, the kind and the base of an adapter; nothing on other options."""
        adapter = self._adapters.get(option.value)
        return [f"{option.value}  {adapter.kind}", adapter.base_model] if adapter else []


def short_name(model: str) -> str:
    """Return what people call a model: a hub id, or the last two names of a path."""
    return "/".join(Path(model).parts[-2:]) if model.startswith(("/", "~", ".")) else model
