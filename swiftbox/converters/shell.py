"""Read the training command of a shell script without running anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from swiftbox.converters.rows import ForeignSetting

COMPUTED = re.compile(r"\$[({A-Za-z_]|`")
"""Values that only a shell can compute."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SUM = re.compile(r"\$\(\(?\s*(?:expr\s+)?(\d+)\s*\\?([-+*/%])\s*(\d+)\s*\)?\)")
_NAMED = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}|\$(\w+)")


@dataclass(frozen=True)
class Word:
    """A word of a command and the line it starts on."""

    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """The training command of a script: its tool and its settings."""

    tool: str
    shown: str
    entries: tuple[ForeignSetting, ...]
    files: tuple[str, ...]
    """Positional arguments: a config that the command reads."""


def training_command(script: str) -> Command | None:
    """Return the first known training command of a script; None if there is none."""
    for invocation in invocations(script):
        rest = list(invocation.command)
        program = _program(rest)
        if program is None:
            continue
        tool, shown, after = program
        before = [_assigned(token) for token in invocation.assigned]
        launcher = rest[: after - 1]
        if any(token.text.startswith("--") for token in launcher):
            shown_words = " ".join(token.text for token in launcher)
            before.append(ForeignSetting("launcher", shown_words, launcher[0].line))
        options, files = options_of(rest[after:])
        if shown:
            before.append(ForeignSetting("command", shown, rest[0].line))
        return Command(tool, shown or tool, (*before, *options), tuple(files))
    return None


@dataclass(frozen=True)
class Invocation:
    """A command with the variables that are set for it alone."""

    assigned: tuple[Word, ...]
    command: tuple[Word, ...]


def invocations(script: str) -> Iterator[Invocation]:
    """Yield the commands of a script; expand variables that earlier lines have set."""
    variables: dict[str, str] = {}
    for tokens in commands(script, variables):
        count = 0
        while count < len(tokens) and _ASSIGNMENT.match(tokens[count].text):
            count += 1
        assigned, rest = tokens[:count], tokens[count:]
        if rest and rest[0].text != "export":
            yield Invocation(tuple(assigned), tuple(rest))
            continue
        named = (token for token in tokens if _ASSIGNMENT.match(token.text))
        variables.update(token.text.partition("=")[::2] for token in named)


def commands(script: str, variables: dict[str, str]) -> Iterator[list[Word]]:
    """Yield the commands of a script as words, with known `variables` expanded."""
    tokens: list[Word] = []
    for content, line in _tokens(script):
        if content is None:
            if tokens:
                yield [Word(_expand(word.text, variables), word.line) for word in tokens]
            tokens = []
        else:
            tokens.append(Word(content, line))
    if tokens:
        yield [Word(_expand(word.text, variables), word.line) for word in tokens]


_PIECE = re.compile(
    r"(?P<join>\\\r?\n)"
    r"|(?P<end>\r?\n|;|&&?|\|\|?)"
    r"|(?P<space>[ \t]+)"
    r"|(?P<plain>'[^']*')"
    r"|\"(?P<quoted>(?:\\.|[^\"\\])*)\""
    r"|(?P<made>\$\((?:[^()]|\([^()]*\))*\)|\$\{[^}]*\}|`[^`]*`)"
    r"|\\(?P<escaped>.)"
    r"|(?P<other>.)",
    re.DOTALL,
)

_LITERAL = "\0"
"""Stands for a dollar sign in single quotes until variables are expanded."""


def _tokens(script: str) -> Iterator[tuple[str | None, int]]:
    """Yield words with their lines, and None at the end of each command."""
    word: str | None = None
    began = line = 1
    position = 0
    while position < len(script):
        if script[position] == "#" and word is None:
            end = script.find("\n", position)
            position = len(script) if end < 0 else end
            continue
        piece = _PIECE.match(script, position)
        if piece is None:
            return
        position = piece.end()
        if piece.lastgroup in ("join", "end", "space"):
            if word is not None:
                yield word, began
                word = None
            if piece.lastgroup == "end":
                yield None, line
        else:
            began = line if word is None else began
            word = (word or "") + _content(piece)
        line += piece.group().count("\n")
    if word is not None:
        yield word, began


