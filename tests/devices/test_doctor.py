from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import DEVICES, GIB, made_up
from rich.console import Console

from swiftbox.devices import doctor, doctor_table
from swiftbox.devices.doctor import MISSING, OK, WARN, DoctorCheck
from swiftbox.devices.host import PACKAGES
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError

PINS = {"torch": "2.13.0", "peft": "0.21.2"}


def checks_of(machine: Machine) -> dict[str, DoctorCheck]:
    return {check.name: check for check in doctor.report(machine, PINS).checks}


def shown(machine: Machine, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None)
    console.print(doctor_table.render(doctor.report(machine, PINS)))
    return file.getvalue()


@pytest.mark.parametrize("name", ["cuda", "rocm", "npu", "mps", "cpu"])
def test_a_machine_with_all_packages_is_ok(name: str) -> None:
    report = doctor.report(made_up(name, peft="0.21.2"), PINS)
    assert {check.verdict for check in report.checks} == {OK}


def test_the_devices_are_in_the_report() -> None:
    checks = checks_of(made_up("cuda"))
    assert checks["backend"].result == "cuda, cuda 13.0"
    assert checks["device 7"].result == "NVIDIA H100 80GB HBM3 (9.0), 80.0 GiB of 80.0 GiB free"


def test_a_missing_package_comes_with_its_command() -> None:
    assert checks_of(made_up("cpu"))["peft"] == DoctorCheck(
        "peft", "not installed", MISSING, "pip install peft==0.21.2"
    )


def test_a_package_of_another_version_is_a_warning() -> None:
    check = checks_of(made_up("cpu", peft="0.20.0"))["peft"]
    assert (check.verdict, check.fix) == (WARN, "pip install peft==0.21.2")
    assert check.result == "0.20.0, tested with 0.21.2"


def test_the_local_part_of_a_version_does_not_matter() -> None:
    assert checks_of(made_up("cpu", torch="2.13.0+cpu"))["torch"].verdict == OK


def unused(backend: str, *, trouble: str = "", **versions: str) -> DoctorCheck:
    machine = replace(made_up("cpu", **versions), hardware=(backend,), trouble=trouble)
    return checks_of(machine)[f"{backend} hardware"]


@pytest.mark.parametrize(
    ("backend", "line"),
    [
        ("cuda", "pip uninstall -y torch && pip install torch==2.13.0"),
        (
            "rocm",
            "pip uninstall -y torch && pip install torch==2.13.0+rocm7.2"
            ' --index-url "$SWIFTBOX_TORCH_INDEX"',
        ),
        (
            "npu",
            "pip uninstall -y torch && pip install torch==2.13.0 torch-npu==2.13.0 decorator",
        ),
    ],
)
def test_hardware_that_torch_was_not_built_for_comes_with_the_command_that_changes_it(
    backend: str, line: str
) -> None:
    check = unused(backend, torch="2.13.0+cpu")
    assert (check.verdict, check.fix) == (MISSING, line)
    assert check.result == "not used: torch is 2.13.0+cpu"


def test_hardware_that_does_not_answer_points_to_the_driver() -> None:
    check = unused("cuda", cuda="13.0", trouble="The NVIDIA driver on your system is too old")
    assert check.result == "not used: The NVIDIA driver on your system is too old"
    for word in ("nvidia-smi", "CUDA_VISIBLE_DEVICES", "--gpus all"):
        assert word in check.fix
    assert "pip" not in check.fix


def test_torch_that_is_not_installed_is_installed_for_the_hardware() -> None:
    machine = replace(made_up("cpu"), hardware=("cuda",), versions={"python": "3.11.7"})
    assert checks_of(machine)["cuda hardware"].result == "not used: torch is not installed"


def test_hardware_in_use_is_not_mentioned() -> None:
    assert not [name for name in checks_of(made_up("cuda")) if "hardware" in name]


def test_a_device_that_others_use_is_a_warning() -> None:
    machine = made_up("h100")
    busy = replace(machine.devices[0], free_bytes=GIB)
    check = checks_of(replace(machine, devices=(busy,)))["device 0"]
    assert check.verdict == WARN
    assert "nvidia-smi" in check.fix


@pytest.mark.parametrize(
    ("capability", "architectures", "built"),
    [
        ("7.0", "sm_75 sm_80 sm_90", False),
        ("7.5", "sm_75 sm_80 sm_90", True),
        ("8.6", "sm_75 sm_80 sm_90", True),
        ("8.0", "sm_86", False),
        ("10.3", "sm_90 sm_100", True),
        ("12.0", "sm_90 compute_90", True),
        ("12.0", "sm_90", False),
        ("9.0", "sm_90a", True),
        ("gfx942", "gfx90a gfx942", True),
        ("gfx906", "gfx90a gfx942", False),
        ("Ascend910B3", "", True),
        ("9.0", "", True),
    ],
)
def test_torch_has_kernels_for_the_devices_it_was_built_for(
    capability: str, architectures: str, built: bool
) -> None:
    assert doctor.built_for(capability, architectures.split()) is built


