"""What a run writes is closed to other users, whatever the umask; what is shared keeps it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fake_evalscope
import pytest
from adapters import make_adapter
from box import COMMAND, LONGEST_RUN_S, events
from in_process import box
from tiny import write_chats, write_config

from swiftbox.config.presets import presets
from swiftbox.launch.record import close_to_others
from swiftbox.runs.creation import create
from swiftbox.security.private import make_private, restrict_umask, tighten, user_umask

HOME = "home"
"""The state folder of a run, beside its output."""


@pytest.fixture(autouse=True)
def _umask_of_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SWIFTBOX_UMASK", raising=False)
    previous = os.umask(0o022)
    yield
    os.umask(previous)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(root: Path) -> list[str]:
    """Return the folders and files below a folder, and itself, that others may use."""
    paths = [root, *root.rglob("*")]
    return [
        f"{path.relative_to(root.parent)} {mode(path):o}"
        for path in paths
        if not path.is_symlink() and mode(path) & 0o077
    ]


def run_here(*arguments: str, cwd: Path, umask: int) -> None:
    """Run a verb in this process under a umask with a new state folder."""
    os.umask(umask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWIFTBOX_HOME", str(cwd / HOME))
        box(*arguments, cwd=cwd)


def run(*arguments: str, cwd: Path, umask: int, code: int = 0) -> str:
    """Run a verb in a child under a umask with a new state folder."""
    finished = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=LONGEST_RUN_S, umask=umask,
        env={**os.environ, "SWIFTBOX_HOME": str(cwd / HOME)},
    )  # fmt: skip
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


def check(cwd: Path) -> None:
    """Check that no other user can enter or read what a run in `out` wrote."""
    assert open_to_others(cwd / "out") == []
    assert open_to_others(cwd / HOME) == []


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_training_writes_nothing_that_others_can_read(
    umask: int, tiny: Path, tmp_path: Path
) -> None:
    chats = write_chats(tmp_path / "chat.jsonl", 20)
    keys = {"save_steps": 2, "report_to": "tensorboard", "output_dir": "out"}
    config = write_config(tmp_path / "a.yaml", tiny, chats, **keys)
    run_verb = run_here if umask else run  # a child is slow, and the open umask is the risk
    run_verb("run", str(config), "--plain", cwd=tmp_path, umask=umask)
    assert list((tmp_path / "out" / "model").glob("*.safetensors"))
    check(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["merge", "quantize", "chat", "evaluate"])
def test_a_task_writes_nothing_that_others_can_read(task: str, tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "tuned")
    fake_evalscope.install(tmp_path / HOME)
    settings = {
        "merge": (f"adapter={adapter}",),
        "quantize": (f"adapter={adapter}", "calibration_length=64", "max_perplexity_ratio=4"),
        "chat": (f"adapter={adapter}", "prompt=hi", "max_tokens=4"),
        "evaluate": (f"model={tiny}", f"adapter={adapter}", "benchmarks=sample_ceval", "limit=2",
                     "max_tokens=4", "dtype=float32"),
    }  # fmt: skip
    run_verb = run if task in ("chat", "evaluate") else run_here  # those have servers in children
    run_verb("run", str(presets()[task]), *settings[task], "output_dir=out", "--plain",
             cwd=tmp_path, umask=0o000)  # fmt: skip
    assert events(tmp_path / "out", "done")
    assert open_to_others(tmp_path / "out") == []
    written = [path for path in (tmp_path / HOME).iterdir() if path.name != "engines"]
    assert [line for path in written for line in open_to_others(path)] == []


@pytest.mark.slow
def test_a_pipeline_and_a_detached_run_write_nothing_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text("{}", "utf-8")
    step = {"name": "a", "task": "download", "hub": "local", "model": str(tmp_path / "source")}
    step["local_dir"] = str(tmp_path / "shared")
    import json

    (tmp_path / "p.yaml").write_text(json.dumps({"task": "pipeline", "steps": [step]}), "utf-8")
    run("run", "p.yaml", "output_dir=out", "--detach", cwd=tmp_path, umask=0o000)
    run("runs", "logs", "out", "-f", cwd=tmp_path, umask=0o000)
    assert events(tmp_path / "out", "done")
    check(tmp_path)
    assert mode(tmp_path / "shared") == 0o777
    assert mode(tmp_path / "shared" / "config.json") == 0o666


def test_a_yaml_that_the_user_writes_keeps_the_umask(tmp_path: Path) -> None:
    run("new", "sft-lora", "-o", "a.yaml", cwd=tmp_path, umask=0o002)
    assert mode(tmp_path / "a.yaml") == 0o664
    assert open_to_others(tmp_path / HOME) == []


def test_an_open_state_folder_of_an_earlier_version_is_closed_with_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    state = tmp_path / ".swiftbox"
    (state / "runs").mkdir(parents=True, mode=0o755)
    arguments = [*COMMAND, "runs", "list"]
    env = {name: value for name, value in os.environ.items() if name != "SWIFTBOX_HOME"}
    outputs = [
        subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [output.stderr.count(str(state)) for output in outputs] == [1, 0]
    assert mode(state) == 0o700


def test_a_state_folder_that_the_user_names_keeps_its_mode_and_ours_in_it_are_closed(
    tmp_path: Path,
) -> None:
    for name in ("runs", "cache", "of-the-user"):
        (tmp_path / HOME / name).mkdir(parents=True, mode=0o755)
    run("runs", "list", cwd=tmp_path, umask=0o022)
    modes = {path.name: mode(path) for path in (tmp_path / HOME).iterdir()}
    assert mode(tmp_path / HOME) == 0o755
    assert modes == {"runs": 0o700, "cache": 0o700, "of-the-user": 0o755}


def test_a_run_folder_of_an_earlier_version_is_closed_with_a_note(tmp_path: Path) -> None:
    folder = create(tmp_path / "out")
    close_to_others(folder)
    assert events(folder) == []
    folder.chmod(0o755)
    close_to_others(folder)
    assert mode(folder) == 0o700
    assert "mode 700" in events(folder, "note")[0]["message"]


def test_a_link_is_not_tightened(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert not tighten(tmp_path / "link")
    assert mode(tmp_path / "target") == 0o755
    assert tighten(tmp_path / "target")
    assert not tighten(tmp_path / "target")


def test_the_umask_of_the_user_is_restored_for_what_is_shared(tmp_path: Path) -> None:
    os.umask(0o027)
    restrict_umask()
    restrict_umask()  # a child of ours inherits the private one
    (tmp_path / "private").touch()
    with user_umask():
        (tmp_path / "shared").touch()
    (tmp_path / "again").touch()
    assert [mode(tmp_path / name) for name in ("private", "shared", "again")] == [
        0o600, 0o640, 0o600,
    ]  # fmt: skip


@pytest.mark.parametrize("setting", ["", "8", "77777", "-1", "rw"])
def test_a_broken_record_of_the_umask_leaves_the_private_one(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.umask(0o077)
    monkeypatch.setenv("SWIFTBOX_UMASK", setting)
    with user_umask():
        (tmp_path / "file").touch()
    assert mode(tmp_path / "file") == 0o600


def test_a_private_folder_is_made_with_what_is_missing_above_it(tmp_path: Path) -> None:
    os.umask(0o000)
    make_private(tmp_path / "a" / "b")
    assert open_to_others(tmp_path / "a") == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"):
        make_private(tmp_path / "file")
