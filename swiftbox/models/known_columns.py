"""Datasets of the catalogue are read as their columns are known to mean, and this is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from swiftbox.data.formats import CLASSIFIED, PROMPTED
from swiftbox.data.proposals import as_columns
from swiftbox.data.source import RowSource
from swiftbox.errors import ConfigError, raise_together
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.catalogue import Dataset
from swiftbox.models.dataset_columns import (
    UNKNOWN,
    KnownColumns,
    dataset_shapes,
    known_columns,
    reason_of,
    shape_of,
)
from swiftbox.models.requirements import NOTE, Remark

HINTS = {
    "two answers": (
        "with columns: {chatgpt_answers: response, human_answers: unused}, or the other way round",
        "请写 columns: {chatgpt_answers: response, human_answers: unused}，或相反",
    ),
    "no prompt": (
        "write a file with a prompt for each row, and keep its columns for the reward",
        "请为每行写出提示并存为文件，保留其余列供奖励函数使用",
    ),
    "speakers": (
        "write a file in which the character to learn is the assistant",
        "请写一个文件，把要学习的角色设为 assistant",
    ),
}
"""What to do about datasets that cannot be read as they are."""


def known_of(source: RowSource) -> KnownColumns:
    """Return what the catalogue knows of a source; nothing of files and folders."""
    row = None if Path(source.path).expanduser().exists() else catalogue.dataset(source.path)
    return known_columns(row) if row else KnownColumns()


def with_known_columns(source: RowSource) -> RowSource:
    """Return a source with the columns, the subset and the split that are known of its id.

    What the config says of the source wins, and a file or folder of that name is none of a hub.
    """
    known = known_of(source)
    subset = source.subset or known.subset
    shape = dataset_shapes().get(known.shape_name(subset) or "")
    if shape is None:
        return source
    columns = source.columns or tuple(sorted(shape.rename.items()))
    return replace(source, columns=columns, subset=subset, split=source.split or known.split)


def known_columns_note(source: RowSource) -> str:
    """Return what `with_known_columns` changes of a source; empty if nothing."""
    known = with_known_columns(source)
    changes = []
    if known.columns != source.columns:
        changes.append(f"columns: {as_columns(dict(known.columns))}")
    changes += [
        f"{key}: {getattr(known, key)}"
        for key in ("subset", "split")
        if getattr(known, key) != getattr(source, key)
    ]
    if not changes:
        return ""
    listed = ", ".join(changes)
    return text(f"{source.path}: read with {listed}", f"{source.path}：按 {listed} 读取")


def stage_note(source: RowSource, stage: str) -> str:
    """Return the stages of the rows of a dataset that are not for this stage; empty otherwise."""
    if Path(source.path).expanduser().exists():
        return ""
    shape = shape_of(source.path, source.subset)
    if shape is None or not shape.stages or stage in (*shape.stages, *PROMPTED):
        return ""  # rewards need a prompt alone
    stages = ", ".join(shape.stages)
    return text(
        f"{source.path}: its rows are for stage: {stages}",
        f"{source.path}：其数据用于 stage: {stages}",
    )


def unrecorded_note(source: RowSource) -> str:
    """Return that the columns of a dataset of the catalogue are not recorded; empty otherwise."""
    known = known_of(source)
    if known.unread != UNKNOWN:
        return ""
    return text(f"{source.path}: {reason_of(known)}", f"{source.path}：{reason_of(known)}")


def dataset_remarks(source: RowSource, key: str, stage: str) -> list[Remark]:
    """Return remarks on how the catalogue knows a dataset, under a setting's `key`."""
    notes = (known_columns_note(source), stage_note(source, stage), unrecorded_note(source))
    return [Remark(NOTE, key, text(f"{key}: {note}", f"{key}：{note}")) for note in notes if note]


def require_readable(sources: Iterable[tuple[str, RowSource]], stage: str) -> None:
    """Raise ConfigError for datasets whose rows a stage cannot read as they are on the hub.

    Each source stands after its key. Where the config names the columns, rows are left to their
    check.
    """
    problems = [
        problem
        for key, source in sources
        if not source.columns and (problem := _problem_of(source, key, stage))
    ]
    raise_together(problems)


def _problem_of(source: RowSource, key: str, stage: str) -> ConfigError | None:
    known = known_of(source)
    if known.unread and known.unread != UNKNOWN:
        reason = reason_of(known)
        hint = text(*HINTS[known.unread]) if known.unread in HINTS else _choose_another()
        message = text(f"{key}: {source.path}: {reason}", f"{key}：{source.path}：{reason}")
        return ConfigError(message, hint=hint)
    if known.subsets and source.subset not in known.subsets:
        return _no_subset(source, key, known.subsets)
    shape = shape_of(source.path, source.subset)
    if shape and shape.stages == CLASSIFIED and stage not in CLASSIFIED:
        return _labelled(source, key)
    return None


def _labelled(source: RowSource, key: str) -> ConfigError:
    return ConfigError(
        text(
            f"{key}: {source.path}: its rows are texts and labels, for a classifier",
            f"{key}：{source.path}：其数据是文本与分类标签，用于分类器",
        ),
        hint=text(
            "set stage: classification, or choose a dataset of questions and answers: "
            "`swiftbox datasets sft`",
            "请设 stage: classification，或选择问答数据集：`swiftbox datasets sft`",
        ),
    )


def _choose_another() -> str:
    return text(
        "choose a dataset of questions and answers: `swiftbox datasets sft`",
        "请选择问答数据集：`swiftbox datasets sft`",
    )


def _no_subset(source: RowSource, key: str, subsets: Iterable[str]) -> ConfigError:
    names, first = ", ".join(subsets), next(iter(subsets))
    return ConfigError(
        text(
            f"{key}: {source.path}: its files are read one subset at a time: {names}",
            f"{key}：{source.path}：其文件每次只能读取一个子集：{names}",
        ),
        hint=text(
            f"name it: {{path: {source.path}, subset: {first}}}",
            f"请指明：{{path: {source.path}, subset: {first}}}",
        ),
    )


def column_details(dataset: Dataset) -> dict[str, str]:
    """Return lines on the columns of a dataset, or of each of its subsets, and their source."""
    known = known_columns(dataset)
    details: dict[str, str] = {}
    for subset, name in (known.subsets or {"": known.shape or ""}).items():
        shape = dataset_shapes().get(name)
        if shape is None:
            continue
        of_subset = f" ({subset})" if subset else ""
        details[text("columns", "列") + of_subset] = ", ".join(shape.columns)
        details[text("read with", "读取方式") + of_subset] = (
            as_columns(shape.rename) if shape.rename else ""
        )
        details[text("stages", "阶段") + of_subset] = ", ".join(shape.stages)
    if known.subset:
        details[text("read from", "读取子集")] = known.subset
    if details and known.source:
        details[text("columns from", "列名来源")] = _source_of(known.source)
    return details


def _source_of(source: str) -> str:
    sources = {
        "card": ("its card", "其说明页"),
        "registration": ("the registration of another tool", "其他工具的登记"),
        "code": ("published code that reads it", "读取它的公开代码"),
        "knowledge": (
            "general knowledge, not compared with its card",
            "常识，未与其说明页核对",
        ),
    }
    return text(*sources[source])
