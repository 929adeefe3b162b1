"""Interrupted downloads resume: no byte is fetched twice, and every byte is right in the end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from box import HANG_S, until
from downloading import FIRST, SECOND, THIRD, Desk, same, shards
from fake_hub import Fault, Hub, Made, Repository, contents, hub

IN_FLIGHT = 4 * 2**20
"""What a kernel holds between a sender and a receiver that is killed: sent, never written."""


def fetched_twice(server: Hub, path: str) -> int:
    """Return how many bytes of a file were sent more than once."""
    return server.sent(path) - contents(server.repositories[0].files[path]).size


def test_a_model_is_fetched_completely_and_once(tmp_path: Path) -> None:
    with hub(shards()) as server:
        done = Desk(tmp_path, server.address).download("o/n").fine()
        assert same(done.path, server.repositories[0])
        assert [fetched_twice(server, path) for path in (FIRST, SECOND, THIRD)] == [0, 0, 0]


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_three_interruptions_are_resumed(tmp_path: Path, name: str) -> None:
    with hub(shards()) as server:
        server.faults[SECOND] = [Fault("cut", at) for at in (1_000_000, 5_000_000, 9_000_000)]
        desk = Desk(tmp_path, server.address, server.address)
        done = desk.download("o/n", "--hub", name).fine()
        assert same(done.path, server.repositories[0])
        requests = [process.begin for process in server.of(SECOND)]
        assert requests[0] == 0
        assert len(requests) == 4
        assert all(process.ranged for process in server.of(SECOND)[1:])
        assert fetched_twice(server, SECOND) < 2**18


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_a_corrupted_byte_fetches_that_file_again_and_no_other(tmp_path: Path, name: str) -> None:
    with hub(shards()) as server:
        server.faults[FIRST] = [Fault("corrupt", 7_000_000)]
        desk = Desk(tmp_path, server.address, server.address)
        done = desk.download("o/n", "--hub", name).fine()
        assert same(done.path, server.repositories[0])
        assert len(server.of(FIRST)) == 2
        assert fetched_twice(server, SECOND) == fetched_twice(server, THIRD) == 0


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_a_busy_hub_is_retried(tmp_path: Path, name: str) -> None:
    with hub(shards()) as server:
        server.faults[THIRD] = [Fault("status"), Fault("status", status=429, retry_after="1")]
        desk = Desk(tmp_path, server.address, server.address)
        done = desk.download("o/n", "--hub", name).fine()
        assert same(done.path, server.repositories[0])
        assert [process.status for process in server.of(THIRD)] == [503, 429, 200]


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_a_stalled_transfer_is_aborted_and_resumed(tmp_path: Path, name: str) -> None:
    with hub(shards()) as server:
        server.faults[FIRST] = [Fault("stall", 6_000_000)]
        desk = Desk(tmp_path, server.address, server.address)
        done = desk.download("o/n", "--hub", name).fine()
        assert same(done.path, server.repositories[0])
        assert [process.begin for process in server.of(FIRST)] == [0, 6_000_000]


def workers(desk: Desk) -> list[psutil.Process]:
    """Return the children that fetch, by the home they have."""
    server = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = process.info["cmdline"] or []
        its = (process.info["environ"] or {}).get("HOME") == str(desk.folder)
        if its and "swiftbox.worker" in command:
            server.append(process)
    return server


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_after_kill_9_the_next_download_resumes(tmp_path: Path, name: str) -> None:
    with hub(shards()) as server:
        server.faults[SECOND] = [Fault("stall", 8_000_000)]
        desk = Desk(tmp_path, server.address, server.address)
        desk.env = {"MODELSCOPE_DOWNLOAD_TIMEOUT": "60", "HF_HUB_DOWNLOAD_TIMEOUT": "60"}
        with desk.start("download", "o/n", "--hub", name) as process:
            until(lambda: server.sent(SECOND) >= 8_000_000, what="the stall")
            until(lambda: partial_bytes(tmp_path) >= 4_000_000, what="bytes on the disk")
            (worker,) = workers(desk)
            os.kill(worker.pid, signal.SIGKILL)
            process.communicate(timeout=HANG_S)
            assert process.returncode == 1
        done = desk.download("o/n", "--hub", name).fine()
        assert same(done.path, server.repositories[0])
        assert server.of(SECOND)[1].ranged
        assert 0 <= fetched_twice(server, SECOND) < IN_FLIGHT
        assert done.answer["fetched"][0]["fetched_bytes"] < 36_000_000 - 4_000_000


def partial_bytes(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.rglob("*.incomplete")), default=0)


def test_ctrl_c_stops_at_once_and_resume_continues(tmp_path: Path) -> None:
    with hub(shards()) as server:
        server.faults[FIRST] = [Fault("stall", 8_000_000)]
        desk = Desk(tmp_path, server.address)
        desk.env = {"MODELSCOPE_DOWNLOAD_TIMEOUT": "60"}
        with desk.start("download", "o/n") as process:
            until(lambda: server.sent(FIRST) >= 8_000_000, what="the stall")
            until(lambda: partial_bytes(tmp_path) >= 4_000_000, what="bytes on the disk")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=HANG_S)
            assert process.returncode == 130
        desk.box("runs", "resume", "--plain").fine()
        assert same(desk.snapshot, server.repositories[0])
        assert server.of(FIRST)[1].begin >= 4_000_000


def test_of_two_concurrent_downloads_one_waits(tmp_path: Path) -> None:
    with hub(shards()) as server:
        server.faults[FIRST] = [Fault("hold", 3_000_000)]
        desk = Desk(tmp_path, server.address, env={"MODELSCOPE_DOWNLOAD_TIMEOUT": "60"})
        with (
            desk.start("download", "o/n", "--plain") as first,
            desk.start("download", "o/n", "--plain") as second,
        ):
            until(lambda: server.sent(FIRST) >= 3_000_000, what="one at work")
            until(lambda: someone_waits(tmp_path), what="the other waiting")
            server.released.set()
            ends = [process.communicate(timeout=HANG_S)[1] for process in (first, second)]
            assert [first.returncode, second.returncode] == [0, 0]
        assert sum("already on this machine" in output for output in ends) == 1
        assert same(desk.snapshot, server.repositories[0])
        assert [fetched_twice(server, path) for path in (FIRST, SECOND, THIRD)] == [0, 0, 0]


def someone_waits(folder: Path) -> bool:
    files = folder.glob("runs/*/events.jsonl")
    return any("another process is downloading o/n" in path.read_text() for path in files)


@pytest.mark.slow
def test_interruptions_of_every_kind_end_byte_identical(tmp_path: Path) -> None:
    sizes = [40_000_000 + n for n in range(5)]
    big = {f"model-{n}.safetensors": Made(size, n) for n, size in enumerate(sizes)}
    repository = Repository("o/n", {"config.json": b"{}", **big})
    cut, corrupt, status, stall, kill = big
    with hub(repository) as server:
        server.faults = {
            cut: [Fault("cut", at) for at in (3_000_000, 17_000_000, 33_000_000)],
            corrupt: [Fault("corrupt", 20_000_000)],
            status: [Fault("status")],
            stall: [Fault("stall", 11_000_000)],
            kill: [Fault("hold", 30_000_000)],
        }
        desk = Desk(tmp_path, server.address, env={"MODELSCOPE_DOWNLOAD_TIMEOUT": "5"})
        with desk.start("download", "o/n", "--plain") as first:
            until(lambda: server.log, what="the first one at work")
            with desk.start("download", "o/n", "--plain") as second:
                until(lambda: len(workers(desk)) == 2, what="two at once")
                until(lambda: server.sent(kill) >= 30_000_000, what="the last file under way")
                until(lambda: someone_waits(tmp_path), what="the other waiting")
                holder = min(workers(desk), key=lambda process: process.create_time())
                os.kill(holder.pid, signal.SIGKILL)
                first.communicate(timeout=HANG_S)
                second.communicate(timeout=HANG_S)
                assert second.returncode == 0
        assert same(desk.snapshot, repository)
        assert [process.begin for process in server.of(cut)][:4] == [
            0,
            3_000_000,
            17_000_000,
            33_000_000,
        ]
        for path in (cut, status, stall, kill):
            assert 0 <= fetched_twice(server, path) < IN_FLIGHT, path
