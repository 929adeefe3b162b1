"""What can be wrong with a training: its model, adapter, template, judges and every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.references import is_reference
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.data.check import CheckedRows, check_rows
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import ConfigError, UserError
from swiftbox.fit.source import find_shape
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.models.inspection import Inspection
from swiftbox.models.location import find_folder, locate, looks_like_path
from swiftbox.models.requirements import ERROR, NOTE, Finding
from swiftbox.tasks.checks import (
    OnRemark,
    absolute,
    ignored,
    inspect_model,
    report,
    require_loadable,
)

Held = TypeVar("Held")


def check(training: TrainConfig, on_remark: OnRemark) -> CheckedRows | None:
    """Check model, adapter, template and rows; raise all problems as one error.

    Returns what the check of the rows found; None when no dataset is on this machine yet.
    """
    problems: list[UserError] = []

    def held(check: Callable[[], Held]) -> Held | None:
        try:
            return check()
        except UserError as error:
            problems.append(error)
            return None

    seen = held(lambda: inspect_model(training.model, training, on_remark))
    if seen is not None:
        held(lambda: _model(training, seen, on_remark))
    if find_folder(training.model) is None and find_shape(training.model) is None:
        on_remark(_unknown(training.model))
    held(lambda: _adapter(training))
    held(lambda: _template(training, seen))
    held(lambda: _judges(training))
    checked = held(lambda: _rows(training))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = "\n".join(one.message for one in problems)
        hints = "\n".join(dict.fromkeys(one.hint for one in problems if one.hint))
        raise ConfigError(lines, hint=hints)
    return checked


def _unknown(name: str) -> Finding:
    said = text(
        f"what {name} takes of memory, disk and time is not known: no config.json here, no row of "
        "the catalogue, no size in its name",
        f"无法估计 {name} 所需的内存、磁盘与时间：本机没有 config.json，目录中没有，名称也不含规模",
    )
    hint = text("`swiftbox download` it, then check again", "请先 `swiftbox download`，再检查")
    return Finding(NOTE, "fit", said, hint)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the config with every path that exists on this machine made absolute."""
    changes: dict[str, Any] = {}
    for key in ("model", "adapter"):
        name = getattr(config, key)
        if name and (folder := find_folder(name)) is not None:
            changes[key] = str(folder)
    if Path(config.template).expanduser().exists():
        changes["template"] = absolute(config.template)
    if names := config.model_dump().get("reward_funcs"):
        changes["reward_funcs"] = [_absolute_function(one) for one in as_list(names)]
    if isinstance(config.dataset, str):
        changes["dataset"] = absolute(config.dataset)
    else:
        changes["dataset"] = [
            absolute(one)
            if isinstance(one, str)
            else one.model_copy(update={"path": absolute(one.path)})
            for one in config.dataset
        ]
    return config.model_copy(update=changes)


def _absolute_function(name: str) -> str:
    """Return `my_rewards.py:name` with an absolute path; the name of a built-in one as it is."""
    path, mark, function = name.rpartition(":")
    return f"{absolute(path)}{mark}{function}" if mark else name


def _model(config: TrainConfig, seen: Inspection, on_remark: OnRemark) -> None:
    """Raise ConfigError for what keeps the model from being trained; remark on the rest."""
    require_loadable(config, seen, on_remark)
    family = seen.config.get("model_type")
    if config.model_type and family and config.model_type not in (family, family.split("_")[0]):
        base = family.rstrip("0123456789_.")
        if not base.startswith(config.model_type):
            raise ConfigError(
                text(
                    f"model_type: {config.model_type} asked for, config.json says {family}",
                    f"model_type：要求 {config.model_type}，但 config.json 为 {family}",
                ),
                hint=text(
                    "drop model_type, or choose that family's model", "去掉 model_type 或更换模型"
                ),
            )


def _adapter(config: TrainConfig) -> None:
    if config.adapter is None or is_reference(config.adapter):
        return
    folder = locate(config.adapter, key="adapter", hub=config.hub)
    if folder is not None and not (folder / "adapter_config.json").is_file():
        raise ConfigError(
            text(
                f"adapter: {config.adapter} has no adapter_config.json",
                f"adapter：{config.adapter} 中没有 adapter_config.json",
            ),
            hint=text("give the model/ folder of a LoRA run", "请给出 LoRA 运行的 model/ 目录"),
        )
    if config.tuner_type in FULL_TUNERS:
        raise ConfigError(
            text(
                f"adapter: {config.tuner_type} tuning does not continue an adapter",
                f"adapter：{config.tuner_type} 训练不能从适配器继续",
            ),
            hint=text(
                "set tuner_type: lora, or merge the adapter first", "设 tuner_type: lora 或先合并"
            ),
        )


def _template(config: TrainConfig, seen: Inspection | None) -> None:
    """Raise ConfigError when conversations have no chat template to be written with."""
    chats = METHODS[config.model_dump()["stage"]].needs_template
    if config.template == "auto" and chats and seen is not None:
        lacking = seen.about("template")
        report("template", [replace(lacking, level=ERROR)] if lacking else [], ignored)
    if config.template in ("auto", "chatml"):
        return
    if not Path(config.template).expanduser().is_file():
        raise ConfigError(
            text(
                f"template: no file {config.template}", f"template：文件 {config.template} 不存在"
            ),
            hint=text("use auto, chatml, or a .jinja file", "可用 auto、chatml 或 .jinja 文件"),
        )


def _judges(config: TrainConfig) -> None:
    names = config.model_dump().get("reward_funcs")
    if names is not None:
        from swiftbox.core.losses.reward_functions import require

        require(as_list(names))


def sources_of(config: TrainConfig) -> tuple[RowSource, ...]:
    """Return what the dataset key names."""
    named = [
        one.model_dump() if isinstance(one, DatasetSource) else one
        for one in as_list(config.dataset)
    ]
    return parse_sources(named, columns=config.columns)


def _rows(config: TrainConfig) -> CheckedRows | None:
    sources = [one for one in sources_of(config) if not is_reference(one.path)]
    here = [one for one in sources if Path(one.path).expanduser().exists()]
    for one in sources:
        if one in here:
            continue
        if config.hub == "local" or looks_like_path(one.path):
            raise ConfigError(
                text(f"dataset: no file {one.path}", f"dataset：文件 {one.path} 不存在"),
                hint=text(
                    "relative paths start where the command runs", "相对路径以运行命令的目录为起点"
                ),
            )
    if not here:
        return None
    return check_rows(
        here, stage=str(config.model_dump()["stage"]), max_bad_rows=config.max_bad_rows
    )