def _content(piece: re.Match[str]) -> str:
    if piece["plain"] is not None:
        return piece["plain"][1:-1].replace("$", _LITERAL)
    if piece["quoted"] is not None:
        return re.sub(r"\\(.)", r"\1", piece["quoted"].replace("\\\n", "").replace("\\$", _LITERAL))
    if piece["escaped"] is not None:
        return piece["escaped"].replace("$", _LITERAL)
    return piece.group()


def _expand(word: str, variables: dict[str, str]) -> str:
    """Expand known variables, and compute sums of two whole numbers."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return variables.get(name, match[2] if match[2] is not None else match.group())

    filled = _SUM.sub(_sum, _NAMED.sub(value, word))
    return filled.replace(_LITERAL, "$")


def _sum(match: re.Match[str]) -> str:
    left, sign, right = int(match[1]), match[2], int(match[3])
    if sign in "/%" and right == 0:
        return match.group()
    results = {"+": left + right, "-": left - right, "*": left * right}
    return str(results[sign] if sign in results else {"/": left // right, "%": left % right}[sign])


def _program(tokens: list[Word]) -> tuple[str, str, int] | None:
    """Return the tool of a training command, its name, and the index of its first argument."""
    for index, word in enumerate(tokens):
        name = PurePosixPath(word.text).name
        following = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if name == "swift" and following in ("sft", "pt", "rlhf"):
            return "ms-swift", f"swift {following}", index + 2
        if name == "megatron" and following in ("sft", "pt", "rlhf"):
            return "megatron-swift", f"megatron {following}", index + 2
        if name in ("sft.py", "pt.py", "rlhf.py") and "swift" in word.text:
            return "ms-swift", f"swift {name.removesuffix('.py')}", index + 1
        if name in ("llamafactory-cli", "lmf") and following in ("train", "sft", "dpo"):
            tool = "llamafactory" if following == "train" else "llamafactory-v1"
            return tool, "", index + 2
        if name == "train_bash.py" or word.text == "src/train.py":
            return "llamafactory", "", index + 1
        if name == "axolotl" and following == "train":
            return "axolotl", "", index + 2
        if word.text == "axolotl.cli.train":
            return "axolotl", "", index + 1
    return None


def options_of(tokens: list[Word]) -> tuple[list[ForeignSetting], list[str]]:
    """Read `--key value ...`: several values are a list, no value means true."""
    options: list[ForeignSetting] = []
    files: list[str] = []
    index = 0
    while index < len(tokens):
        word = tokens[index]
        index += 1
        if not word.text.startswith("--"):
            files.append(word.text)
            continue
        key, mark, inline = word.text.removeprefix("--").partition("=")
        values = [inline] if mark else []
        while index < len(tokens) and not tokens[index].text.startswith("--"):
            values.append(tokens[index].text)
            index += 1
        items: Any = [typed(plain) for plain in values]
        value = items if len(items) > 1 else items[0] if items else True
        options.append(ForeignSetting(key.replace("-", "_"), value, word.line))
    return options, files


def _assigned(word: Word) -> ForeignSetting:
    key, _, value = word.text.partition("=")
    return ForeignSetting(key, typed(value), word.line)


def typed(plain: str) -> Any:
    """Read a number, a boolean or JSON from a word; return every other word unchanged."""
    try:
        value = yaml.safe_load(plain)
    except yaml.YAMLError:
        return plain
    is_number = isinstance(value, (bool, int, float)) or value is None
    nested = isinstance(value, (dict, list)) and plain.lstrip()[:1] in ("{", "[")
    return value if is_number or nested else plain
