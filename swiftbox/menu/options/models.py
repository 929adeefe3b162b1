"""The models that a picker offers: those on this machine first, then the catalogue's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from swiftbox.fit.profile import ModelProfile, profile_model, profile_of_row
from swiftbox.fit.richest_tuner import NOTHING_FITS
from swiftbox.formatting import counted, size
from swiftbox.language import text
from swiftbox.menu.options.cached import config_value, hub_ids
from swiftbox.menu.options.option import (
    ALL,
    LOCAL,
    MachineSource,
    Option,
    TableColumns,
    full_name,
    location,
    marked_local,
    matches,
)
from swiftbox.menu.options.training_fit import training_that_fits
from swiftbox.models import catalogue, local
from swiftbox.models.catalogue import NOT_TRAINABLE, Model
from swiftbox.models.description import in_english, kind_of, modalities, searchable, summary, term
from swiftbox.models.requirements import requirement_remarks

FITS, FAMILIES = "fits", "families"
MODALITIES = ("text", "image", "video", "audio", "omni")


@dataclass
class ModelOptions:
    """The models to choose from; what fits is shown once the machine is known."""

    machine: MachineSource
    for_download: bool = False
    """Whether the model is to be downloaded, by its id; else it is used from where it is."""
    for_training: bool = True
    """Whether the model is to be trained, for which it may be too large."""

    def __post_init__(self) -> None:
        self._richest_training: Callable[[ModelProfile | None], str | None] | None = None
        self._fits: dict[str, str | None] = {}

    @cached_property
    def columns(self) -> TableColumns:
        """The columns of the list."""
        titles = (
            text("model", "模型"),
            text("B", "参数B"),
            text("reads", "模态"),
            text("kind", "类型"),
            text("disk", "磁盘"),
            text("fits", "可训"),
        )
        if self.for_training:
            return TableColumns(titles, (34, 5, 7, 10, 9, 5), right=(1, 4))
        return TableColumns(titles[:-1], (40, 5, 7, 10, 9), right=(1, 4))

    @cached_property
    def local(self) -> list[Option]:
        """The models on this machine."""
        options = [
            Option(config_value(model), model.id, model, catalogue.model(model.id))
            for model in local.list_local()
        ]
        return hub_ids(options) if self.for_download else options

    def views(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        return [
            (ALL, text("all", "全部")),
            (LOCAL, text("here", "本机")),
            *([(FITS, text("fits", "可训练"))] if self.for_training else []),
            *((name, term(name)) for name in MODALITIES),
            (FAMILIES, text("families", "系列")),
        ]

    def find(self, query: str, view: str, family: str = "") -> list[Option]:
        """Return the models that match, those on this machine first."""
        if view == FAMILIES and not family:
            return _families(query)
        on_this_machine = [option for option in self.local if _matches(option, query, view, family)]
        if view == LOCAL:
            return on_this_machine
        options = [*on_this_machine, *self._from_catalogue(query, view, family, on_this_machine)]
        if view == FITS:
            return [option for option in options if self.fit(option) not in (None, NOTHING_FITS)]
        return options

    def _from_catalogue(
        self, query: str, view: str, family: str, listed: list[Option]
    ) -> list[Option]:
        """Return the catalogue's models that are not listed yet."""
        modality = view if view in MODALITIES else None
        names = {option.row.name for option in listed if option.row is not None}
        return [
            Option(row.name, row.name, row=row)
            for row in catalogue.search(in_english(query), modality=modality, family=family or None)
            if row.name not in names and (self.for_download or row.kind not in NOT_TRAINABLE)
        ]

    def fit(self, option: Option) -> str | None:
        """Return the richest tuner that fits, `no` for none, None while it is not known."""
        if self._richest_training is None:
            machine = self.machine()  # once: free memory and versions take time to read
            if machine is None:
                return None
            self._richest_training = training_that_fits(machine)
        if option.value not in self._fits:
            untrained = isinstance(option.row, Model) and option.row.kind in NOT_TRAINABLE
            self._fits[option.value] = (
                NOTHING_FITS if untrained else self._richest_training(_shape(option))
            )
        return self._fits[option.value]

    def cells(self, option: Option) -> tuple[str, ...]:
        """Return a row's text in each column."""
        row = option.row if isinstance(option.row, Model) else None
        if option.family:
            count = text(counted(option.count, "model"), f"{option.count} 个")
            cells = (option.family, "", "", count, "", "")
        else:
            disk_bytes = row.disk_bytes if row else None
            disk_bytes = option.local.size_bytes if option.local else disk_bytes
            cells = (
                marked_local(option.name) if option.local else option.name,
                f"{row.params_b:g}" if row and row.params_b else "",
                modalities(row) if row else "",
                kind_of(row) if row else "",
                "?" if disk_bytes is None else size(disk_bytes),
                self._fit_cell(option),
            )
        return cells[: len(self.columns.titles)]

    def _fit_cell(self, option: Option) -> str:
        fit = self.fit(option) if self.for_training else None
        return text("no", "否") if fit == NOTHING_FITS else fit or ""

    def details(self, option: Option) -> list[str]:
        """Return lines on a model: where it is, what it is, and what it needs."""
        if option.family:
            return [text("Enter lists this family's models", "回车列出该系列的模型")]
        lines = full_name(option, self.columns.widths[0])
        if option.local:
            lines.append(location(option.local))
        if isinstance(option.row, Model):
            lines += [summary(option.row), *map(str, requirement_remarks(option.row))]
        return lines


def _shape(option: Option) -> ModelProfile | None:
    if option.local is not None and option.local.complete:
        return profile_model(str(option.local.folder), ask=False)  # a list must not wait for it
    return profile_of_row(option.row) if isinstance(option.row, Model) else None


def _matches(option: Option, query: str, view: str, family: str) -> bool:
    """Tell whether a model on this machine belongs to a view and matches a query."""
    row = option.row if isinstance(option.row, Model) else None
    if family and (row is None or row.family != family):
        return False
    if view in MODALITIES and (row is None or view not in row.modality):
        return False
    return matches(query, option.name, searchable(row.family, row.kind) if row else "")


def _families(query: str) -> list[Option]:
    """Return the families that match, the largest first."""
    counts = Counter(model.family for model in catalogue.models())
    return [
        Option(family, family, family=family, count=count)
        for family, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if matches(query, family)
    ]
