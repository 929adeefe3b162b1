"""Questions: what was typed meanwhile, and which choice is proposed."""

from __future__ import annotations

import os
import pty
import select as ready

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from swiftbox.menu.ask import forget_typed, select


def test_keys_typed_while_a_run_had_the_screen_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    front, back = pty.openpty()
    try:
        with os.fdopen(back, closefd=False) as terminal:
            monkeypatch.setattr("sys.stdin", terminal)
            os.write(front, b"q\r")
            assert ready.select([back], [], [], 5)[0]
            forget_typed()
            assert not ready.select([back], [], [], 0)[0]
    finally:
        os.close(front)
        os.close(back)


def test_a_choice_whose_value_is_nothing_is_not_proposed_for_that() -> None:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("\r")
        assert select("?", [("first", "first"), (None, "back")]) == "first"
