from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from swiftbox.devices.backends import (
    ATTENTION,
    BACKENDS,
    DTYPES,
    ENGINES,
    OPTIMIZERS,
    QUANTIZERS,
    STRATEGIES,
    TABLE,
)
from swiftbox.devices.host import PACKAGES
from swiftbox.devices.optional_kernels import COMPILER

CHINESE = re.compile(r"[\u4e00-\u9fff]")
CELLS = [
    (backend.name, capability, cell)
    for backend in BACKENDS.values()
    for capability, cell in backend.cells.items()
]


def test_there_are_five_backends_with_the_same_capabilities() -> None:
    assert list(BACKENDS) == ["cuda", "rocm", "npu", "mps", "cpu"]
    assert len({tuple(backend.cells) for backend in BACKENDS.values()}) == 1


def test_every_cell_has_its_answer_and_its_source() -> None:
    for where in CELLS:
        cell = where[2]
        assert cell.supported in ("yes", "partial", "no"), where
        assert cell.confidence in ("high", "medium", "low"), where
        assert cell.source, where
        re.compile(cell.devices)


def test_every_condition_and_refusal_has_a_reason_in_both_languages() -> None:
    for where in CELLS:
        cell = where[2]
        assert bool(cell.condition) == bool(cell.condition_zh), where
        assert not CHINESE.search(cell.condition), where
        if cell.supported != "yes":
            assert CHINESE.search(cell.condition_zh), where


def test_nothing_is_installed_for_what_is_not_supported() -> None:
    for where in CELLS:
        cell = where[2]
        if cell.supported == "no":
            assert (cell.install, cell.package) == ("", ""), where


def test_every_install_cell_holds_arguments_of_pip_install() -> None:
    option = r"--(no-deps|no-build-isolation|index-url)|\$SWIFTBOX_TORCH_INDEX"
    for where in CELLS:
        for word in shlex.split(where[2].install):
            assert re.fullmatch(rf"[\w.\-\[\]]+(==[\w.+]+)?|{option}", word), where


def test_every_package_a_cell_needs_is_one_the_probe_looks_for() -> None:
    for where in CELLS:
        assert where[2].package in ("", COMPILER, *PACKAGES), where


def test_every_value_of_a_setting_has_its_cell() -> None:
    for values in (DTYPES, ATTENTION, OPTIMIZERS, QUANTIZERS, STRATEGIES, ENGINES):
        for capability in values.values():
            assert capability in BACKENDS["cuda"].cells


@pytest.mark.parametrize("name", list(BACKENDS))
def test_the_names_of_a_backend_are_those_in_its_cells(name: str) -> None:
    backend = BACKENDS[name]
    assert f"called {backend.torch_device}" in backend.cell("torch_device").condition
    assert backend.cell("collective_backend").condition.startswith(backend.collective)
    if backend.visible_devices_env:
        condition = backend.cell("visible_devices_env").condition
        assert condition.startswith(backend.visible_devices_env)
    else:
        assert not backend.can("visible_devices_env")
    for key, value in backend.env.items():
        assert f"{key}={value}" in backend.cell("env_defaults").condition


def test_capabilities_of_a_backend_are_read_from_its_cells() -> None:
    assert BACKENDS["cpu"].attention == ("eager", "sdpa", "varlen")
    assert BACKENDS["cpu"].dtypes == ("float32", "bfloat16")
    assert BACKENDS["npu"].quantizers == ("gptq", "awq")
    assert BACKENDS["mps"].distributed == ("none",)
    assert BACKENDS["mps"].optimizers[-1] == "adamw_torch_fused"
    assert BACKENDS["rocm"].torch_device == "cuda"
    assert BACKENDS["npu"].plugin == "torch_npu"


def test_a_refusal_is_the_reason_of_the_cell_in_the_current_language(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "no Ascend kernels" in BACKENDS["npu"].refusal("bnb_nf4")
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert "昇腾" in BACKENDS["npu"].refusal("bnb_nf4")


def test_a_refusal_without_a_condition_names_the_capability() -> None:
    assert BACKENDS["cuda"].refusal("ddp") == "cuda has no ddp"


@pytest.mark.parametrize(
    ("backend", "capability", "device", "has_it"),
    [
        ("cuda", "dtype_bf16", "7.5", False),
        ("cuda", "dtype_bf16", "8.0", True),
        ("cuda", "dtype_bf16", "10.3", True),
        ("cuda", "dtype_bf16", "12.0", True),
        ("rocm", "dtype_bf16", "gfx906", False),
        ("rocm", "dtype_bf16", "gfx90a", True),
        ("rocm", "dtype_bf16", "gfx1100", True),
        ("npu", "dtype_bf16", "Ascend910A", False),
        ("npu", "dtype_bf16", "Ascend910B", False),
        ("npu", "dtype_bf16", "Ascend910B4-1", True),
        ("npu", "dtype_bf16", "Ascend910_9391", True),
        ("npu", "dtype_bf16", "Ascend310P3", False),
        ("mps", "dtype_bf16", "M1 macOS 13", False),
        ("mps", "dtype_bf16", "M1 macOS 26", True),
        ("cpu", "dtype_bf16", "avx2 avx512f", False),
        ("cpu", "dtype_bf16", "avx2 avx512_bf16", True),
        ("cpu", "dtype_bf16", "asimd bf16", True),
        ("cuda", "bnb_int8", "7.0", False),
        ("cuda", "bnb_int8", "7.5", True),
        ("cuda", "dtype_fp8", "8.6", False),
        ("cuda", "dtype_fp8", "8.9", True),
    ],
)
def test_a_cell_tells_which_devices_have_it(
    backend: str, capability: str, device: str, has_it: bool
) -> None:
    assert BACKENDS[backend].cell(capability).covers(device) is has_it


def test_the_table_names_no_host_to_install_from() -> None:
    content = TABLE.read_text(encoding="utf-8")
    assert not re.search(r"https?://|quay\.io|pypi\.org|download\.pytorch", content)


def test_importing_the_rows_reads_nothing() -> None:
    code = (
        "import sys; from swiftbox.devices import backends;"
        "print(backends.rows.cache_info().currsize, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]
