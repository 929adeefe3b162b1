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


@pytest.mark.parametrize("program", ["", "print('{} and more')", "print('[1]')"])
def test_what_is_not_an_answer_is_not_kept(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_child, "PROGRAM", program)
    assert QUESTION.answer() is None
    assert not list(asked_child.cache_home().glob("made-up/*"))
