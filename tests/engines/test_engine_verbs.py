"""`swiftbox engines`, and engines that a run needs: said, asked for, installed, removed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from box import HANG_S
from model_folder import write_model
from toy_engine import TOY, toy_command

from swiftbox.cli.main import main
from swiftbox.engines.consent import ask, missing_engines, require_engines_installable
from swiftbox.engines.state import engine_state
from swiftbox.errors import MachineError

DOWNLOAD = "task: download\nmodel: {model}\nhub: local\nlocal_dir: copy\n"


def box(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        toy_command(*arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_list_shows_purpose_state_and_refusals(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engines"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "toy       installed" in shown
    assert "toy 1.0 late 1.0" in shown
    assert "gptq      absent" in shown
    assert "lmdeploy needs an accelerator" in shown
    assert main(["engines", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["toy"]["versions"] == {"toy": "1.0", "late": "1.0"}
    assert rows["toy"]["folder"] == str(toy)
    assert (rows["vllm"]["status"], rows["vllm"]["can_install"]) == ("absent", False)
    assert "AVX-512" in rows["vllm"]["reason"]


def test_a_test_answers_by_its_exit_code_too(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "test"]) == 0
    assert "toy: intact" in capsys.readouterr().out
    (packages,) = toy.glob("lib/python3*/site-packages")
    (packages / "toy_helper.py").rename(packages / "aside.py")
    assert main(["engines", "test", "toy", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert row["problem"] == "toy_helper is damaged: toy_helper.py is missing or changed"
    assert row["cure"] == "swiftbox engines install toy"
    (packages / "aside.py").rename(packages / "toy_helper.py")
    assert main(["engines", "test", "toy"]) == 0


def test_remove_needs_a_confirmation(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "remove", "toy"]) == 2
    assert "hint: add --yes" in capsys.readouterr().err
    assert toy.is_dir()
    assert main(["engines", "remove", "gptq", "--yes"]) == 0
    assert "gptq is not installed" in capsys.readouterr().out


def test_a_refused_install_gives_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "install", "lmdeploy"]) == 2
    assert "cannot be installed for cpu: lmdeploy needs" in capsys.readouterr().err
    assert main(["engines", "install", "nonesuch", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "no engine named nonesuch"


def a_yaml(folder: Path) -> Path:
    path = folder / "a.yaml"
    model = write_model(folder / "model")
    path.write_text(DOWNLOAD.format(model=model), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_run_names_the_engine_it_lacks_and_installs_it_with_yes(
    fresh: Path, tmp_path: Path
) -> None:
    path = a_yaml(tmp_path)
    command = "swiftbox engines install toy"
    checked = box("check", str(path), cwd=tmp_path).stdout
    assert "engine toy (doubles numbers): not installed; 28.6 MiB of disk" in checked
    assert command in checked
    (row,) = json.loads(box("check", str(path), "--json", cwd=tmp_path).stdout)["engines"]
    assert (row["status"], row["install"]) == ("absent", command)
    refused = box("run", str(path), "--detach", cwd=tmp_path, code=2)
    assert f"hint: {command}, or --yes" in refused.stderr
    assert not (tmp_path / "runs").exists()
    done = box("run", str(path), "--yes", "--plain", cwd=tmp_path)
    assert done.stderr.index("unpacking") < done.stderr.index("run folder:")
    assert engine_state("toy").status == "installed"
    again = box("runs", "rerun", "last", "--plain", cwd=tmp_path)
    assert "unpacking" not in again.stderr
    removed = box("engines", "remove", "toy", "--yes", "--json", cwd=tmp_path).stdout
    assert json.loads(removed)["freed_bytes"] > 5_000_000
    assert not fresh.exists()


@pytest.mark.parametrize("reply", ["n\n", ""])
def test_in_a_terminal_the_user_is_asked_first(fresh: Path, tmp_path: Path, reply: str) -> None:
    path = a_yaml(tmp_path)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        toy_command("run", str(path)), cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while b"[Y/n]" not in shown:
        shown += os.read(ours, 4096)
    assert b"engine toy (doubles numbers): not installed" in shown
    os.write(ours, reply.encode() or b"\x04")  # or Ctrl-D
    assert process.wait(HANG_S) == 2
    os.close(ours)
    assert not fresh.exists()
    assert not (tmp_path / "runs").exists()


def test_without_a_terminal_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Nobody())
    assert ask(()) is False


def test_an_engine_that_cannot_be_installed_here_keeps_a_run_from_starting() -> None:
    with pytest.raises(MachineError, match="cannot be installed for rocm: lmdeploy does not"):
        require_engines_installable(["lmdeploy"], "rocm")


def test_an_engine_made_for_another_backend_is_missing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swiftbox import engines
    from swiftbox.engines import state as engine_states
    from swiftbox.engines.state import MARKER, EngineState

    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / MARKER).write_text('{"backend": "cpu"}', "utf-8")
    monkeypatch.setattr(
        engine_states, "engine_state", lambda _name: EngineState("installed", folder)
    )
    monkeypatch.setitem(engines.ENGINES, "toy", replace(TOY, torch="2.13.0"))  # type: ignore[arg-type]
    assert missing_engines(["toy"], "cpu") == ()
    (engine,) = missing_engines(["toy"], "cuda")
    assert "its torch is for cpu" in engine.line()