def test_a_card_too_old_for_this_torch_is_a_warning() -> None:
    check = checks_of(made_up("v100", architectures="sm_75 sm_80 sm_90"))["device 0"]
    assert check.verdict == WARN
    assert "no kernels for it" in check.result
    assert "CUDA 12.6 build" in check.fix


def test_a_plugin_of_another_torch_is_missing() -> None:
    check = checks_of(made_up("npu", torch_npu="2.10.0"))["torch_npu"]
    assert check.verdict == MISSING
    assert check.fix == "pip install torch==2.13.0 torch-npu==2.13.0 decorator"
    assert checks_of(made_up("npu", torch_npu="2.13.0.post1"))["torch_npu"].verdict == OK


def test_little_memory_and_little_disk_are_warnings() -> None:
    machine = replace(made_up("cpu"), memory_bytes=4 * GIB, disk_free_bytes=3 * GIB)
    checks = checks_of(machine)
    assert (checks["main memory"].verdict, checks["disk"].verdict) == (WARN, WARN)
    assert checks["disk"].fix


def test_optional_packages_are_offered_where_they_help() -> None:
    checks = checks_of(made_up("cuda"))
    assert checks["flash_attn"].fix == "pip install flash-attn==2.8.3.post2 --no-build-isolation"
    assert checks["deepspeed"].verdict == OK
    assert "flash_attn" not in checks_of(made_up("v100"))
    assert "flash_attn" not in checks_of(made_up("npu"))
    assert "deepspeed" not in checks_of(made_up("h100"))
    assert "deepspeed" not in checks_of(made_up("cpu"))


def test_every_pinned_package_is_one_the_probe_looks_for() -> None:
    pins = doctor.pinned()
    assert set(pins) <= set(PACKAGES)
    assert pins["torch"].count(".") == 2


def test_a_report_is_plain_data() -> None:
    report = doctor.report(made_up("cuda"), PINS).to_dict()
    assert json.loads(json.dumps(report))["lines"][0]["what"] == "backend"


def test_torch_that_does_not_answer_is_reported_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> Machine:
        raise MachineError("torch does not describe the devices: SIGSEGV")

    monkeypatch.setattr("swiftbox.devices.probe.probe", fails)
    monkeypatch.setattr("swiftbox.devices.probe.detected_hardware", lambda: ("mps",))
    checks = {check.name: check for check in doctor.examine(tmp_path).checks}
    assert checks["mps hardware"].result.endswith("SIGSEGV")


@pytest.mark.parametrize("name", DEVICES)
def test_the_table_fits_eighty_columns_without_colour(name: str) -> None:
    printed = shown(made_up(name, torch="2.13.0+cpu", peft="0.20.0"))
    assert "\x1b" not in printed
    table = printed.partition("What to do")[0]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert re.search(r"peft +0\.20\.0, tested with 0\.21\.2 +warning", table)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_fix_can_be_copied_from_a_terminal_of_any_width(width: int) -> None:
    machine = replace(made_up("cpu", torch="2.13.0+cpu"), hardware=("rocm",))
    printed = "\n".join(line.rstrip() for line in shown(machine, width).splitlines())
    printed_lines = [" ".join(line.split()) for line in printed.replace("\\\n", " ").splitlines()]
    assert checks_of(machine)["rocm hardware"].fix in printed_lines
    assert all(len(line) <= width for line in printed.splitlines())


def test_the_fast_kernels_of_a_machine_are_listed_with_their_versions() -> None:
    plain = checks_of(made_up("h100"))["fast kernels"].result
    assert plain.startswith("sdpa, ")
    assert "flash_attention_2" not in plain
    installed = made_up("h100", flash_attn="2.8.3", liger_kernel="0.8.5")
    result = checks_of(installed)["fast kernels"].result
    assert "flash_attention_2 2.8.3" in result
    assert "liger 0.8.5" in result
    assert "fast kernels" not in checks_of(made_up("cpu"))


def test_a_complete_machine_gets_no_advice() -> None:
    assert "What to do" not in shown(made_up("cpu", peft="0.21.2"))


def test_brackets_in_a_name_are_printed_as_they_are() -> None:
    machine = made_up("h100")
    odd = replace(machine.devices[0], name="card [bold]")
    assert "card [bold]" in shown(replace(machine, devices=(odd,)))
