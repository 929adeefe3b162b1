"""Read a training config of another tool, or the script that calls it, with line numbers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.reading import Settings, written_entries
from swiftbox.converters.rows import ForeignConfig, ForeignSetting
from swiftbox.converters.shell import training_command
from swiftbox.errors import ConfigError
from swiftbox.language import text

SCRIPTS = (".sh", ".bash", ".zsh")


@dataclass(frozen=True)
class Document:
    """A foreign config: its settings and, for a script, the tool that its command calls."""

    path: Path
    entries: tuple[ForeignSetting, ...]
    tool: str | None = None
    command: str = ""

    @property
    def foreign(self) -> ForeignConfig:
        """Return the values by key; a later value of the same key wins."""
        values = {setting.key: setting.value for setting in self.entries}
        return ForeignConfig(values, self.path.resolve().parent, script=self.tool is not None)


def read(path: Path) -> Document:
    """Read a YAML, a JSON file or a shell script; raise ConfigError with the line of a mistake."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            text(f"{path}: no such file", f"{path}：文件不存在"),
            hint=text(
                "give a YAML, a JSON file or a .sh script of LLaMA-Factory, axolotl or ms-swift",
                "请给出 LLaMA-Factory、axolotl 或 ms-swift 的 YAML、JSON 或 .sh 脚本",
            ),
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            text(f"{path}: cannot be read ({error})", f"{path}：无法读取（{error}）")
        ) from None
    if path.suffix in SCRIPTS or content.startswith("#!"):
        return _script(path, content)
    entries = _json(path, content) if path.suffix == ".json" else _yaml(path, content)
    return Document(path, tuple(entries))


def _yaml(path: Path, content: str) -> list[ForeignSetting]:
    settings = Settings(path.name)
    entries = written_entries(content, settings)
    settings.fail()
    return [ForeignSetting(key, entry.value, entry.order) for key, entry in entries.items()]


def _json(path: Path, content: str) -> list[ForeignSetting]:
    try:
        parsed: Any = json.loads(content)
    except json.JSONDecodeError as error:
        raise ConfigError(
            text(
                f"{path.name}:{error.lineno} is not JSON: {error.msg}",
                f"{path.name}:{error.lineno} 不是合法的 JSON：{error.msg}",
            )
        ) from None
    if not isinstance(parsed, dict):
        raise ConfigError(
            text(f"{path.name}: should be a JSON object", f"{path.name}：应为一个 JSON 对象")
        )
    return [ForeignSetting(key, value, _line_of(key, content)) for key, value in parsed.items()]


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
        raise ConfigError(
            text(
                f"{path.name}: its command takes the settings from {configs[0]}",
                f"{path.name}：该命令从 {configs[0]} 读取设置",
            ),
            hint=f"swiftbox import {configs[0]}",
        )
    return Document(path, command.entries, command.tool, command.shown)
