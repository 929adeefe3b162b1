"""Datasets of the catalogue are read as their columns are known to mean, and this is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from swiftbox.data.formats import PROMPTED
from swiftbox.data.proposals import as_columns
from swiftbox.data.source import RowSource
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.requirements import NOTE, Remark


def with_known_columns(source: RowSource) -> RowSource:
    """Return a source with the columns and the split that the catalogue knows of its id.

    What the config says of the source wins, and a file or folder of that name is none of a hub.
    """
    row = None if Path(source.path).expanduser().exists() else catalogue.dataset(source.path)
    shape = catalogue.dataset_shapes().get(row.shape or "") if row else None
    if row is None or shape is None:
        return source
    columns = source.columns or tuple(sorted(shape.rename.items()))
    return replace(source, columns=columns, split=source.split or row.split)


def known_columns_note(source: RowSource) -> str:
    """Return what `with_known_columns` changes of a source; empty if nothing."""
    known = with_known_columns(source)
    changes = []
    if known.columns != source.columns:
        changes.append(f"columns: {as_columns(dict(known.columns))}")
    if known.split != source.split:
        changes.append(f"split: {known.split}")
    if not changes:
        return ""
    listed = ", ".join(changes)
    return text(f"{source.path}: read with {listed}", f"{source.path}：按 {listed} 读取")


def stage_note(source: RowSource, stage: str) -> str:
    """Return the stages of the rows of a dataset that are not for this stage; empty otherwise."""
    if Path(source.path).expanduser().exists():
        return ""
    shape = catalogue.shape_of(source.path)
    if shape is None or stage in (*shape.stages, *PROMPTED):  # rewards need a prompt alone
        return ""
    stages = ", ".join(shape.stages)
    return text(
        f"{source.path}: its rows are for stage: {stages}",
        f"{source.path}：其数据用于 stage: {stages}",
    )


def dataset_remarks(source: RowSource, key: str, stage: str) -> list[Remark]:
    """Return remarks on how the catalogue knows a dataset, under a setting's `key`."""
    notes = (known_columns_note(source), stage_note(source, stage))
    return [Remark(NOTE, key, text(f"{key}: {note}", f"{key}：{note}")) for note in notes if note]
