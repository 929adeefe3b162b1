"""Every row of the table of engines is sane: pins, backends, sizes, self-tests, refusals."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from swiftbox import engines
from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.engine import EVERYWHERE, Engine
from swiftbox.engines.preconditions import disk_bytes
from swiftbox.engines.process_group import GUARD
from swiftbox.engines.tool_runner import TOOLS

ROWS = list(engines.ENGINES.values())
BY_NAME = [pytest.param(row, id=row.name) for row in ROWS]
WHERE = [
    pytest.param(row, backend, id=f"{row.name}-{backend}") for row in ROWS for backend in BACKENDS
]


def test_these_engines_exist() -> None:
    names = set("gptq compress evalscope lm_eval llama_cpp vllm lmdeploy sglang".split())
    assert set(engines.ENGINES) == names
    assert all(name == engine.name for name, engine in engines.ENGINES.items())


@pytest.mark.parametrize(("engine", "backend"), WHERE)
def test_a_row_pins_what_it_installs_or_says_why_it_is_not_for_a_backend(
    engine: Engine, backend: str
) -> None:
    refusal = engine.refusal(backend)
    if refusal:
        assert len(refusal) > 10
        return
    packages = engine.requested(backend)
    assert packages
    loose = [package for package in packages if "==" not in package]
    assert loose in ([], ["decorator"])  # torch-npu does not declare it
    assert len(engine.pins(backend)) == len(packages) - len(loose)
    assert engine.size(backend) > 100e6


@pytest.mark.parametrize("engine", BY_NAME)
def test_a_row_is_about_something_known(engine: Engine) -> None:
    assert set(engine.requirements) <= {EVERYWHERE, *BACKENDS}
    assert {*engine.backends, *engine.measured, *engine.size_bytes} <= {EVERYWHERE, *BACKENDS}
    assert not engine.capability or engine.capability in BACKENDS["cpu"].cells
    assert 10 <= engine.python[0] <= engine.python[1]
    tree = ast.parse(engine.selftest)
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree)), "it exercises the tool"


def test_the_torch_of_a_row_is_that_of_the_project_where_it_shares_it() -> None:
    pins = (Path(engines.__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    for engine in ROWS:
        assert not engine.torch or f'"torch=={engine.torch}"' in pins


def test_a_row_agrees_with_the_install_cell_of_its_capability() -> None:
    cell = BACKENDS["cpu"].cell("gptq_infer").install.split()
    exact = [package for package in cell if "==" in package]
    assert set(exact) <= set(engines.ENGINES["gptq"].requested("cpu"))
    assert engines.ENGINES["vllm"].requested("npu") == ("vllm==0.23.0", "vllm-ascend==0.23.0.post1")


@pytest.mark.parametrize(
    ("name", "backend", "why"),
    [
        ("vllm", "rocm", "ROCm wheels"),
        ("vllm", "cpu", "CPU build"),
        ("vllm", "mps", "vllm-metal"),
        ("sglang", "npu", "from its image"),
        ("lmdeploy", "cpu", "needs an accelerator"),
        ("compress", "mps", "not been confirmed to run on mps"),
    ],
)
def test_an_engine_that_pip_cannot_install_is_refused_with_the_reason(
    name: str, backend: str, why: str
) -> None:
    assert why in engines.ENGINES[name].refusal(backend)


def test_torch_comes_with_the_plugin_of_the_backend() -> None:
    gptq = engines.ENGINES["gptq"]
    assert gptq.torch_packages("npu") == ("torch==2.13.0", "torch-npu==2.13.0", "decorator")
    assert gptq.torch_packages("cuda") == ("torch==2.13.0",)
    assert engines.ENGINES["evalscope"].torch_packages("cuda") == ()


def test_every_script_belongs_to_a_row_and_stands_alone() -> None:
    scripts = {path.stem: path for path in TOOLS.glob("*.py") if path.stem != "__init__"}
    of_rows = {tool for row in ROWS for tool in row.tools}
    ours = {"gguf", "run_program"}  # run by our Python: a converter, and servers
    assert set(scripts) == of_rows | ours
    for path in (*scripts.values(), GUARD):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "swiftbox" for name in names), path.name


@pytest.mark.parametrize(("cores", "variables"), [(2, {"GPTQMODEL_CPU_WORKERS": "2"}), (64, {})])
def test_machines_with_few_cores_get_additional_variables(
    cores: int, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert engines.ENGINES["gptq"].environment() == variables


@pytest.mark.parametrize(("build", "additional"), [({"cuda": "13.0"}, 4.5e9), ({}, 0)])
def test_cuda_libraries_count_if_our_torch_came_with_them(
    build: dict[str, str], additional: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "torch_folder", lambda: Path("torch"))
    monkeypatch.setattr(host, "torch_build", lambda _folder: build)
    monkeypatch.delenv("SWIFTBOX_TORCH_INDEX", raising=False)
    lm_eval, evalscope = (engines.ENGINES[name] for name in ("lm_eval", "evalscope"))
    assert disk_bytes(lm_eval, "cpu") == lm_eval.size("cpu") + additional
    assert disk_bytes(lm_eval, "cuda") == lm_eval.size("cuda")  # it needs them, and counts them
    assert disk_bytes(evalscope, "cpu") == evalscope.size("cpu")
    monkeypatch.setenv("SWIFTBOX_TORCH_INDEX", "https://example.org/cpu")
    assert disk_bytes(lm_eval, "cpu") == lm_eval.size("cpu")
