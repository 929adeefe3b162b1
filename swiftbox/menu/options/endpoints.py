"""The deployments that a picker offers: those that are running, by their addresses."""

from __future__ import annotations

from functools import cached_property

from swiftbox.language import text
from swiftbox.menu.options.option import ALL, Option, TableColumns, matches
from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import Run


def server_of(run: Run) -> str:
    """Return the address that a run serves at now; empty if it serves nothing."""
    return run.url or ""


def active_deployments() -> list[tuple[Run, str]]:
    """Return the runs that serve a model now, with their addresses."""
    return [(run, url) for run in run_folder.runs() if (url := server_of(run))]


class EndpointOptions:
    """The deployments to choose from."""

    @cached_property
    def columns(self) -> TableColumns:
        """The columns of the list."""
        return TableColumns((text("address", "地址"), text("deployment", "部署")), (32, 42))

    @cached_property
    def _names(self) -> dict[str, str]:
        return {url: run.name for run, url in active_deployments()}

    @cached_property
    def local(self) -> list[Option]:
        """All deployments."""
        return [Option(url, url) for url in self._names]

    def views(self) -> list[tuple[str, str]]:
        """Return the only view."""
        return [(ALL, text("on this machine", "本机"))]

    def find(self, query: str, view: str, family: str = "") -> list[Option]:  # noqa: ARG002 - one view
        """Return the deployments whose address or name match."""
        return [
            option
            for option in self.local
            if matches(query, option.value, self._names[option.value])
        ]

    def cells(self, option: Option) -> tuple[str, ...]:
        """Return a row's text in each column."""
        return (option.value, self._names[option.value])

    def details(self, option: Option) -> list[str]:  # noqa: ARG002 - the row says it all
        """Return nothing: the row shows everything."""
        return []
