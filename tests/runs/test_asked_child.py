"""A child process is asked once; what is not an answer is neither kept nor taken for one."""

from __future__ import annotations

import pytest

from swiftbox.runs import asked_child
from swiftbox.runs.asked_child import ChildQuestion

QUESTION = ChildQuestion("made.up", ["folder"], "made-up", {"key": 1}, purpose="asking")


def test_an_answer_is_the_last_line_and_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = "import json, sys; print('a warning'); print(json.dumps({'to': sys.argv[1:]}))"
    monkeypatch.setattr(asked_child, "PROGRAM", echo)
    assert QUESTION.answer(ask=False) is None
    assert QUESTION.answer() == {"to": ["made.up", "folder"]}
    monkeypatch.setattr(asked_child, "PROGRAM", "raise SystemExit('asked again')")
    assert QUESTION.answer() == {"to": ["made.up", "folder"]}


@pytest.mark.parametrize("package", ["swiftbox", "transformers"])
def test_another_version_of_a_package_is_asked_again(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_child, "PROGRAM", "print('{}')")
    assert QUESTION.answer() == {}
    assert QUESTION.answer(ask=False) == {}
    version_of = asked_child.version_of
    monkeypatch.setattr(
        asked_child, "version_of", lambda name: "0" if name == package else version_of(name)
    )
    assert QUESTION.answer(ask=False) is None


@pytest.mark.parametrize("program", ["", "print('{} and more')", "print('[1]')"])
def test_what_is_not_an_answer_is_not_kept(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_child, "PROGRAM", program)
    assert QUESTION.answer() is None
    assert not list(asked_child.cache_home().glob("made-up/*"))
