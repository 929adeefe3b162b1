"""What a message may propose: commands that parse, settings that a config accepts, names."""

from __future__ import annotations

import ast
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from hint_texts import OPTION, PACKAGE, PLACEHOLDER, VARIABLE, commands, names, settings
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from swiftbox import engines
from swiftbox.cli.main import parse
from swiftbox.cli.parser import parser
from swiftbox.config.fields import literals_of
from swiftbox.config.groups import DatasetSource
from swiftbox.config.pipeline import StepPolicy
from swiftbox.config.presets import presets
from swiftbox.errors import UserError
from swiftbox.guide.pages import TOPICS
from swiftbox.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]

FOREIGN = frozenset({"--key", "WANDB_PROJECT", "py_compile", "megatron_core"})
"""Names of other tools that no code of ours reads."""

OPEN = re.compile(rf"{PLACEHOLDER}|\.\.\.|[A-Z]{{3,}}|目录|名称|运行")
"""A value that the reader fills in."""


def impossible(sentence: str, constants: frozenset[str]) -> list[str]:
    """Return what a text proposes that does not exist; `constants` are the texts of the code."""
    known, exported = constants | FOREIGN, re.findall(r"export (\w+)=", sentence)
    return [
        *(command for command in commands(sentence, verbs()) if not parses(command)),
        *(f"{key}: {value}" for key, value in settings(sentence) if not is_accepted(key, value)),
        *(name for name in names(sentence) if name not in fields() and name not in known),
        *(name for name in VARIABLE.findall(sentence) if name not in {*known, *exported}),
        *(name for name in OPTION.findall(sentence) if name not in options() | known),
        *(name for name in PACKAGE.findall(sentence) if not is_package(name, constants)),
    ]


@cache
def parses(command: str) -> bool:
    """Tell whether a command is complete and what it names exists."""
    verb, *arguments = shlex.split(command)[1:]
    if verb in (PLACEHOLDER, "--help"):
        return True
    if arguments == ["--help"]:
        return verb in verbs()
    try:
        options = parse([verb, *arguments])
    except (UserError, ValueError):
        return False
    chosen = {
        "guide": (getattr(options, "topic", None), TOPICS),
        "new": (getattr(options, "preset", None), presets()),
        "engines": (getattr(options, "name", None), engines.ENGINES),
    }
    name, known = chosen.get(options.verb, (None, ()))
    return name in (None, PLACEHOLDER) or name in known


@cache
def fields() -> dict[str, list[FieldInfo]]:
    """Return the fields of every task, of pipeline steps and of datasets by their key."""
    classes: list[type[BaseModel]] = [StepPolicy, DatasetSource]
    for task in TASKS.values():
        classes += task.config_classes.values()
    by_key: dict[str, list[FieldInfo]] = defaultdict(list)
    for config in classes:
        for key, field in config.model_fields.items():
            by_key[key].append(field)
    return dict(by_key)


@cache
def is_accepted(key: str, value: str) -> bool:
    """Tell whether some config takes the value; true for keys of other things than configs."""
    if key not in fields() or OPEN.search(value):
        return True
    if "_" not in key and not any(literals_of(field.annotation) for field in fields()[key]):
        return True  # an English word before a colon, more often than a key
    return any(_accepts(field, value) for field in fields()[key])


def _accepts(field: FieldInfo, value: str) -> bool:
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])
    for read in (value, yaml.safe_load(value)):
        try:
            adapter.validate_python(read)
        except ValidationError:
            continue
        return True
    return False


@cache
def verbs() -> frozenset[str]:
    """Return the verbs of the command line."""
    return frozenset(verb for action in parser()._actions for verb in action.choices or ())


@cache
def options() -> frozenset[str]:
    """Return every option of the command line."""
    return frozenset(_options_of([parser()]))


def _options_of(parsers: Iterable[Any]) -> Iterator[str]:
    for verb in parsers:
        for action in verb._actions:
            yield from action.option_strings
            if isinstance(action.choices, dict):
                yield from _options_of(action.choices.values())


def is_package(name: str, constants: frozenset[str]) -> bool:
    """Tell whether a package is ours, a dependency, or named in the code."""
    return name in constants | {PLACEHOLDER} or name in _dependencies()


@cache
def _dependencies() -> frozenset[str]:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    return frozenset(re.findall(r'"([\w.-]+)', project))


def constants_of(tree: ast.AST) -> Iterator[str]:
    """Yield every word of the texts in code; docstrings and messages are left out."""
    left_out = set[ast.AST]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) or getattr(getattr(node, "func", None), "id", "") == "text":
            left_out.update(ast.walk(node))
        elif node in left_out or not isinstance(node, ast.Constant):
            continue
        elif isinstance(node.value, str):
            yield from node.value.split()
