"""scripts/quickstart and the launcher: what they plan, refuse, continue and leave alone."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from box import HANG_S
from made_up_checkout import Checkout, fake_tools

INDEX = "file:///some/index"


def pip_lines(plan: list[str]) -> list[list[str]]:
    """The arguments of each `pip install` of a plan."""
    return [shlex.split(line)[4:] for line in plan if " -m pip install " in line]


# ---- the plan


def test_torch_is_installed_before_swiftbox_and_the_demo_comes_last(checkout: Checkout) -> None:
    plan = checkout.plan("--backend", "cpu")
    assert pip_lines(plan) == [["torch==2.13.0"], ["torch==2.13.0", "-e", str(checkout.folder)]]
    assert shlex.split(plan[-1]) == [str(checkout.venv / "bin/swiftbox"), "demo"]


def test_a_plan_changes_nothing(checkout: Checkout) -> None:
    checkout.plan("--backend", "cpu")
    assert not checkout.venv.exists()


@pytest.mark.parametrize("backend", ["cuda", "mps"])
def test_cuda_and_mps_take_pips_own_torch(checkout: Checkout, backend: str) -> None:
    assert pip_lines(checkout.plan("--backend", backend))[0] == ["torch==2.13.0"]


def test_ascend_gets_the_plugin_of_the_same_version(checkout: Checkout) -> None:
    expected = ["torch==2.13.0", "torch-npu==2.13.0", "decorator"]
    assert pip_lines(checkout.plan("--backend", "npu"))[1] == expected


def test_rocm_takes_torch_from_the_index_that_is_named(checkout: Checkout) -> None:
    plan = checkout.plan("--backend", "rocm", SWIFTBOX_TORCH_INDEX=INDEX)
    assert pip_lines(plan)[0] == ["torch==2.13.0", "--index-url", INDEX]
    assert "--index-url" not in pip_lines(plan)[1]


def test_rocm_without_an_index_is_refused_before_anything_is_created(checkout: Checkout) -> None:
    outcome = checkout.quickstart("--backend", "rocm", "--setup-only")
    assert outcome.code == 2
    assert "SWIFTBOX_TORCH_INDEX" in outcome.talk
    assert "torch==2.13.0+rocm7.2" in outcome.talk
    assert not checkout.venv.exists()


def test_the_torch_version_comes_from_pyproject(checkout: Checkout) -> None:
    project = checkout.folder / "pyproject.toml"
    project.write_text(project.read_text().replace("torch==2.13.0", "torch==2.99.1"))
    assert pip_lines(checkout.plan("--backend", "cpu"))[0] == ["torch==2.99.1"]


def test_dev_adds_the_extra(checkout: Checkout) -> None:
    plan = checkout.plan("--backend", "cpu", "--dev", "--setup-only")
    assert pip_lines(plan)[-1][-1] == f"{checkout.folder}[dev]"


def test_setup_only_opens_nothing(checkout: Checkout) -> None:
    plan = checkout.plan("--backend", "cpu", "--setup-only")
    assert not any("bin/swiftbox" in line for line in plan)


@pytest.mark.parametrize(
    ("arguments", "opened"),
    [
        (["--name", "Ada L"], ["demo", "--name", "Ada L"]),
        (["--menu"], []),
        (["--menu", "run", "a.yaml", "--backend", "x"], ["run", "a.yaml", "--backend", "x"]),
        (["--menu", "--", "--help"], ["--help"]),
    ],
)
def test_unknown_arguments_are_passed_to_swiftbox(
    checkout: Checkout, arguments: list[str], opened: list[str]
) -> None:
    plan = checkout.plan("--backend", "cpu", *arguments)
    assert shlex.split(plan[-1])[1:] == opened


# ---- the machine


@pytest.mark.skipif(
    any(Path(p).exists() for p in ("/proc/driver/nvidia/version", "/dev/kfd", "/dev/davinci0")),
    reason="this machine has a real accelerator",
)
@pytest.mark.parametrize(
    ("tool", "backend"),
    [("nvidia_smi", "cuda"), ("rocminfo", "rocm"), ("npu_smi", "npu"), ("unrelated", "cpu")],
)
def test_the_backend_follows_the_driver_that_answers(
    checkout: Checkout, tmp_path: Path, tool: str, backend: str
) -> None:
    silent = dict.fromkeys(("nvidia_smi", "rocminfo", "npu_smi"), "exit 9")
    tools = {**silent, tool: "exit 0", "uname": 'test "$1" = -m && echo x86_64 || echo Linux'}
    path = fake_tools(tmp_path / "tools", **tools)
    outcome = checkout.quickstart("--print-plan", PATH=path, SWIFTBOX_TORCH_INDEX=INDEX)
    assert outcome.code == 0, outcome.talk
    assert f"backend: {backend} (" in outcome.talk


def test_a_mac_with_apple_silicon_gets_mps(checkout: Checkout, tmp_path: Path) -> None:
    uname = 'case "$1" in -m) echo arm64 ;; *) echo Darwin ;; esac'
    silent = dict.fromkeys(("nvidia_smi", "rocminfo", "npu_smi"), "exit 9")
    path = fake_tools(tmp_path / "tools", uname=uname, **silent)
    assert "backend: mps" in checkout.quickstart("--print-plan", PATH=path).talk


def test_an_unknown_backend_is_refused_with_the_known_ones(checkout: Checkout) -> None:
    outcome = checkout.quickstart("--backend", "tpu")
    assert outcome.code == 2
    assert "unknown backend 'tpu'" in outcome.talk
    assert "cuda, rocm, npu, mps or cpu" in outcome.talk


def test_too_little_disk_is_refused_with_both_numbers(checkout: Checkout, tmp_path: Path) -> None:
    path = fake_tools(tmp_path / "tools", df="echo head; echo /dev/x 9 9 2000000 9% /")
    outcome = checkout.quickstart("--backend", "cuda", PATH=path)
    assert outcome.code == 2
    assert "needs about 8 GiB" in outcome.talk
    assert "1 GiB free" in outcome.talk
    assert not checkout.venv.exists()


def test_without_python_the_line_that_installs_it_is_shown(
    checkout: Checkout, bare_path: str
) -> None:
    fake_tools(Path(bare_path), dnf="exit 9")
    outcome = checkout.quickstart("--backend", "cpu", PATH=bare_path, SWIFTBOX_PYTHON="")
    assert outcome.code == 2
    assert "no Python 3.11 or newer" in outcome.talk
    assert "sudo dnf install python3.12" in outcome.talk


def test_a_python_without_venv_is_named_with_its_package(
    checkout: Checkout, bare_path: str
) -> None:
    python = 'case "$2" in *version_info*) echo 3.12 ;; *) exit 1 ;; esac'
    fake_tools(Path(bare_path), **{"python3": python, "apt_get": "exit 9"})
    outcome = checkout.quickstart("--backend", "cpu", PATH=bare_path, SWIFTBOX_PYTHON="")
    assert outcome.code == 2
    assert "sudo apt-get install python3.12-venv" in outcome.talk


def test_a_shim_that_does_not_start_and_an_old_python_are_passed_over(
    checkout: Checkout, bare_path: str
) -> None:
    good = 'case "$2" in *version_info*) echo 3.11 ;; esac'
    fake_tools(Path(bare_path), **{"python3.13": "exit 127", "python3.12": "echo", "python3": good})
    plan = checkout.plan("--backend", "cpu", PATH=bare_path, SWIFTBOX_PYTHON="")
    assert any(line.startswith(f"{bare_path}/python3 -m venv ") for line in plan)


# ---- talk


def test_setup_only_refuses_an_option_it_does_not_know(checkout: Checkout) -> None:
    outcome = checkout.quickstart("--setup-only", "--foo")
    assert outcome.code == 2
    assert "unknown option '--foo'" in outcome.talk


@pytest.mark.parametrize("variables", [{"SWIFTBOX_LANG": "zh"}, {"LANG": "zh_CN.UTF-8"}])
def test_messages_are_chinese_in_a_chinese_locale(
    checkout: Checkout, variables: dict[str, str]
) -> None:
    assert (
        "后端：cpu（由参数指定）"
        in checkout.quickstart("--print-plan", "--backend", "cpu", **variables).talk
    )


def test_help_is_printed_in_both_languages(checkout: Checkout) -> None:
    assert "--print-plan" in checkout.quickstart("--help").out
    assert "中断后再次运行会继续" in checkout.quickstart("--help", SWIFTBOX_LANG="zh").out


def test_no_colour_is_written_without_a_terminal(checkout: Checkout) -> None:
    assert "\x1b" not in checkout.quickstart("--print-plan", "--backend", "cpu").talk


# ---- the real thing: real venv, real pip, tiny wheels


@pytest.mark.slow
def test_an_install_in_a_folder_with_a_space_opens_the_demo_where_the_user_is(
    checkout: Checkout, tmp_path: Path
) -> None:
    outcome = checkout.quickstart("--backend", "cpu", "--name", "Ada L", cwd=tmp_path)
    assert outcome.code == 0, outcome.talk
    assert outcome.out == f"swiftbox:|demo|--name|Ada L|{tmp_path}\n"
    assert f"source {checkout.venv}/bin/activate" in outcome.talk
    assert not (checkout.venv / ".swiftbox/tmp").exists()


def processor_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_second_run_installs_nothing_and_works_for_under_two_seconds(ready: Checkout) -> None:
    before = processor_seconds_of_children()
    outcome = ready.quickstart("--menu", PIP_FIND_LINKS="/nowhere")
    assert processor_seconds_of_children() - before < 2
    assert outcome.code == 0, outcome.talk
    assert outcome.talk == ""
    assert [shlex.split(line) for line in ready.plan("--menu")] == [[f"{ready.venv}/bin/swiftbox"]]


def test_a_ready_environment_serves_with_and_without_the_development_tools(ready: Checkout) -> None:
    assert ready.plan("--setup-only") == []
    assert ready.plan("--setup-only", "--dev") == []


@pytest.mark.slow
def test_a_changed_pyproject_is_installed_again_into_the_same_environment(
    checkout: Checkout,
) -> None:
    assert checkout.quickstart("--setup-only", "--backend", "cpu").code == 0
    (checkout.folder / "pyproject.toml").write_text(
        (checkout.folder / "pyproject.toml").read_text() + "\n# changed\n"
    )
    plan = checkout.plan("--setup-only")
    assert pip_lines(plan) == [["torch==2.13.0", "-e", str(checkout.folder)]]
    assert not any(" -m venv " in line for line in plan)


@pytest.mark.slow
def test_a_half_done_install_is_continued(checkout: Checkout) -> None:
    dependency = checkout.wheels / "helper-1.0-py3-none-any.whl"
    hidden = dependency.rename(checkout.wheels / "hidden")
    first = checkout.quickstart("--setup-only", "--backend", "cpu")
    assert first.code == 1
    assert "attempt 3 of 3" in first.talk
    assert "it continues from here" in first.talk
    hidden.rename(dependency)
    assert len(pip_lines(checkout.plan("--setup-only"))) == 1
    assert not any(" -m venv " in line for line in checkout.plan("--setup-only"))
    second = checkout.quickstart("--setup-only")
    assert second.code == 0, second.talk


def test_ctrl_c_says_that_the_next_run_continues(checkout: Checkout, tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    path = fake_tools(tmp_path / "tools", df=f"echo now >{started}; exec sleep 60")
    process = subprocess.Popen(
        ["bash", str(checkout.folder / "scripts/quickstart"), "--backend", "cpu"],
        env={**checkout.variables, "PATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A background job inherits an ignored Ctrl-C, which bash cannot take back.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    assert started.read_text() == "now\n"
    os.killpg(process.pid, signal.SIGINT)
    talk = process.communicate(timeout=HANG_S)[1]
    assert process.returncode == 130
    assert "it continues from here" in talk


def test_a_broken_environment_is_recreated(checkout: Checkout) -> None:
    (checkout.venv / ".swiftbox").mkdir(parents=True)
    (checkout.venv / ".swiftbox/made").write_text(f"{checkout.venv}\n")
    (checkout.venv / "bin").mkdir()
    (checkout.venv / "bin/python").symlink_to("/nowhere/python3")
    plan = checkout.plan("--backend", "cpu")
    assert shlex.split(plan[0]) == ["rm", "-rf", str(checkout.venv)]
    assert len(pip_lines(plan)) == 2


def test_a_broken_folder_of_someone_else_is_never_removed(checkout: Checkout) -> None:
    checkout.venv.mkdir()
    (checkout.venv / "thesis.tex").write_text("")
    outcome = checkout.quickstart("--backend", "cpu")
    assert outcome.code == 2
    assert "did not create it" in outcome.talk
    assert (checkout.venv / "thesis.tex").exists()


def test_an_environment_that_was_moved_is_recreated(ready: Checkout, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(ready.venv, moved, symlinks=True)
    plan = ready.plan("--backend", "cpu", SWIFTBOX_VENV=str(moved))
    assert shlex.split(plan[0]) == ["rm", "-rf", str(moved)]


def test_another_backend_recreates_the_environment_and_says_why(ready: Checkout) -> None:
    outcome = ready.quickstart("--print-plan", "--setup-only", "--backend", "cuda")
    assert outcome.out.startswith("rm -rf ")
    assert "it was created for cpu" in outcome.talk


def test_without_a_backend_the_environment_keeps_its_own(ready: Checkout, tmp_path: Path) -> None:
    path = fake_tools(tmp_path / "tools", nvidia_smi="exit 0")
    assert ready.plan("--setup-only", PATH=path) == []


@pytest.mark.slow
def test_a_cuda_machine_is_warned_when_pip_served_a_cpu_torch(checkout: Checkout) -> None:
    outcome = checkout.quickstart("--setup-only", "--backend", "cuda")
    assert outcome.code == 0, outcome.talk
    assert "installed a torch without cuda" in outcome.talk


def test_the_launcher_opens_the_menu_or_passes_its_arguments(ready: Checkout) -> None:
    assert ready.run("scripts/yichuidingyin.sh").out.startswith("swiftbox:|/")
    assert ready.run("scripts/yichuidingyin.sh", "check", "a b.yaml").out.startswith(
        "swiftbox:|check|a b.yaml|"
    )
