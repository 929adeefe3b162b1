"""Read a training config of another tool, or the script that calls it, with line numbers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftbox.config.reading import Settings, read_failure, written_entries
from swiftbox.config.yaml_nodes import MAX_BYTES
from swiftbox.converters.exported_rows import exported_rows
from swiftbox.converters.rows import ForeignConfig, ForeignSetting
from swiftbox.converters.shell import training_command
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.security.paths import fault_of_relative
from swiftbox.security.regular import read_regular

SCRIPTS = (".sh", ".bash", ".zsh")


@dataclass(frozen=True)
class Document:
    """A foreign config: its settings and, for a script, the tool that its command calls."""

    path: Path
    entries: tuple[ForeignSetting, ...]
    tool: str | None = None
    command: str = ""
    script: bool = False
    """Whether the values are words of a shell."""

    @property
    def foreign(self) -> ForeignConfig:
        """Return the values by key; a later value of the same key wins."""
        values = {setting.key: setting.value for setting in self.entries}
        return ForeignConfig(values, self.path.resolve().parent, script=self.script)


def read(path: Path) -> Document:
    """Read a YAML, a JSON file or a shell script; raise ConfigError with the line of a mistake."""
    try:
        content = read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            text(f"{path}: no such file", f"{path}：文件不存在"),
            hint=text(
                "give a YAML, a JSON file or a .sh script of LLaMA-Factory, axolotl or ms-swift",
                "请给出 LLaMA-Factory、axolotl 或 ms-swift 的 YAML、JSON 或 .sh 脚本",
            ),
        ) from None
    except (OSError, ValueError) as error:
        raise read_failure(path, error) from None
    if path.suffix in SCRIPTS or content.startswith("#!"):
        return _script(path, content)
    entries = _json(path, content) if path.suffix == ".json" else _yaml(path, content)
    return Document(path, tuple(entries))


def ungrouped(document: Document) -> Document:
    """Return a config with the settings of its group `train` (Ray) at the top level."""
    entries: list[ForeignSetting] = []
    for setting in document.entries:
        if setting.key == "train" and isinstance(setting.value, dict):
            inner = setting.value.items()
            entries += [ForeignSetting(str(key), value, setting.line) for key, value in inner]
        else:
            entries.append(setting)
    return replace(document, entries=tuple(entries))


def _yaml(path: Path, content: str) -> list[ForeignSetting]:
    settings = Settings(path.name)
    entries = written_entries(content, settings)
    settings.fail()
    return [ForeignSetting(key, entry.value, entry.order) for key, entry in entries.items()]


def _json(path: Path, content: str) -> list[ForeignSetting]:
    try:
        parsed: Any = json.loads(content)
    except json.JSONDecodeError as error:
        raise _not_json(
            text(
                f"{path.name}:{error.lineno} is not JSON: {error.msg}",
                f"{path.name}:{error.lineno} 不是合法的 JSON：{error.msg}",
            )
        ) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, deep nesting
        raise _not_json(
            text(f"{path.name} is not JSON: {error}", f"{path.name} 不是合法的 JSON：{error}")
        ) from None
    if not isinstance(parsed, dict):
        raise _not_json(
            text(f"{path.name}: should be a JSON object", f"{path.name}：应为一个 JSON 对象")
        )
    return [ForeignSetting(key, value, _line_of(key, content)) for key, value in parsed.items()]


def _not_json(what: str) -> ConfigError:
    hint = text(
        "give the config that the other tool was run with, in JSON or YAML",
        "请给出原工具所用的 JSON 或 YAML 配置",
    )
    return ConfigError(what, hint=hint)


def _line_of(key: str, content: str) -> int:
    match = re.search(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", content)
    return content.count("\n", 0, match.start()) + 1 if match else 1


def _script(path: Path, content: str) -> Document:
    command = training_command(content)
    if command is None:
        raise ConfigError(
            text(
                f"{path.name}: no known training command",
                f"{path.name}：没有可识别的训练命令",
            ),
            hint=text(
                "known commands: swift sft|pt|rlhf --key value, llamafactory-cli train --key value",
                "可识别：swift sft|pt|rlhf --key value、llamafactory-cli train --key value",
            ),
        )
    named = [str(entry.value) for entry in command.entries if entry.key == "config"]
    configs = [
        file for file in (*named, *command.files) if file.endswith((".yaml", ".yml", ".json"))
    ]
    if configs:
        beside = config_beside(configs[0], path)
        if beside is not None:
            return replace(read(beside), tool=command.tool, command=command.shown)
        raise ConfigError(
            text(
                f"{path.name}: its command takes the settings from {configs[0]}",
                f"{path.name}：该命令从 {configs[0]} 读取设置",
            ),
            hint=f"swiftbox import {configs[0]}",
        )
    entries = (*command.entries, *exported_rows(content, command))
    return Document(path, entries, command.tool, command.shown, script=True)


def config_beside(name: str, script: Path) -> Path | None:
    """Return the config that a script names, from a folder at or above it; None without it."""
    name = name.rpartition(")/")[2]  # $(dirname "$0")/x.yaml
    if fault_of_relative(name):
        return None
    folders = script.resolve().parents
    return next((file for folder in folders if (file := folder / name).is_file()), None)
