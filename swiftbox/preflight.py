"""What can be wrong with the files a YAML names, looked at before any process starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.merge import MergeConfig
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE
from swiftbox.data.check import Checked, check_rows
from swiftbox.data.readers import READERS
from swiftbox.data.source import Source, parse_sources
from swiftbox.errors import ConfigError, UserError
from swiftbox.hub.inspecting import Inspection, inspect
from swiftbox.hub.requirements import ERROR, NOTE, Finding, of_name
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.tasks import deploy
from swiftbox.tasks.merge import placed, require_mergeable

OnRemark = Callable[[Finding], None]
Held = TypeVar("Held")


def _ignored(_finding: Finding) -> None:
    """Do nothing with a remark."""


def preflight(config: TaskConfig, on_remark: OnRemark = _ignored) -> Checked | None:
    """Check the model folder and every row of local datasets; raise all problems as one error.

    What is worth saying but keeps nothing from running goes to `on_remark`. Returns what the check
    of the rows found; None when no dataset is on this machine yet.
    """
    if isinstance(config, MergeConfig):
        _merge(config, on_remark)
    if isinstance(config, DeployConfig):
        _deploy(config, on_remark)
    if not isinstance(config, TrainConfig):
        return None
    training = config
    problems: list[UserError] = []

    def held(check: Callable[[], Held]) -> Held | None:
        try:
            return check()
        except UserError as error:
            problems.append(error)
            return None

    seen = held(lambda: _inspected(training.model, training, on_remark))
    if seen is not None:
        held(lambda: _model(training, seen, on_remark))
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


def looks_like_path(name: str) -> bool:
    """Tell a path from a hub id: owner/name has one slash and no leading dot, slash or tilde."""
    return name.startswith((".", "/", "~")) or name.count("/") != 1


def with_absolute_paths(config: TaskConfig) -> TaskConfig:
    """Return the config with every path that exists on this machine made absolute."""
    if not isinstance(config, TrainConfig):
        return _paths_of_task(config)
    changes: dict[str, Any] = {}
    for key in ("model", "adapter", "template"):
        value = getattr(config, key)
        if value and Path(value).expanduser().exists():
            changes[key] = absolute(value)
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


def _merge(config: MergeConfig, on_remark: OnRemark) -> None:
    """Raise UserError for a base that cannot be used, and for adapters that do not fit it."""
    if config.model is not None:
        seen = _inspected(config.model, config, on_remark)
        if seen is not None:
            _sound(config, seen, on_remark)
    into = Path.cwd() if config.output_dir == "auto" else Path(config.output_dir).expanduser()
    require_mergeable(config, into)


def _deploy(config: DeployConfig, on_remark: OnRemark) -> None:
    """Raise UserError for a model that cannot be served, and an address that cannot be had."""
    seen = _inspected(config.model or "", config, on_remark)
    if seen is not None:
        _sound(config, seen, on_remark)
    deploy.require_deployable(config)


def _paths_of_task(config: TaskConfig) -> TaskConfig:
    if isinstance(config, MergeConfig):
        return placed(config)
    if isinstance(config, DeployConfig):
        return deploy.placed(config)
    values = config.model_dump()
    changes: dict[str, Any] = {}
    if values.get("local_dir"):
        changes["local_dir"] = str(Path(values["local_dir"]).expanduser().absolute())
    for key in ("model", "dataset") if values.get("hub") == "local" else ():
        if values[key]:
            changes[key] = [absolute(str(one)) for one in as_list(values[key])]
    return config.model_copy(update=changes)


def absolute(name: str) -> str:
    """Return an existing path, or that in front of #n, as absolute; anything else as it is."""
    path, mark, count = name.rpartition("#")
    for head, tail in ((name, ""), (path, mark + count)):
        if head and Path(head).expanduser().exists():
            return str(Path(head).expanduser().resolve()) + tail
    return name


