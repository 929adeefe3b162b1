"""The progress of a download: bytes, speed and time left at intervals, shown in both views."""

from __future__ import annotations

import io
from typing import Any

import pytest

from swiftbox.display.download import progress_line
from swiftbox.display.live import View
from swiftbox.hub.listing import RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import TransferError, error_of_status, retry
from swiftbox.security.secrets import hide_secrets


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def metered(clock: Clock) -> tuple[Meter, list[dict[str, Any]]]:
    reported: list[dict[str, Any]] = []
    meter = Meter("o/n", "model", lambda _, **fields: reported.append(fields), clock)
    files = [RemoteFile("a", 1000), RemoteFile("b", 1000)]
    meter.begin(files, files[1:])
    return meter, reported


def test_speed_counts_received_bytes_only() -> None:
    clock = Clock()
    meter, reported = metered(clock)
    meter.open("b", 500)
    for _ in range(4):
        clock.now += 1
        meter.add("b", 100)
    last = reported[-1]
    assert (last["bytes"], last["total_bytes"], last["bytes_per_s"]) == (1900, 2000, 100)
    assert last["eta_s"] == 1.0
    assert last["files"] == [{"path": "b", "bytes": 900, "size": 1000}]


def test_discarded_bytes_are_subtracted() -> None:
    clock = Clock()
    meter, reported = metered(clock)
    meter.open("b", 0)
    meter.add("b", 800)
    clock.now += 1
    meter.add("b", -800)
    assert reported[-1]["bytes"] == 1000
    assert meter.fetched == 800


def test_progress_is_reported_at_most_twice_a_second_and_rarely_after_hours() -> None:
    clock = Clock()
    meter, reported = metered(clock)
    meter.open("b", 0)
    for _ in range(1000):
        clock.now += 0.001
        meter.add("b", 1)
    assert len(reported) <= 3
    clock.now += 7200
    meter.add("b", 0)
    before = len(reported)
    for _ in range(9):
        clock.now += 1
        meter.add("b", 0)
    assert len(reported) == before


def test_the_last_event_reports_completion() -> None:
    clock = Clock()
    meter, reported = metered(clock)
    meter.open("b", 0)
    meter.add("b", 1000)
    meter.close("b", complete=True)
    assert (reported[-1]["bytes"], reported[-1]["files_done"]) == (2000, 2)


PROGRESS = {
    "event": "progress",
    "what": "o/n",
    "kind": "model",
    "bytes": 1_500_000_000,
    "total_bytes": 3_000_000_000,
    "bytes_per_s": 50_000_000,
    "eta_s": 30.0,
    "files_done": 1,
    "files_total": 3,
    "files": [{"path": "model-00002-of-00003.safetensors", "bytes": 5, "size": 10}],
}
HEAD = "o/n  50% 1.4 GiB/2.8 GiB  1/3 files  47.7 MiB/s  0:30 left"


def test_the_plain_view_writes_occasional_lines() -> None:
    stream = io.StringIO()
    with View("download", plain=True, stream=stream) as view:
        for _ in range(10):
            view.event(PROGRESS)
    assert stream.getvalue() == f"  {HEAD}\n"
    assert progress_line(PROGRESS) == f"  {HEAD}"


def test_the_live_view_shows_a_bar_for_the_whole_and_for_each_file() -> None:
    from rich.console import Console

    view = View("download", plain=True, stream=io.StringIO())
    view.event({"event": "stage", "name": "fetch", "detail": "o/n"})
    view.event(PROGRESS)
    console = Console(file=io.StringIO(), width=80)
    console.print(view.panel(80))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith(HEAD)
    assert lines[1].count("#") == lines[1].count(".")
    assert lines[2].startswith("model-00002-of-00003.safetensors")
    view.event({"event": "stage", "name": "model"})
    assert "loading the model" in view.panel(80).plain


# ---- trying again


def test_pauses_grow_and_end() -> None:
    pauses: list[float] = []

    def fail() -> None:
        raise TransferError("passing", "x")

    with pytest.raises(TransferError, match="x"):
        retry(fail, bytes_done=lambda: 0, on_pause=lambda *_: None, sleep=pauses.append)
    assert pauses == [1.0, 2.0, 4.0]


def test_a_transfer_that_progresses_is_not_given_up() -> None:
    done, left = [0], [20]

    def act() -> str:
        done[0] += 1
        left[0] -= 1
        if left[0]:
            raise TransferError("passing", "cut")
        return "whole"

    result = retry(act, bytes_done=lambda: done[0], on_pause=lambda *_: None, sleep=lambda _: None)
    assert result == "whole"


def test_a_permanent_error_is_not_retried() -> None:
    tries: list[int] = []
    for status in (401, 403, 404):

        def act(status: int = status) -> None:
            tries.append(status)
            raise error_of_status(status, "no")

        with pytest.raises(TransferError):
            retry(act, bytes_done=lambda: 0, on_pause=lambda *_: None, sleep=lambda _: None)
    assert tries == [401, 403, 404]


def test_retry_after_is_honoured() -> None:
    pauses: list[float] = []
    answers = [error_of_status(429, "busy", 7.0), None]

    def act() -> None:
        if trouble := answers.pop(0):
            raise trouble

    retry(act, bytes_done=lambda: 0, on_pause=lambda *_: None, sleep=pauses.append)
    assert pauses == [7.0]


def test_messages_contain_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert hide_secrets("Bearer hf_secret refused") == "Bearer $HF_TOKEN refused"
