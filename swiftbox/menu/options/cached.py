"""Values of options from the hubs' caches: the id if it resolves to them, else the folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from swiftbox.menu.options.option import Option, shortest_path
from swiftbox.models.download_request import HUBS
from swiftbox.models.local import LocalArtifact


def config_value(local: LocalArtifact) -> str:
    """Return the value by which a config refers to a local model or dataset."""
    if local.location == HUBS[0] and local.folder.parent.name == "snapshots":
        return local.id  # the id also resumes an unfinished download
    if local.location == "folder" and local.id.startswith("./"):
        return local.id
    return shortest_path(local.folder)


def hub_ids(options: Iterable[Option]) -> list[Option]:
    """Return the options that come from a hub, named by their ids."""
    return [
        replace(option, value=option.name)
        for option in options
        if option.local and option.local.location in HUBS
    ]
