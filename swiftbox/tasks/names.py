"""Names in a new config that may be an id on a hub or a misspelled folder.

Asked once, before a config is planned. A recorded config is not asked about: its folders are
absolute, so that its ids stay ids whatever folders appear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swiftbox.config.groups import DATASET_KEYS, MODEL_KEYS, DatasetSource
from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.task import TaskConfig
from swiftbox.errors import UserError, raise_together
from swiftbox.language import text
from swiftbox.models.location import misspelled, misspelled_error, owner_folder
from swiftbox.models.requirements import NOTE, Remark

KEYS = (*MODEL_KEYS, *DATASET_KEYS)
"""The settings that take a folder or an id."""


def name_remarks(config: TaskConfig) -> list[Remark]:
    """Return a remark on every id whose owner is the name of a folder here.

    Raises one ConfigError for all those whose folder holds something spelled like the rest.
    """
    remarks: list[Remark] = []
    errors: list[UserError] = []
    for key, name, hub in _hub_names(config):
        if suggestions := misspelled(name):
            errors.append(misspelled_error(name, key, hub, suggestions))
        elif owner_folder(name) is not None:
            remarks.append(_id_beside_folder(name, key, hub))
    raise_together(errors)
    return remarks


def _hub_names(config: TaskConfig) -> Iterator[tuple[str, str, str]]:
    """Yield setting, name and hub of what may be an id, in every step of a pipeline."""
    if isinstance(config, PipelineConfig):
        for step in config.steps:
            yield from _hub_names(step.config)
    hub = str(getattr(config, "hub", "local"))
    if hub == "local":  # all are paths
        return
    from swiftbox.config.download import DownloadConfig

    if isinstance(config, DownloadConfig):  # all are ids
        return
    for key in KEYS:
        yield from ((key, name, hub) for name in _names(getattr(config, key, None)))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, DatasetSource):
        yield value.path
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _names(item)


def _id_beside_folder(name: str, key: str, hub: str) -> Remark:
    owner = name.partition("/")[0]
    return Remark(
        NOTE,
        key,
        text(
            f"{key}: {name} is an id on {hub}; {owner}/ here has no such folder",
            f"{key}：{name} 指 {hub} 上的 id；本机目录 {owner}/ 中没有同名目录",
        ),
    )
