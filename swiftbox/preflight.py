"""What can be wrong with the files a YAML names, looked at before any process starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE
from swiftbox.data.check import Checked, check_rows
from swiftbox.data.readers import READERS
from swiftbox.data.source import Source, parse_sources
from swiftbox.errors import ConfigError, UserError
from swiftbox.language import text
from swiftbox.methods import METHODS


def preflight(config: TaskConfig) -> Checked | None:
    """Check the model folder and every row of local datasets; raise all problems as one error.

    Returns what the check of the rows found; None when no dataset is on this machine yet.
    """
    if not isinstance(config, TrainConfig):
        return None
    problems: list[UserError] = []
    for check in (_model, _adapter, _template, _judges):
        try:
            check(config)
        except UserError as error:
            problems.append(error)
    checked = None
    try:
        checked = _rows(config)
    except UserError as error:
        problems.append(error)
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


def _paths_of_task(config: TaskConfig) -> TaskConfig:
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


def _model(config: TrainConfig) -> None:
    folder = Path(config.model).expanduser()
    if not folder.exists():
        if config.hub == "local" or looks_like_path(config.model):
            raise ConfigError(
                text(f"model: no folder {config.model}", f"model：目录 {config.model} 不存在"),
                hint=text(
                    "give a folder with config.json, or a hub id such as Qwen/Qwen3-0.6B "
                    "with hub: modelscope",
                    "请给出含 config.json 的目录，或社区模型 id（如 Qwen/Qwen3-0.6B）"
                    "并设 hub: modelscope",
                ),
            )
        return
    described = _config_json(folder)
    _weights(folder)
    family = described.get("model_type")
    if config.model_type and family and config.model_type not in (family, family.split("_")[0]):
        base = family.rstrip("0123456789_.")
        if not base.startswith(config.model_type):
            raise ConfigError(
                text(
                    f"model_type: {config.model_type} asked for, config.json says {family}",
                    f"model_type：要求 {config.model_type}，但 {folder}/config.json 为 {family}",
                ),
                hint=text(
                    "drop model_type, or choose that family's model", "去掉 model_type 或更换模型"
                ),
            )
    if described.get("auto_map") and not config.trust_remote_code and not family:
        raise ConfigError(
            text(
                f"model: {folder} comes with Python code of its own",
                f"model：{folder} 自带 Python 代码",
            ),
            hint=text(
                "trust_remote_code: true runs it; only for a source you trust",
                "trust_remote_code: true 会执行它；仅用于可信来源",
            ),
        )


def _config_json(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            text(f"model: {folder} has no config.json", f"model：{folder} 中没有 config.json"),
            hint=text(
                "give the folder that holds config.json and the weights",
                "请给出含 config.json 与权重的目录",
            ),
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            text(
                f"model: {folder}/config.json cannot be read ({error})",
                f"model：{folder}/config.json 无法读取（{error}）",
            )
        ) from None
    return found if isinstance(found, dict) else {}


def _weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            weights = json.loads(index.read_text(encoding="utf-8")).get("weight_map", {})
        except ValueError as error:
            raise ConfigError(
                text(
                    f"model: {index} cannot be read ({error})",
                    f"model：{index} 无法读取（{error}）",
                ),
                hint=text("download the model again", "请重新下载模型"),
            ) from None
        wanted = set(weights.values())
        missing = sorted(name for name in wanted if not (folder / name).is_file())
        if missing:
            raise ConfigError(
                text(
                    f"model: {folder} lacks {len(missing)} of {len(wanted)} weight files "
                    f"({missing[0]} ...)",
                    f"model：{folder} 缺少 {len(wanted)} 个权重文件中的 {len(missing)} 个"
                    f"（{missing[0]} ...）",
                ),
                hint=text("download the model again", "请重新下载模型"),
            )
        return
    if any(folder.glob("*.safetensors")):
        return
    pickles = any(folder.glob("*.bin"))
    raise ConfigError(
        text(
            f"model: {folder} has no safetensors weights",
            f"model：{folder} 中没有 safetensors 权重",
        ),
        hint=text(
            "pickled .bin weights can run code and are not loaded; convert them to safetensors",
            ".bin 权重可能执行代码，不会加载；请转换为 safetensors",
        )
        if pickles
        else text("give the folder that holds the weights", "请给出含权重文件的目录"),
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


def _template(config: TrainConfig) -> None:
    if config.template == "auto":
        _own_template(config)
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


def _own_template(config: TrainConfig) -> None:
    """Raise ConfigError when conversations are trained on a tokenizer without a chat template."""
    folder = Path(config.model).expanduser()
    settings = folder / "tokenizer_config.json"
    if not METHODS[config.model_dump()["stage"]].chats or not settings.is_file():
        return
    files = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    if any((folder / name).exists() for name in files):
        return
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            text(
                f"model: {settings} cannot be read ({error})",
                f"model：{settings} 无法读取（{error}）",
            )
        ) from None
    if not found.get("chat_template"):
        raise ConfigError(
            text(
                f"template: {folder} brings no chat template (it looks like a base model)",
                f"template：{folder} 没有对话模板（看起来是基座模型）",
            ),
            hint=text(
                "set template: chatml (saved with the model), or use an -Instruct model",
                "设 template: chatml（会随模型保存），或换用 -Instruct 模型",
            ),
        )


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
