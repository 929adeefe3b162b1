"""An evaluation as a run: one server for base and adapter, answers kept, a death reported."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import fake_evalscope
import pytest
from adapters import make_adapter
from box import HANG_S, events, gone, started, state, until
from in_process import box

from swiftbox.config.presets import presets

PRESET = str(presets()["evaluate"])

pytestmark = pytest.mark.slow


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    return make_adapter(tiny, tmp_path / "mine" / "model").rename(tmp_path / "mine" / "tuned")


@pytest.fixture
def arguments(tiny: Path, adapter: Path, tmp_path: Path) -> tuple[str, ...]:
    """The command of an evaluation of two models on two questions of each subject."""
    fake_evalscope.install(Path(os.environ["SWIFTBOX_HOME"]))
    settings = (f"model={tiny}", f"adapter={adapter}", "benchmarks=sample_ceval", "limit=2")
    more = ("max_tokens=4", f"output_dir={tmp_path / 'out'}", "dtype=float32")
    return ("run", PRESET, *settings, *more, "--plain")


def test_a_server_that_dies_is_reported_during_a_request_and_a_resume_completes_the_report(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = tmp_path / "hold"
    monkeypatch.setenv("FAKE_HOLD", str(hold))
    hold.touch()
    out = tmp_path / "out"
    with started(*arguments, cwd=tmp_path) as process:
        until(lambda: list((out / "asked").rglob("ceval_*.jsonl")), what="an answer")
        (server,) = (out / "servers").iterdir()
        os.kill(state(server)["pid"], signal.SIGKILL)
        output, _ = process.communicate(timeout=HANG_S)
        assert hold.exists()  # so the tool is still asking the server for an answer
    assert process.returncode == 1
    assert (
        "the server ended during the evaluation of qwen3/sample_ceval, tuned/sample_ceval" in output
    )
    assert "runs resume" in output
    hold.unlink()
    before = first_answer(out)
    done = box("runs", "resume", str(out), "--plain", cwd=tmp_path, steps_in_children=True)
    assert first_answer(out) == before
    check_report(out, done.stderr)
    assert gone(state(server)["pid"])
    again = box("runs", "resume", str(out), cwd=tmp_path, code=2)
    assert "is complete" in again.stderr


def check_report(out: Path, output: str) -> None:
    """Check that base and tuned share a server and a table."""
    assert [event["candidate"] for event in events(out, "scored")] == ["qwen3", "tuned"]
    assert len(list((out / "servers").iterdir())) == 1
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert [score["count"] for score in report["scores"]] == [12, 12]
    assert report["differences"][0]["candidate"] == "tuned"
    assert report["benchmarks"][0]["few_shot"] == 5
    assert not any("report says" in remark for remark in report["remarks"])
    lines = output.splitlines()
    table = lines[next(n for n, line in enumerate(lines) if "against qwen3" in line) :]
    assert re.search(r"tuned +\d+\.\d % +[\d.]+-[\d.]+ +[+-]\d", table[2])
    assert "not C-Eval" in output
    assert "<svg" in (out / "report.html").read_text("utf-8")


def first_answer(out: Path) -> str:
    """Return the first recorded answer of the base."""
    (predictions,) = (out / "asked" / "qwen3").rglob("predictions/*/ceval_computer_network.jsonl")
    return predictions.read_text("utf-8").splitlines()[0]
