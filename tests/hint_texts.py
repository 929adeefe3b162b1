"""Read what messages propose: the texts of the source, and the commands and settings in them."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

PLACEHOLDER = "X"
"""Stands for what a text takes from a variable."""

END = r"`;(,，；。、（）：\n"
COMMAND = re.compile(rf"((?:^|[:(：（])\s?)?(swiftbox ([a-z]+)(?: [^{END}]*)?)")
"""A command that is not in backquotes, up to the punctuation behind it, and its verb.

The first group matches where a sentence cannot begin: there it is a command whatever the verb.
"""

PROSE = re.compile(r" (?:or|and|as|if|writes|shows|lists|prints|runs a)\b.*|\)? [^\x00-\x7f].*|\)$")
"""What follows such a command in its sentence."""

MAPPING = r"\{[^}]*\}?|\[[^\]]*\]?"
SETTING = re.compile(
    rf"(?<![\w./$<-])([a-z][a-z_]*)(?:: |=)(?![a-z_]+: )({MAPPING}|[^\s,;()|，；。（）、：`]+)",
    re.ASCII,
)
"""A key with a value, as YAML or as an override."""

SUBJECT = re.compile(r"[a-z][a-z_]*(?:: |：)")
"""The key at the start of a message that says what is wrong with it."""

NAME = re.compile(r"(?<![\w./{$<%-])[a-z]+[0-9]?(?:_[a-z0-9]+)+(?![\w(/-]|\.\w)", re.ASCII)
VARIABLE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b", re.ASCII)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*", re.ASCII)
PACKAGE = re.compile(r"pip install (?:-U )?'?([\w.-]+)")


@dataclass(frozen=True)
class Message:
    """A text of the source in both languages; the Chinese is empty where one text serves both."""

    line: int
    en: str
    zh: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        """The texts that there are."""
        return (self.en, self.zh) if self.zh else (self.en,)


def messages(tree: ast.AST) -> Iterator[Message]:
    """Yield every text(en, zh) and every other hint that is a literal, in all their variants."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "id", "") == "text" and len(node.args) == 2:
            english, chinese = (variants(argument) for argument in node.args)
            for en, zh in itertools.zip_longest(english, chinese, fillvalue=""):
                yield Message(node.lineno, en, zh)
        for keyword in node.keywords:
            if keyword.arg == "hint" and isinstance(keyword.value, (ast.JoinedStr, ast.Constant)):
                for sentence in variants(keyword.value):
                    yield Message(keyword.value.lineno, sentence)


def variants(node: ast.expr) -> list[str]:
    """Return the texts that an expression can be; a variable is a placeholder."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return [*variants(node.body), *variants(node.orelse)]
    if isinstance(node, ast.JoinedStr):
        parts = [variants(part) for part in node.values]
        return ["".join(choice) for choice in itertools.product(*parts)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in variants(node.left) for b in variants(node.right)]
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.IfExp):
        return variants(node.value)
    return [PLACEHOLDER]


def commands(sentence: str, verbs: Collection[str]) -> list[str]:
    """Return the swiftbox commands of a text: in backquotes, or with a known verb."""
    quoted = [span for span in re.findall(r"`([^`]*)`", sentence) if span.startswith("swiftbox ")]
    outside = COMMAND.findall(re.sub(r"`[^`]*`", "", sentence))
    others = [line for place, line, verb in outside if place or verb in verbs]
    return [*quoted, *(PROSE.sub("", line).strip() for line in others)]


def settings(sentence: str) -> list[tuple[str, str]]:
    """Return the keys with a value that a text names, the subject of a message left out."""
    subject = SUBJECT.match(sentence)
    rest = sentence[subject.end() :] if subject else sentence
    return [(key, re.sub(r"(?<!\.)\.$", "", value)) for key, value in SETTING.findall(rest)]


def names(sentence: str) -> list[str]:
    """Return the words of a text that are spelled like settings."""
    return NAME.findall(sentence)
