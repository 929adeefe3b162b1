"""An error that nobody expected: a message with its place, the traceback in a file, exit code 1."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swiftbox.cli.main import main
from swiftbox.cli.output import FAILED, WRONG
from swiftbox.config import reading


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the reading of a YAML fail as a bug would."""

    def fail(*_: object) -> bytes:
        raise TypeError("unhashable type: 'list'")

    monkeypatch.setattr(reading, "read_regular", fail)


@pytest.mark.usefixtures("defect")
def test_its_message_names_the_place_and_the_file_of_the_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "a.yaml"]) == FAILED
    error, hint = capsys.readouterr().err.splitlines()
    place = r"swiftbox/config/reading\.py:\d+"
    assert re.fullmatch(rf"error: unexpected TypeError in {place}: unhashable.*", error)
    file = Path(hint.rpartition(" ")[2])
    assert "Traceback (most recent call last)" in file.read_text("utf-8")
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("defect")
def test_it_is_json_where_json_is_requested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "a.yaml", "--json"]) == FAILED
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert "unexpected TypeError" in answer["error"]


@pytest.mark.usefixtures("defect")
def test_without_a_state_folder_its_traceback_is_in_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "file" / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["check", "a.yaml"]) == FAILED
    assert str(tmp_path / "swiftbox-") in capsys.readouterr().err


def test_a_full_memory_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(reading, "read_regular", fail)
    assert main(["check", "a.yaml"]) == WRONG
    assert "the main memory is full" in capsys.readouterr().err
