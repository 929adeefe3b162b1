"""Engines are installed once, into any path; damage is found, repaired and removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from box import HANG_S, until
from toy_engine import GATE, TOY, toy_command

from swiftbox import engines
from swiftbox.engines import install as installer
from swiftbox.engines.install import install, remove
from swiftbox.engines.self_test import self_test
from swiftbox.engines.state import (
    MARKER,
    engine_python,
    engine_state,
    site_packages,
)
from swiftbox.errors import MachineError
from swiftbox.files import read_json

CURE = "swiftbox engines install toy"


def no_output(line: str) -> None:
    raise AssertionError(line)


def packages(folder: Path) -> Path:
    path = site_packages(folder)
    assert path is not None
    return path


def test_an_install_into_a_path_with_a_space_shows_its_steps(
    toy: Path, installed: tuple[Path, list[str]]
) -> None:
    assert " " in str(toy)
    state = engine_state("toy")
    assert (state.status, state.reason) == ("installed", "")
    assert state.versions == {"toy": "1.0", "late": "1.0"}
    assert state.size_bytes > 5_000_000
    assert self_test("toy").ok
    output = "\n".join(installed[1])
    assert "toy==1.0" in output
    assert "building late" in output
    assert "self-test" in output
    done = subprocess.run(
        [engine_python("toy"), "-I", "-c", "import toy; print(toy.double(4))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "8\n"


def test_a_second_install_does_nothing_and_needs_no_index(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    before = (toy / MARKER).stat()
    assert install("toy", "cpu", say=no_output).status == "installed"
    assert (toy / MARKER).stat().st_mtime_ns == before.st_mtime_ns


def test_the_list_reads_files_alone(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", no_output)
    assert [engine_state(name).status for name in ("toy", "gptq")] == ["installed", "absent"]
    assert toy.is_dir()


def assert_repaired(folder: Path) -> None:
    """Assert that the command which the self-test names repairs the engine."""
    with pytest.raises(MachineError, match="engine toy") as refused:
        engine_python("toy")
    assert refused.value.hint == CURE
    assert install("toy", "cpu", say=lambda _line: None).status == "installed"
    assert self_test("toy").ok
    assert not (folder / ".tmp").exists()


def test_the_self_test_finds_a_missing_module_and_names_the_repair(toy: Path) -> None:
    (packages(toy) / "toy" / "sums.py").unlink()
    assert engine_state("toy").status == "installed"  # the fast look does not go into packages
    verdict = self_test("toy")
    assert not verdict.ok
    assert verdict.problem == "toy is damaged: toy/sums.py is missing or changed"
    assert verdict.cure == CURE
    assert engine_state("toy").status == "incomplete"  # the next look remembers
    assert_repaired(toy)


def test_a_version_other_than_the_pin_is_named(toy: Path) -> None:
    pip = [str(engine_python("toy")), "-I", "-m", "pip", "install", "--quiet", "toy==1.1"]
    subprocess.run(pip, check=True, capture_output=True)
    state = engine_state("toy")
    assert (state.status, state.reason) == ("incomplete", "toy is 1.1, but 1.0 was installed")
    assert self_test("toy").problem == state.reason
    assert_repaired(toy)
    assert engine_state("toy").versions["toy"] == "1.0"


def test_a_missing_package_is_named(toy: Path) -> None:
    (info,) = packages(toy).glob("toy_helper-*.dist-info")
    shutil.rmtree(info)
    (packages(toy) / "toy_helper.py").unlink()
    assert self_test("toy").problem == "toy_helper 1.0 is missing"
    assert_repaired(toy)


def test_a_missing_interpreter_is_relinked_without_a_download(toy: Path) -> None:
    for link in (toy / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/gone/python3")
    assert self_test("toy").problem == "its Python no longer exists"
    began = read_json(toy / installer.BEGUN)
    assert_repaired(toy)
    assert read_json(toy / installer.BEGUN) == began, "the environment was recreated"


def test_a_tool_that_does_not_start_is_reported_with_its_last_lines(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(TOY, selftest="import toy\nassert toy.double(2) == 5, 'two and two'\n")
    monkeypatch.setitem(engines.ENGINES, "toy", broken)  # type: ignore[arg-type]
    problem = self_test("toy").problem
    assert problem.startswith("its self-test ended with code 1")
    assert "AssertionError: two and two" in problem
    monkeypatch.setitem(engines.ENGINES, "toy", TOY)  # type: ignore[arg-type]
    assert self_test("toy").ok  # a problem that was solved leaves no trace
    assert toy.is_dir()


def test_a_torch_of_another_build_is_reported(toy: Path) -> None:
    fake = packages(toy) / "torch"
    fake.mkdir()
    code = "__version__ = '2.13.0'\nclass version:\n    cuda = hip = None\n"
    (fake / "__init__.py").write_text(code)
    from swiftbox.engines.self_test import REQUIRE_TORCH_BUILD, _run

    failure = _run(TOY, REQUIRE_TORCH_BUILD, "cuda")
    assert "torch 2.13.0 is not a build for cuda" in failure
    (fake / "__init__.py").unlink()


def kill_install_in_second_step(command: list[str], gate: Path) -> None:
    """Kill an install while it builds; assert that nobody else could touch the engine meanwhile."""
    os.mkfifo(gate)
    install_process = subprocess.Popen(
        command,
        env={**os.environ, GATE: str(gate)},
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        line = os.open(gate, os.O_WRONLY)  # returns when the build reads it: the second step
        with pytest.raises(MachineError, match="by another process"):
            install("toy", "cpu", say=lambda _line: None)
        with pytest.raises(MachineError, match="by another process"):
            remove("toy")
        import psutil

        family = psutil.Process(install_process.pid).children(recursive=True)
        assert family
        install_process.send_signal(signal.SIGKILL)
        install_process.communicate()
        until(lambda: not any(map(_lives, family)), what="the end of pip")
        os.close(line)
    finally:
        if install_process.poll() is None:
            install_process.kill()


@pytest.mark.slow
def test_a_killed_install_is_continued(fresh: Path, tmp_path: Path) -> None:
    command = toy_command("engines", "install", "toy", "--yes")
    kill_install_in_second_step(command, tmp_path / "gate")
    state = engine_state("toy")
    assert (state.status, state.reason) == ("incomplete", "its install was not finished")
    assert self_test("toy").cure == CURE
    began = (fresh / installer.BEGUN).stat().st_mtime_ns
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "incomplete: its install was not finished" in done.stderr
    assert "toy is installed" in done.stdout
    assert (fresh / installer.BEGUN).stat().st_mtime_ns == began, "the environment was kept"
    assert remove("toy") > 5_000_000
    assert list(fresh.parent.iterdir()) == []


def test_ctrl_c_ends_pip_and_names_the_command_that_resumes(toy: Path, tmp_path: Path) -> None:
    (info,) = packages(toy).glob("late-*.dist-info")
    shutil.rmtree(info)  # so that its build is waited for
    (toy / MARKER).unlink()
    os.mkfifo(tmp_path / "gate")
    cut = subprocess.Popen(
        toy_command("engines", "install", "toy", "--yes"),
        env={**os.environ, GATE: str(tmp_path / "gate")},
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    line = os.open(tmp_path / "gate", os.O_WRONLY)
    cut.send_signal(signal.SIGINT)
    output = cut.communicate(timeout=HANG_S)[1]
    os.close(line)
    assert cut.returncode == 130
    assert output.endswith("stopped; `swiftbox engines install toy` resumes\n")
    assert_repaired(toy)


def test_a_home_that_cannot_be_written_to_is_named(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "a file"))
    with pytest.raises(MachineError, match="cannot write to") as refused:
        install("toy", "cpu", say=no_output)
    assert "SWIFTBOX_HOME" in refused.value.hint
    assert not fresh.exists()


def _lives(process: object) -> bool:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_package_whose_unpacking_was_interrupted_is_installed_again(toy: Path) -> None:
    (info,) = packages(toy).glob("toy_helper-*.dist-info")
    (info / "INSTALLER").unlink()  # among the last files written: so an interruption looks
    (packages(toy) / "toy_helper.py").unlink()
    (toy / MARKER).unlink()
    (packages(toy) / "~oy").mkdir()
    assert_repaired(toy)
    assert not (packages(toy) / "~oy").exists()


def test_a_folder_that_swiftbox_did_not_create_is_left_alone(fresh: Path) -> None:
    fresh.mkdir(parents=True)
    (fresh / "thesis.txt").write_text("words")
    for act in (lambda: install("toy", "cpu", say=no_output), lambda: remove("toy")):
        with pytest.raises(MachineError, match="was not created by swiftbox"):
            act()
    assert (fresh / "thesis.txt").read_text() == "words"


def test_too_little_disk_is_reported_before_anything_is_created(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = replace(TOY, size_bytes={"*": 10**18})
    monkeypatch.setitem(engines.ENGINES, "toy", huge)  # type: ignore[arg-type]
    with pytest.raises(MachineError, match=r"needs about .* TiB; .* GiB free at"):
        install("toy", "cpu", say=no_output)
    assert not fresh.exists()


def test_an_unsupported_python_is_reported(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = replace(TOY, python=(3, 4))
    monkeypatch.setitem(engines.ENGINES, "toy", old)  # type: ignore[arg-type]
    with pytest.raises(MachineError, match=r"needs Python 3.3 to 3.4") as refused:
        install("toy", "cpu", say=lambda _line: None)
    assert "SWIFTBOX_PYTHON" in refused.value.hint
    assert engine_state("toy").status != "installed"
    assert not (fresh / MARKER).exists()


def test_a_missing_system_package_is_reported_with_the_command_that_installs_it(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swiftbox.engines.engine import PCRE2

    lacking = replace(PCRE2, is_installed=lambda: False)
    needy = replace(TOY, system=(lacking,))
    monkeypatch.setitem(engines.ENGINES, "toy", needy)  # type: ignore[arg-type]
    monkeypatch.setattr("shutil.which", lambda name, **_: name if name == "apt-get" else None)
    with pytest.raises(MachineError, match=r"needs pcre2\.h") as refused:
        install("toy", "cpu", say=no_output)
    assert refused.value.hint == "sudo apt-get install libpcre2-dev"
    assert not fresh.exists()


def test_a_package_missing_from_the_index_is_reported_with_pips_last_lines(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(TOY, requirements={"*": ("nonesuch==1.0",)})
    monkeypatch.setitem(engines.ENGINES, "toy", absent)  # type: ignore[arg-type]
    with pytest.raises(MachineError, match="No matching distribution found for nonesuch") as failed:
        install("toy", "cpu", say=lambda _line: None)
    assert "it continues from here" in failed.value.hint
    assert engine_state("toy").status == "incomplete"
    monkeypatch.setitem(engines.ENGINES, "toy", TOY)  # type: ignore[arg-type]
    assert_repaired(toy)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(MachineError, match="no engine named gpt") as refused:
        engine_state("gpt")
    assert "gptq, compress, evalscope" in refused.value.hint


def test_packages_stay_inside_even_if_pip_is_configured_otherwise(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PIP_USER", "1")
    (packages(toy) / "toy_helper.py").unlink()
    assert not self_test("toy").ok
    assert_repaired(toy)
    assert not (tmp_path / "elsewhere").exists()


def test_the_marker_is_valid_for_one_folder_and_one_set_of_pins(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(TOY, requirements={"*": ("toy==1.1",)})
    monkeypatch.setitem(engines.ENGINES, "toy", newer)  # type: ignore[arg-type]
    assert engine_state("toy").reason == "it was installed with other pins"
    monkeypatch.setitem(engines.ENGINES, "toy", TOY)  # type: ignore[arg-type]
    elsewhere = toy.parents[2] / "moved"
    (toy.parents[1]).rename(elsewhere)
    try:
        monkeypatch.setenv("SWIFTBOX_HOME", str(elsewhere))
        assert engine_state("toy").reason == f"it was moved here from {toy}"
    finally:
        elsewhere.rename(toy.parents[1])


def test_json_of_the_marker_is_plain(toy: Path) -> None:
    assert json.loads((toy / MARKER).read_text())["wanted"] == ["toy==1.0", "late==1.0"]
    assert sys.version_info.minor == read_json(toy / MARKER)["python"]
