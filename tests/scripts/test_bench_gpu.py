"""scripts/bench gpu: what it records, that it says what did not run, and that its parts run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bench_gpu
import pytest
from gpu.figures import Figure, Recorder, median_error, read_figures, table
from gpu.models import SHAPES, linear_weights, training_flop
from gpu.parts import ELSEWHERE, PARTS
from gpu.settings import Settings
from gpu.train import Trainings
from gpu.training_jobs import TrainingJob, compared_jobs, job, our_jobs
from gpu.workers import Worker

from swiftbox.fit.shape import shape_of_config

ROOT = Path(__file__).parents[2]
WHILE_TIME_IS_LEFT = ("verbs", "keys", "shapes")


@pytest.mark.parametrize(
    ("value", "target", "verdict"),
    [
        (2.1, ">= 2", "ok"),
        (1.9, ">= 2", "MISSED"),
        (0.6, "<= 0.7", "ok"),
        (None, ">= 2", "MISSED"),
        (3, "", ""),
    ],
)
def test_a_figure_is_compared_with_its_target(
    value: float | None, target: str, verdict: str
) -> None:
    assert Figure("compare", "ratio", value, target=target).verdict == verdict


def test_a_part_that_is_killed_keeps_the_figures_it_has(tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    Recorder("checks", path).record("rate", 3.0, "rows/s", check=6)
    with path.open("a") as file:
        file.write('{"part": "checks", "na')
    assert read_figures(path) == [Figure("checks", "rate", 3.0, "rows/s", check=6)]


def test_the_table_marks_what_misses_its_target_and_why_a_figure_is_absent() -> None:
    lines = table(
        [Figure("a", "slow", 1.0, "x", target=">= 2"), Figure("a", "lost", None, note="no trl")]
    ).splitlines()
    assert lines[1].endswith(">= 2     MISSED")
    assert lines[2].endswith("-    no trl")


def test_the_median_error_is_relative_to_the_truth() -> None:
    assert median_error([(1.1, 1.0), (0.5, 1.0), (10.0, 10.0)]) == pytest.approx(0.1)
    assert median_error([]) is None


def test_the_shapes_have_the_published_numbers_of_parameters() -> None:
    published = {"0.6B": 0.596e9, "1.7B": 1.72e9, "4B": 4.02e9, "8B": 8.19e9}
    for size, parameters in published.items():
        shape = shape_of_config(dict(SHAPES[size]))
        assert shape is not None
        assert shape.params == pytest.approx(parameters, rel=0.01)


def test_the_work_of_a_training_is_four_or_six_per_weight_and_token() -> None:
    shape = SHAPES["8B"]
    weights = linear_weights(shape)
    assert weights == pytest.approx(6.95e9, rel=0.01)
    short = [8] * 4
    assert training_flop(shape, "lora", short, 0) == pytest.approx(4 * weights * 32, rel=1e-3)
    assert training_flop(shape, "full", short, 0) == pytest.approx(6 * weights * 32, rel=1e-3)
    head = training_flop(shape, "full", short, 32) - training_flop(shape, "full", short, 0)
    assert head == 6 * 32 * 151_936 * 4096


def test_every_device_check_is_answered_by_a_figure_or_a_named_test() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "scripts/gpu").glob("*.py"))
    recorded = {int(number) for number in re.findall(r"check=(\d+)", sources)}
    assert recorded | ELSEWHERE.keys() == set(bench_gpu.CHECKS)
    for answer in ELSEWHERE.values():
        for name in re.findall(r"tests/\S+\.py", answer):
            assert (ROOT / name).is_file(), name


def test_all_shapes_tuners_and_lengths_are_measured() -> None:
    jobs = [*compared_jobs(tiny=False), *our_jobs(tiny=False)]
    assert {training.size for training in jobs} == set(SHAPES)
    assert {training.tuner for training in jobs} == {"lora", "qlora", "full"}
    assert {training.kind for training in jobs} >= {"512", "2048", "8192", "chat"}
    assert len(set(jobs)) == len(jobs)


def test_without_an_accelerator_it_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    monkeypatch.setattr(bench_gpu, "has_accelerator", lambda: False)
    assert bench_gpu.run(argparse.Namespace(tiny=False)) == 2
    assert "no accelerator" in capsys.readouterr().err


@pytest.mark.slow
def test_parts_run_in_processes_and_leave_one_json(tmp_path: Path) -> None:
    command = [ROOT / "scripts/bench", "gpu", "--tiny", "--json", tmp_path / "out.json"]
    command += ["--folder", tmp_path, "--part", "machine", "--part", "attention"]
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert {name: part["outcome"] for name, part in result["parts"].items()} == {
        "machine": "ok",
        "attention": "ok",
    }
    assert result["versions"]["torch"]
    assert result["checks"]["8"]
    assert "varlen, relative error of gradients" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_the_parts_fit_into_the_eight_minutes() -> None:
    assert (
        sum(part.limit_s for name, part in PARTS.items() if name not in WHILE_TIME_IS_LEFT)
        <= 8 * 60
    )


# ---- the comparison with TRL


class Answers:
    """Stands for the process of a side: answers with the next of its rates."""

    def __init__(self, side: str, log: list[str], rates: list[float]) -> None:
        self.side, self.log, self.rates = side, log, rates

    def answer(self, job: TrainingJob) -> dict[str, Any]:
        """Return a training whose peak is a byte for each row in a second."""
        self.log.append(f"{self.side}{' again' if job.settled else ''}")
        rate = self.rates.pop(0)
        settings = {"gradient_checkpointing": False}
        tried = [{"settled": settings, "rows_per_s": rate, "peak_bytes": 100}]
        tried += [{"settled": settings, "rows_per_s": 0.96 * rate, "peak_bytes": 50}]
        tried += [{"settled": settings, "rows_per_s": 0.5 * rate, "peak_bytes": 10}]
        return {"rows_per_s": rate, "peak_bytes": 100, "settled": settings, "tried": tried}


def test_the_sides_take_turns_and_peaks_are_compared_with_those_of_fast_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, log = Recorder("compare", tmp_path / "part.jsonl"), []
    trainings = Trainings(recorder, Settings(tmp_path, True, time.time() + 600))
    monkeypatch.setattr(trainings, "ours", Answers("ours", log, [4.0, 8.0]))
    monkeypatch.setattr(trainings, "trl", Answers("trl", log, [1.0, 2.0]))
    monkeypatch.setattr(trainings, "run_ours", trainings.ours.answer)
    trainings.compare(job("1.7B", "lora", "1024", stage="dpo", tiny=True))
    assert log == ["ours", "trl", "trl again", "ours"]
    values = {figure.name.split(": ")[1]: figure.value for figure in read_figures(recorder.path)}
    assert values["ours / TRL, rows/s"] == pytest.approx(4.0)
    assert values["ours / TRL, peak, fastest"] == pytest.approx(1.0)
    assert values["ours / TRL, peak, smallest within 5 %"] == pytest.approx(2.0)


# ---- the processes that train


ANSWERS = """
import json, sys
for line in sys.stdin:
    if json.loads(line)["stage"] == "dpo":
        raise SystemExit(7)
    print(json.dumps({"side": sys.argv[1], "rows": json.loads(line)["rows"]}), flush=True)
"""
SILENT = "import sys; sys.stdin.read()"


def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, seconds: float) -> Worker:
    program = tmp_path / "worker.py"
    program.write_text(code)
    monkeypatch.setattr("gpu.workers.WORKER", program)
    return Worker("ours", Settings(tmp_path, True, time.time() + seconds), {})


def test_a_process_that_dies_is_an_error_of_its_job_and_the_next_job_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = worker(tmp_path, monkeypatch, ANSWERS, 600)
    try:
        assert ours.answer(job("8B", "lora", "512"))["rows"] == 64
        assert "ended with 7" in ours.answer(job("8B", "lora", "512", stage="dpo"))["error"]
        assert ours.answer(job("8B", "lora", "8192"))["rows"] == 4
    finally:
        ours.close()


def test_a_job_that_takes_longer_than_its_part_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = worker(tmp_path, monkeypatch, SILENT, 0.2)
    assert "time of this part was over" in ours.answer(job("8B", "lora", "512"))["error"]
    assert ours.process is None
