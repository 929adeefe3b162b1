"""mergekit, installed for the test, mixes the same models to the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tuned_models import TaskRun, tune

pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("ignore")]

VERSION = "mergekit==0.1.5"

CODE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
settings = MergeConfiguration.model_validate(json.loads(sys.argv[2]))
run_merge(settings, sys.argv[3], MergeOptions(copy_tokenizer=False))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mergekit and the one package that it needs beside ours."""
    folder = tmp_path_factory.mktemp("packages")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--target", str(folder), VERSION, "immutables"], check=True)
    return folder


METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear": ({"merge_method": "linear"}, {"weights": [0.3, 0.7]}),
    "task arithmetic": ({"merge_method": "task_arithmetic"}, {"weights": [1.0, 0.5]}),
    "ties": ({"merge_method": "ties", "parameters": {"normalize": True}}, {"method": "ties"}),
    "slerp": ({"merge_method": "slerp"}, {"method": "slerp", "weights": [0.7, 0.3]}),
}
"""Settings of mergekit, and ours."""


@pytest.mark.parametrize("name", METHODS)
def test_mergekit_and_a_mix_agree(name: str, packages: Path, tiny: Path, tmp_path: Path) -> None:
    theirs, ours = METHODS[name]
    parts = [str(tune(tiny, tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    weights = ours.get("weights", [1.0, 1.0])
    models: list[dict[str, Any]] = [
        {"model": part, "parameters": {"weight": weight, "density": 0.5}}
        for part, weight in zip(parts, weights, strict=True)
    ]
    settings = {"base_model": str(tiny), "models": models, "dtype": "float32", **theirs}
    if name == "linear":
        del settings["base_model"]
    if name == "slerp":
        settings |= {"base_model": parts[0], "parameters": {"t": weights[1]}}
        settings["models"] = [{"model": part} for part in parts]
    out = tmp_path / "mergekit"
    command = [sys.executable, "-c", CODE, str(packages), json.dumps(settings), str(out)]
    subprocess.run(command, check=True)
    base_model = {"model": tiny} if name in ("task arithmetic", "ties") else {}
    run = TaskRun("mix", tmp_path / "out", tuned_model=parts, **ours, **base_model)
    expected = load_file(out / "model.safetensors")
    written = load_file(run.folder / "model.safetensors")
    assert written.keys() == expected.keys()
    for tensor, value in written.items():
        torch.testing.assert_close(value, expected[tensor], rtol=1e-6, atol=1e-6)
