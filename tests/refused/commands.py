"""Command lines that are refused with a hint that names another command, which is run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RefusedCommand:
    """A command line, and the place that refuses it."""

    place: str
    line: str


COMMANDS = (
    RefusedCommand("cli/arguments.py:error", "train"),
    RefusedCommand(
        "cli/catalogue.py:no_models", "models Qwen/Qwen2.5-72B-Instruct --fits --on cuda:24"
    ),
    RefusedCommand("cli/chat.py:config_of", "chat again.yaml"),
    RefusedCommand("cli/local_models.py:nothing_named", "models no/model --remove"),
    RefusedCommand("cli/local_models.py:verify", "models no/model --verify"),
    RefusedCommand("config/reading.py:read_file", "check nothing.yaml"),
    RefusedCommand("config/reading.py:fail", "check wrong.yaml"),
    RefusedCommand("converters/recognition.py:recognise", "import merge.yaml"),
    RefusedCommand("guide/pages.py:_unknown", "guide zzz"),
    RefusedCommand("launch/extend.py:_not_a_training", "runs extend done max_steps=4"),
    RefusedCommand("runs/folder.py:find", "runs show nothing"),
)
