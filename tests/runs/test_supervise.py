"""A run is stopped, or its processes die: nothing is left behind, and the cause is reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from box import HANG_S, box, events, gone, last_step, started, state, until
from in_process import box as box_here
from tiny import write_chats, write_config

from swiftbox.display.live import SECONDS_BETWEEN_LINES
from swiftbox.runs.folder import read_events
from swiftbox.runs.supervise import Child, supervise

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "end", ["sys.exit(130)", "os.kill(os.getpid(), 15)", "os.kill(os.getpid(), 2)"]
)
def test_a_child_stopped_before_it_could_record_that_is_stopped_and_not_failed(
    end: str, tmp_path: Path
) -> None:
    script = f"import os, signal, sys; signal.signal(2, signal.SIG_DFL); {end}"
    code = supervise(tmp_path, Child([sys.executable, "-c", script], {}))
    assert code == state(tmp_path)["exit_code"] == 130
    assert state(tmp_path)["status"] == "stopped"
    assert [event["event"] for event in read_events(tmp_path)[0]] == ["stopped"]


def test_the_supervisor_deletes_what_its_killed_child_left_half_written(tmp_path: Path) -> None:
    script = "import os, sys; os.makedirs(sys.argv[1] + '/.model/part'); os.kill(os.getpid(), 9)"
    assert supervise(tmp_path, Child([sys.executable, "-c", script, str(tmp_path)], {})) == 1
    assert not (tmp_path / ".model").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_with_a_signal_before_training_stops_properly(
    long_run: Path, number: signal.Signals
) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        until(lambda: events(run, "stage"), what="the first phase")
        os.kill(state(run)["pid"], number)
        assert front.wait(timeout=HANG_S) == 130
        output = front.stdout.read() if front.stdout else ""
    assert "stopped before the first step, nothing to save" in output
    assert state(run)["status"] == "stopped"
    assert [event["step"] for event in events(run, "stopped")] == [None]


@pytest.fixture
def long_run(tmp_path: Path, tiny: Path) -> Path:
    """A YAML that would train for minutes; its run folder is `run` beside it."""
    data = write_chats(tmp_path / "chat.jsonl", 80)
    return write_config(
        tmp_path / "long.yaml",
        tiny,
        data,
        output_dir=str(tmp_path / "run"),
        max_steps=5000,
        save_steps=0,
        logging_steps=1,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_the_run_and_leaves_no_child(
    long_run: Path, number: signal.Signals
) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        until(lambda: last_step(run) >= 2, what="step 2")
        child = state(run)["pid"]
        front.send_signal(number)
        assert front.wait(timeout=HANG_S) == 130
    assert gone(child)
    assert state(run)["status"] == "stopped"
    stopped = events(run, "stopped")[0]
    assert Path(stopped["checkpoint"], "complete.json").is_file()
    assert stopped["checkpoint"].endswith(f"checkpoint-{stopped['step']}")


def test_a_killed_supervisor_leaves_no_child(long_run: Path) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        until(lambda: last_step(run) >= 2, what="step 2")
        child = state(run)["pid"]
        front.kill()
        until(lambda: gone(child), what="the child's end")
    assert events(run, "stopped")
    assert state(run)["status"] == "stopped"


def test_a_paused_child_saves_and_ends_when_its_supervisor_is_killed(long_run: Path) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        until(lambda: last_step(run) >= 2, what="step 2")
        child = state(run)["pid"]
        os.kill(child, signal.SIGSTOP)
        front.kill()
        until(lambda: gone(child), what="the child's end")
    assert Path(events(run, "stopped")[0]["checkpoint"], "complete.json").is_file()
    assert state(run)["status"] == "stopped"


def test_a_dropped_terminal_does_not_stop_the_run(long_run: Path) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        until(lambda: last_step(run) >= 2, what="step 2")
        front.send_signal(signal.SIGHUP)
        before = last_step(run)
        until(lambda: last_step(run) >= before + 20, what="twenty further steps")
        box("runs", "stop", str(run), cwd=long_run.parent)
        assert front.wait(timeout=HANG_S) == 130


def test_a_child_that_dies_is_reported_at_once(long_run: Path) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        until(lambda: last_step(run) >= 1, what="step 1")
        os.kill(state(run)["pid"], signal.SIGKILL)
        assert front.wait(timeout=HANG_S) == 1
        output = front.stdout.read() if front.stdout else ""
    assert "SIGKILL" in output
    assert "runs resume" in output
    assert state(run)["status"] == "failed"


def test_a_detached_run_is_followed_and_stopped_from_elsewhere(long_run: Path) -> None:
    run = long_run.with_name("run")
    box("run", str(long_run), "--detach", cwd=long_run.parent)
    until(lambda: last_step(run) >= 2, what="step 2")
    listed = json.loads(box("runs", "list", "--json", cwd=long_run.parent).stdout)
    assert [row["status"] for row in listed if row["folder"] == str(run)] == ["running"]
    with started("runs", "logs", str(run), "-f", "--plain", cwd=long_run.parent) as follower:
        box("runs", "stop", str(run), cwd=long_run.parent)
        assert follower.wait(timeout=HANG_S) == 130
    until(lambda: state(run)["status"] == "stopped", what="the recorded end")


def test_a_reader_that_leaves_does_not_end_the_run(long_run: Path) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        assert front.stdout is not None
        front.stdout.close()  # before the first line, or in the midst: neither may matter
        until(lambda: last_step(run) >= 1, what="step 1")
        begun = events(run, "start")[0]["time"]
        late = begun + 1.5 * SECONDS_BETWEEN_LINES
        until(lambda: events(run, "step")[-1]["time"] > late, what="steps after a lost line")
        box("runs", "stop", str(run), cwd=long_run.parent)
        assert front.wait(timeout=HANG_S) == 130
        front.stdout = None


def test_a_run_that_is_running_is_not_resumed(long_run: Path) -> None:
    run = long_run.with_name("run")
    with started("run", str(long_run), "--plain", cwd=long_run.parent) as front:
        until(lambda: last_step(run) >= 1, what="step 1")
        refused = box("runs", "resume", str(run), cwd=long_run.parent, code=2)
        assert "is still running" in refused.stderr
        front.send_signal(signal.SIGTERM)
        assert front.wait(timeout=HANG_S) == 130


def test_a_crash_shows_its_first_traceback_with_a_hint(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FileNotFoundError("lost.bin")

    monkeypatch.setattr("swiftbox.core.training.session.train", fail)
    data = write_chats(tmp_path / "chat.jsonl", 8)
    config = write_config(tmp_path / "a.yaml", tiny, data, output_dir=str(tmp_path / "run"))
    failed = box_here("run", str(config), "--plain", cwd=tmp_path, code=1)
    assert "FileNotFoundError: lost.bin" in failed.stderr
    assert "hint: check the path" in failed.stderr
    assert "Traceback" in failed.stderr


def test_a_missing_target_module_is_refused_with_near_names(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 8)
    config = write_config(tmp_path / "a.yaml", tiny, data, target_modules=["q_prj"])
    refused = box_here("run", str(config), "--plain", cwd=tmp_path, code=2)
    assert "target_modules: the model has no layer q_prj" in refused.stderr
    assert "q_proj" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_keeps_the_last_checkpoint_and_reports_the_space_needed(
    tmp_path: Path, tiny: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine allows no mount")
    try:
        data = write_chats(tmp_path / "chat.jsonl", 80)
        config = write_config(
            tmp_path / "a.yaml",
            tiny,
            data,
            output_dir=str(small / "run"),
            tuner_type="full",
            max_steps=400,
            save_steps=5,
            save_total_limit=100,
        )
        failed = box_here("run", str(config), "--plain", cwd=tmp_path, code=1)
        assert "no space left on device for a checkpoint" in failed.stderr
        assert "MiB needed" in failed.stderr
        from swiftbox.core.training.checkpoint import last_intact

        record, torn = last_intact(small / "run")
        assert record is not None
        assert torn == []
        assert not (small / "run" / "checkpoints" / ".partial").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)
