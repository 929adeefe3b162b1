"""Each capability of the cuda rows has a test on a device, or a written reason why not."""

from __future__ import annotations

import ast
from pathlib import Path

from swiftbox.devices.backends import BACKENDS

GPU_TESTS = Path(__file__).parents[1] / "gpu"

WITHOUT_TEST = {
    "torch_wheel": "arguments of pip install; scripts/setup.sh uses them",
    "peer_transfer": "needs a pair of RTX 40 cards and an old driver; the rule is accelerate's",
    "dtype_fp8": "nothing trains or serves in fp8 yet",
    "gptq_infer": "its package is built on the machine for ten minutes",
    "gptq_train": "its package is built on the machine for ten minutes",
    "awq": "its package is built on the machine for ten minutes",
    "fsdp2": "needs two devices; tests/core/training/test_sharding.py has its logic",
    "tensor_parallel": "only vllm uses it",
    "deepspeed_zero2": "needs two devices, deepspeed and nvcc",
    "deepspeed_zero3": "needs two devices, deepspeed and nvcc",
    "deepspeed_offload": "needs deepspeed and nvcc",
    "serve_vllm": "needs an environment of several gigabytes from the package index",
    "serve_sglang": "needs an environment of several gigabytes from the package index",
    "serve_lmdeploy": "needs an environment of several gigabytes from the package index",
}


def rows_with_test() -> set[str]:
    """Return the rows that `@pytest.mark.gpu("row", ...)` names in tests/gpu."""
    rows = set()
    for path in GPU_TESTS.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.gpu":
                rows |= {ast.literal_eval(argument) for argument in node.args}
    return rows


def test_every_cuda_row_has_a_test_on_a_device_or_a_reason() -> None:
    supported = {name for name in BACKENDS["cuda"].cells if BACKENDS["cuda"].can(name)}
    assert supported - rows_with_test() - WITHOUT_TEST.keys() == set()


def test_no_row_has_a_test_and_a_reason_against_it() -> None:
    assert rows_with_test() & WITHOUT_TEST.keys() == set()


def test_every_row_that_a_test_names_exists() -> None:
    known = set(BACKENDS["cuda"].cells)
    assert (rows_with_test() | WITHOUT_TEST.keys()) - known == set()


def test_every_test_on_a_device_names_its_rows() -> None:
    for path in GPU_TESTS.glob("test_*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
                assert "pytest.mark.gpu('" in marks, f"{path.name}: {node.name}"
