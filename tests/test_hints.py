"""What messages propose exists: every command parses, every key is known, every value possible.

The hints of refusals are tried too (test_hints_tried.py), but for those with a reason.
"""

from __future__ import annotations

import ast

import pytest
from hint_texts import Message, commands, messages, names
from house_laws import PACKAGE, python_files
from proposals import constants_of, impossible, verbs
from refused.commands import COMMANDS
from refused.reasons import REASONS
from refused.settings import CASES
from refused.sites import Module, hints, proposes

Messages = list[tuple[str, Message]]


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Every file of the package, parsed, by its path in the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in python_files()
    }


@pytest.fixture(scope="module")
def package_texts(trees: dict[str, ast.Module]) -> tuple[Messages, frozenset[str]]:
    """Every message of the package with its file, and every word of the other texts."""
    texts = [(name, message) for name, tree in trees.items() for message in messages(tree)]
    return texts, frozenset(word for tree in trees.values() for word in constants_of(tree))


def test_every_hint_that_proposes_something_is_tried_or_has_a_reason(
    trees: dict[str, ast.Module],
) -> None:
    proposing = {
        place
        for name, tree in trees.items()
        for place, texts in hints(Module.of(name, tree)).items()
        if any(map(proposes, texts))
    }
    tried = {case.place for case in (*CASES, *COMMANDS)}
    assert proposing - tried - set(REASONS) == set(), "give it a case, or a reason"
    assert set(REASONS) - proposing == set()
    assert set(REASONS) & tried == set()


def test_every_proposal_of_a_message_exists(
    package_texts: tuple[Messages, frozenset[str]],
) -> None:
    texts, constants = package_texts
    wrong = [
        f"{file}:{message.line}: {proposal} | {sentence}"
        for file, message in texts
        for sentence in message.languages
        for proposal in impossible(sentence, constants)
    ]
    assert not wrong, "\n".join(wrong)


def test_both_languages_propose_the_same(package_texts: tuple[Messages, frozenset[str]]) -> None:
    wrong = [
        f"{file}:{message.line}: {difference} | {message.en} | {message.zh}"
        for file, message in package_texts[0]
        if message.zh and (difference := proposed(message.en) ^ proposed(message.zh))
    ]
    assert not wrong, "\n".join(wrong)


def proposed(sentence: str) -> set[str]:
    """Return the commands and names in a text."""
    return {*commands(sentence, verbs()), *names(sentence)}


@pytest.mark.parametrize(
    "sentence",
    [
        "start it with `swiftbox go FILE`",
        "first run swiftbox runs resume --again, then wait",
        "see `swiftbox guide nowhere`",
        "`swiftbox new nothing -o a.yaml`",
        "`swiftbox engines install nothing`",
        "set optim: fastest",
        "set max_lenght=64",
        "use a smaller micro_batch",
        "add --agree",
        "export a token: SWIFTBOX_TOKENS",
        "pip install a-package-that-nobody-needs",
        "请设 engine: none",
    ],
)
def test_a_proposal_that_does_not_exist_is_noticed(sentence: str) -> None:
    assert impossible(sentence, frozenset())


@pytest.mark.parametrize(
    "sentence",
    [
        "start it with `swiftbox run FILE`, or set distributed: ddp",
        "swiftbox engines install vllm, or set engine: builtin",
        "请先 `swiftbox engines remove gptq`，再设 bits=4",
        "max_length: 5 is not even",
        "set compare: {a: ..., b: ...}",
        "swiftbox keeps its files there",
        "export MY_TOKEN=... and set api_key_env: MY_TOKEN",
    ],
)
def test_a_proposal_that_exists_is_accepted(sentence: str) -> None:
    assert impossible(sentence, frozenset()) == []


def test_the_variants_of_a_message_are_read() -> None:
    source = "text(f'set {key}: {1 if a else 2}', '设 ' + ('x' if a else 'y'))"
    assert [message.languages for message in messages(ast.parse(source))] == [
        ("set X: 1", "设 x"),
        ("set X: 2", "设 y"),
    ]