def _absolute_function(name: str) -> str:
    """Return `my_rewards.py:name` with an absolute path; the name of a built-in one as it is."""
    path, mark, function = name.rpartition(":")
    return f"{absolute(path)}{mark}{function}" if mark else name


def _inspected(
    name: str, config: TrainConfig | MergeConfig | DeployConfig, on_remark: OnRemark
) -> Inspection | None:
    """Look at the model's folder, or at its row in the catalogue while it is on the hub."""
    folder = Path(name).expanduser()
    if folder.exists():
        return inspect(folder)
    if config.hub == "local" or looks_like_path(name):
        raise ConfigError(
            text(f"model: no folder {name}", f"model：目录 {name} 不存在"),
            hint=text(
                "give a folder with config.json, or a hub id such as Qwen/Qwen3-0.6B "
                "with hub: modelscope",
                "请给出含 config.json 的目录，或社区模型 id（如 Qwen/Qwen3-0.6B）"
                "并设 hub: modelscope",
            ),
        )
    found = of_name(name, trust_remote_code=config.trust_remote_code)
    _report("model", found, on_remark)
    return None


def _sound(
    config: TrainConfig | MergeConfig | DeployConfig, seen: Inspection, on_remark: OnRemark
) -> None:
    """Raise ConfigError for what keeps the model from being loaded; remark on the rest."""
    found = [one for one in seen.findings if one.about not in ("template", "code")]
    code = seen.about("code")
    if code is not None and not config.trust_remote_code:
        refused = code.level != NOTE
        found.append(replace(code, level=ERROR if refused else NOTE, hint=code.hint * refused))
    _report("model", found, on_remark)


def _model(config: TrainConfig, seen: Inspection, on_remark: OnRemark) -> None:
    """Raise ConfigError for what keeps the model from being trained; remark on the rest."""
    _sound(config, seen, on_remark)
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


def _report(key: str, findings: Iterable[Finding], on_remark: OnRemark) -> None:
    """Raise the errors as one; hand the others on."""
    found = list(findings)
    for one in found:
        if one.level != ERROR:
            on_remark(one)
    errors = [one for one in found if one.level == ERROR]
    if errors:
        raise ConfigError(
            "\n".join(text(f"{key}: {one.message}", f"{key}：{one.message}") for one in errors),
            hint="\n".join(dict.fromkeys(one.hint for one in errors if one.hint)),
        )


def _adapter(config: TrainConfig) -> None:
    if config.adapter is None:
        return
    folder = Path(config.adapter).expanduser()
    if folder.is_dir() and not (folder / "adapter_config.json").is_file():
        raise ConfigError(
            text(
                f"adapter: {config.adapter} has no adapter_config.json",
                f"adapter：{config.adapter} 中没有 adapter_config.json",
            ),
            hint=text("give the model/ folder of a LoRA run", "请给出 LoRA 运行的 model/ 目录"),
        )
    if not folder.exists() and (config.hub == "local" or looks_like_path(config.adapter)):
        raise ConfigError(
            text(f"adapter: no folder {config.adapter}", f"adapter：目录 {config.adapter} 不存在")
        )
    if config.tuner_type in WHOLE:
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
    chats = METHODS[config.model_dump()["stage"]].chats
    if config.template == "auto" and chats and seen is not None:
        lacking = seen.about("template")
        _report("template", [replace(lacking, level=ERROR)] if lacking else [], _ignored)
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
        from swiftbox.core.reward_functions import require

        require(as_list(names))


def sources_of(config: TrainConfig) -> tuple[Source, ...]:
    """Return what the dataset key names."""
    named = [
        one.model_dump() if isinstance(one, DatasetSource) else one
        for one in as_list(config.dataset)
    ]
    return parse_sources(named, columns=config.columns)


def _rows(config: TrainConfig) -> Checked | None:
    sources = sources_of(config)
    here = [one for one in sources if Path(one.path).expanduser().exists()]
    for one in sources:
        if one in here:
            continue
        is_file = Path(one.path).suffix.lower() in READERS
        if config.hub == "local" or looks_like_path(one.path) or is_file:
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
