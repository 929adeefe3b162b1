"""Check the teacher of a distillation: it can be loaded, and has the student's vocabulary."""

from __future__ import annotations

from pathlib import Path

from swiftbox.config.references import is_reference
from swiftbox.config.teacher import (
    KEY,
    TokenDifference,
    another_vocabulary,
    errors_of_teacher,
    teacher_of,
    token_difference,
)
from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.inspection import Inspection
from swiftbox.models.location import find_folder, locate_recorded
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.models.token_ids import token_ids, tokens_of_settings
from swiftbox.tasks.checks import OnRemark, holds_adapter, inspect_model, require_loadable
from swiftbox.tasks.model_demands import require_learned_positions


def check_teacher(
    config: TrainConfig, student: Inspection | None, on_remark: OnRemark
) -> Inspection | None:
    """Return the inspection of the teacher's folder; None if there is none here.

    Raises ConfigError for a teacher that cannot be loaded, has other tokens, or is the student.
    """
    if not config.has_teacher:
        return None
    _remark_on_unused(config, on_remark)
    if is_reference(teacher_of(config)[0]):
        return None
    name, revision = teacher_of(config)
    _require_another_model(config, name, revision)

    def remark(finding: Remark) -> None:
        message = text(f"{KEY}: {finding.message}", f"{KEY}：{finding.message}")
        on_remark(Remark(finding.level, finding.topic, message, finding.hint))

    _require_no_adapter(config, name)
    with errors_of_teacher():
        inspection = inspect_model(name, config, remark, uses_template=False)
        if inspection is not None:
            require_loadable(config, inspection, remark)
            require_learned_positions(config, inspection)
    if inspection is not None and student is not None:
        require_shared_tokens(student.folder, inspection.folder)
    return inspection


def _require_no_adapter(config: TrainConfig, teacher: str) -> None:
    """Raise ConfigError if the teacher is an adapter: it must be a complete model."""
    folder = locate_recorded(teacher, key=KEY, hub=config.hub)
    if folder is None or not holds_adapter(folder):
        return
    raise ConfigError(
        text(f"{KEY}: {teacher} is an adapter", f"{KEY}：{teacher} 是适配器"),
        hint=text(
            f"merge it first (task: merge, adapter: {teacher}) and name the merged model",
            f"请先合并（task: merge，adapter: {teacher}），再给出合并后的模型",
        ),
    )


def _remark_on_unused(config: TrainConfig, on_remark: OnRemark) -> None:
    """Remark on what no update reads, because the student writes the answers of all of them."""
    values = config.model_dump()
    for key in ("seq_kd", "sft_alpha") if values["lmbda"] == 1 else ():
        if values[key]:
            message = text(
                f"{key}: it changes no update: with lmbda: 1 the student writes all answers",
                f"{key}：对更新不起作用：lmbda 为 1 时所有回答都由学生写出",
            )
            hint = text("set lmbda below 1, or remove it", "请设 lmbda 小于 1，或去掉它")
            on_remark(Remark(NOTE, key, message, hint))


def _require_another_model(config: TrainConfig, teacher: str, revision: str | None) -> None:
    """Raise ConfigError if the student starts as its teacher: no divergence would be left."""
    is_same = teacher == config.model
    if not is_same and (folder := find_folder(teacher)) is not None:
        is_same = folder == find_folder(config.model)
    if not is_same or config.adapter is not None or config.revision != revision:
        return
    raise ConfigError(
        text(
            f"{KEY}: {teacher} is the model itself, from which it differs in nothing",
            f"{KEY}：{teacher} 就是被训练的模型，两者没有差别可学",
        ),
        hint=text("name a larger or better model", "请给出更大或更好的模型"),
    )


def require_shared_tokens(student: Path, teacher: Path) -> None:
    """Raise ConfigError if a token of the student has another id in the teacher, or none.

    Tokenizers without a tokenizer.json are compared when they are loaded.
    """
    ids, others = token_ids(student), token_ids(teacher)
    if not ids or not others:
        return
    if difference := token_difference(ids, others):
        raise another_vocabulary(difference)
    there = {*others, *tokens_of_settings(teacher)}
    added = [token for token in tokens_of_settings(student) if token not in ids]
    missing = [place for place, token in enumerate(added) if token not in there]
    if missing:
        first, new_id = missing[0], max(ids.values()) + 1
        raise another_vocabulary(TokenDifference(added[first], new_id + first, None, len(missing)))
