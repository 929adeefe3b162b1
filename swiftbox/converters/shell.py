"""Read the training command of a shell script, without running anything of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from swiftbox.converters.row import Written

COMPUTED = re.compile(r"\$[({A-Za-z_]|`")
"""What only a shell can tell."""

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
    """The training command of a script: whose it is, and the settings it gives."""

    tool: str
    shown: str
    entries: tuple[Written, ...]
    files: tuple[str, ...]
    """Arguments that are no options: a config that the command reads."""


def training_command(script: str) -> Command | None:
    """Return the first training command of a script; None when it has none that is known."""
    variables: dict[str, str] = {}
    for words in commands(script, variables):
        count = 0
        while count < len(words) and _ASSIGNMENT.match(words[count].text):
            count += 1
        assigned, rest = words[:count], words[count:]
        if not rest or rest[0].text == "export":
            named = (one for one in words if _ASSIGNMENT.match(one.text))
            variables.update(one.text.partition("=")[::2] for one in named)
            continue
        found = _program(rest)
        if found is None:
            continue
        tool, shown, after = found
        before = [_assigned(one) for one in assigned]
        options, files = _options(rest[after:])
        if shown:
            before.append(Written("command", shown, rest[0].line))
        return Command(tool, shown or tool, (*before, *options), tuple(files))
    return None


def commands(script: str, variables: dict[str, str]) -> Iterator[list[Word]]:
    """Yield the commands of a script as words; `variables` are put in where they are known."""
    words: list[Word] = []
    for token, line in _tokens(script):
        if token is None:
            if words:
                yield [Word(_filled(one.text, variables), one.line) for one in words]
            words = []
        else:
            words.append(Word(token, line))
    if words:
        yield [Word(_filled(one.text, variables), one.line) for one in words]


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
"""Stands for a dollar sign in single quotes until variables have been put in."""


def _tokens(script: str) -> Iterator[tuple[str | None, int]]:
    """Yield words with their lines, and None where a command ends."""
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


def _filled(word: str, variables: dict[str, str]) -> str:
    """Put in the variables that are known and work out sums of two whole numbers."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        return variables.get(name, found[2] if found[2] is not None else found.group())

    filled = _SUM.sub(_sum, _NAMED.sub(value, word))
    return filled.replace(_LITERAL, "$")


def _sum(found: re.Match[str]) -> str:
    left, sign, right = int(found[1]), found[2], int(found[3])
    if sign in "/%" and right == 0:
        return found.group()
    results = {"+": left + right, "-": left - right, "*": left * right}
    return str(results[sign] if sign in results else {"/": left // right, "%": left % right}[sign])


def _program(words: list[Word]) -> tuple[str, str, int] | None:
    """Tell whose training command it is, its name, and where its arguments begin."""
    for index, word in enumerate(words):
        name = PurePosixPath(word.text).name
        following = words[index + 1].text if index + 1 < len(words) else ""
        if name == "swift" and following in ("sft", "pt", "rlhf"):
            return "ms-swift", f"swift {following}", index + 2
        if name in ("sft.py", "pt.py", "rlhf.py") and "swift" in word.text:
            return "ms-swift", f"swift {name.removesuffix('.py')}", index + 1
        if name in ("llamafactory-cli", "lmf") and following == "train":
            return "llamafactory", "", index + 2
        if name == "train_bash.py" or word.text == "src/train.py":
            return "llamafactory", "", index + 1
        if name == "axolotl" and following == "train":
            return "axolotl", "", index + 2
        if word.text == "axolotl.cli.train":
            return "axolotl", "", index + 1
    return None


def _options(words: list[Word]) -> tuple[list[Written], list[str]]:
    """Read `--key value ...`: several values are a list, none is true."""
    found: list[Written] = []
    files: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.text.startswith("--"):
            files.append(word.text)
            continue
        key, mark, inline = word.text.removeprefix("--").partition("=")
        values = [inline] if mark else []
        while index < len(words) and not words[index].text.startswith("--"):
            values.append(words[index].text)
            index += 1
        given: Any = [typed(one) for one in values]
        value = given if len(given) > 1 else given[0] if given else True
        found.append(Written(key.replace("-", "_"), value, word.line))
    return found, files


def _assigned(word: Word) -> Written:
    key, _, value = word.text.partition("=")
    return Written(key, typed(value), word.line)


def typed(plain: str) -> Any:
    """Read a number, a boolean or JSON out of a word; leave every other word as it is."""
    try:
        value = yaml.safe_load(plain)
    except yaml.YAMLError:
        return plain
    made = isinstance(value, (bool, int, float)) or value is None
    nested = isinstance(value, (dict, list)) and plain.lstrip()[:1] in ("{", "[")
    return value if made or nested else plain
