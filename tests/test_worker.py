"""The child of a run reports how it ended: in the record for programs, in the log for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftbox import worker
from swiftbox.errors import UserError
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder


@pytest.mark.parametrize(
    ("language", "labels"), [("en", ("error: ", "hint: ")), ("zh", ("错误：", "建议："))]
)
def test_a_refused_run_logs_its_error_in_the_language_of_the_user(
    language: str,
    labels: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    settings = f"version: 1\ntask: merge\nadapter: {tmp_path / 'none'}\n"
    (tmp_path / run_folder.SETTLED).write_text(settings, encoding="utf-8")
    assert worker.run_task(tmp_path) == 2
    failed = run_folder.read_events(tmp_path)[0][-1]
    assert failed["event"] == events.FAILED
    error, hint = labels
    assert capsys.readouterr().err == f"{error}{failed['message']}\n{hint}{failed['hint']}\n"


def test_an_error_without_a_hint_is_logged_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_path: Path) -> None:
        raise UserError("no")

    monkeypatch.setattr(worker, "load", refuse)
    assert worker.run_task(tmp_path) == 2
    assert capsys.readouterr().err == "error: no\n"
