"""Runs inside a run: they end with it, pass on their events, and report why they failed."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest
from box import HANG_S
from made_up import made_up
from model_folder import write_model

from swiftbox.config.download import DownloadConfig
from swiftbox.errors import RunError
from swiftbox.runs import child
from swiftbox.runs import folder as run_folder
from swiftbox.runs.supervise import supervise_inside
from swiftbox.tasks.load import loads


def download(source: Path, target: Path) -> DownloadConfig:
    settings = ["task=download", "hub=local", f"model={source}", f"local_dir={target}"]
    config = loads("", source="test", overrides=settings).config
    assert isinstance(config, DownloadConfig)
    return config


def worker(folder: Path) -> list[str]:
    """Return the command of a process that looks like the worker of a folder."""
    return [sys.executable, "-c", "input()", "swiftbox.worker", str(folder)]


def test_a_nested_run_has_its_own_folder(tmp_path: Path) -> None:
    config = download(write_model(tmp_path / "here"), tmp_path / "there")
    folder = tmp_path / "outer" / "steps" / "fetch"
    child.record_nested(folder, config, made_up("cpu"))
    heard: list[str] = []
    code = supervise_inside(
        folder,
        child.child_of(folder, 1, {}),
        threading.Event(),
        lambda event: heard.append(event["event"]),
    )
    assert code == 0
    assert heard[-1] == "done"
    assert run_folder.find(str(folder)).status == "done"


def test_a_background_run_reports_why_it_failed(tmp_path: Path) -> None:
    config = download(tmp_path / "nothing here", tmp_path / "there")
    with (
        child.background_run(tmp_path / "servers" / "base", config, made_up("cpu")) as running,
        pytest.raises(RunError, match="nothing here"),
    ):
        running.wait_for("serving", timeout_s=HANG_S, stop=threading.Event())
    assert not running.is_alive


def test_a_background_run_kills_an_orphan_after_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = download(write_model(tmp_path / "here"), tmp_path / "there")
    folder = tmp_path / "server-1"
    folder.mkdir()
    monkeypatch.setattr(child, "POLL_S", 0.01)
    monkeypatch.setattr(child, "wait_for_orphan", partial(child.wait_for_orphan, timeout_s=0.0))
    with subprocess.Popen(worker(folder), stdin=subprocess.PIPE) as left:
        started = psutil.Process(left.pid).create_time()
        run_folder.update_state(folder, pid=left.pid, pid_started=started)
        with child.background_run(folder, config, made_up("cpu")) as running:
            assert left.poll() is not None  # it was ended before the other began
            assert running.wait_for("done", timeout_s=HANG_S, stop=threading.Event())


@pytest.mark.parametrize("command", [["-c", "input()"], ["-c", "input()", "swiftbox.worker", "x"]])
def test_only_the_worker_of_the_folder_is_killed(tmp_path: Path, command: list[str]) -> None:
    with subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE) as stranger:
        started = psutil.Process(stranger.pid).create_time()
        run_folder.update_state(tmp_path, pid=stranger.pid, pid_started=started)
        assert child.wait_for_orphan(tmp_path, timeout_s=0.0)
        assert stranger.poll() is None


def test_a_process_without_a_start_time_is_neither_alive_nor_killed(tmp_path: Path) -> None:
    with subprocess.Popen(worker(tmp_path), stdin=subprocess.PIPE) as stranger:
        run_folder.update_state(tmp_path, pid=stranger.pid, status="running")
        assert run_folder.find(str(tmp_path)).status == "lost"
        assert child.wait_for_orphan(tmp_path, timeout_s=0.0)
        assert stranger.poll() is None


@pytest.mark.parametrize("pid", [0, -1, 10**30, 1.5, float("nan"), True, "1", None, [1]], ids=str)
@pytest.mark.parametrize("started", [0, "0", float("nan"), 10**30, None])
def test_a_broken_process_id_is_not_alive(pid: object, started: object) -> None:
    assert not run_folder.is_alive(pid, started)


def test_several_processes_are_started_by_torchrun(tmp_path: Path) -> None:
    command = child.child_of(tmp_path, 2, {}).command
    assert "torch.distributed.run" in command
    assert command[-1] == str(tmp_path)


def test_waiting_for_an_orphan_ends_with_a_stop_and_leaves_it_saving(tmp_path: Path) -> None:
    calls: list[str] = []
    stop = threading.Event()

    def on_wait() -> None:
        calls.append("waits")
        stop.set()

    with subprocess.Popen(worker(tmp_path), stdin=subprocess.PIPE) as left:
        started = psutil.Process(left.pid).create_time()
        run_folder.update_state(tmp_path, pid=left.pid, pid_started=started)
        assert not child.wait_for_orphan(tmp_path, timeout_s=HANG_S, stop=stop, on_wait=on_wait)
        assert left.poll() is None
    assert child.wait_for_orphan(tmp_path, stop=threading.Event(), on_wait=on_wait)
    assert calls == ["waits"]
