"""Several processes on CPUs: DDP gives the losses of one process, FSDP really shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from box import HANG_S, events, losses
from box import box as box_in_child
from in_process import box
from safetensors.torch import load_file
from tiny import write_chats, write_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SHARDED_CHILD = Path(__file__).with_name("sharded_child.py")
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--nproc_per_node=2",
    "--rdzv-backend=c10d",
    "--rdzv-endpoint=127.0.0.1:0",
    "--local-addr=127.0.0.1",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_chats(tmp_path / "chat.jsonl", 32)


def test_two_processes_give_the_losses_of_one(tmp_path: Path, tiny: Path, data: Path) -> None:
    config = write_config(tmp_path / "a.yaml", tiny, data, max_steps=4)
    single = ["gradient_accumulation_steps=2", "output_dir=one"]
    held_out = ["val_size=5", "eval_steps=1"]  # an odd number: two processes share it unevenly
    two = ["distributed=ddp", "num_devices=2", "output_dir=two"]
    box("run", str(config), "--plain", *single, *held_out, cwd=tmp_path)
    box_in_child("run", str(config), "--plain", *two, *held_out, cwd=tmp_path)
    expected, distributed = losses(tmp_path / "one"), losses(tmp_path / "two")
    # AdamW divides gradients by their size, which enlarges their float32 rounding (1e-6).
    assert distributed == pytest.approx(expected, abs=1e-3)
    assert len(distributed) == 4
    measured = [
        [event["loss"] for event in events(tmp_path / name, "eval")] for name in ("one", "two")
    ]
    assert measured[1] == pytest.approx(measured[0], abs=1e-3)


def test_torchrun_starts_the_published_command(tmp_path: Path, tiny: Path, data: Path) -> None:
    options = {
        "model_type": "qwen",
        "train_type": "ddp",
        "model_name_or_path": tiny,
        "dataset": data,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "report_to": "none",
        "output_dir": tmp_path / "run",
    }
    arguments = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(
        [*TORCHRUN, str(ROOT / "scripts" / "train.py"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    assert [step["step"] for step in events(tmp_path / "run", "step")] == [1, 2]
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").is_file()


def test_the_torchrun_entry_refuses_a_wrong_value_once(
    tmp_path: Path, tiny: Path, data: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), "--model", str(tiny), "--dataset",
         str(data), "--learning_rate", "-1", "--train_type", "lora"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 2
    assert "learning_rate=-1 should be greater than 0" in done.stderr


SHARDED = {"lora": "float32", "full": "float32", "lora-half": "bfloat16"}
"""The number type of each training: two processes run all of them, as each pair costs seconds."""


def test_fsdp_shards_every_parameter_and_learns_the_same(
    tmp_path: Path, tiny: Path, data: Path
) -> None:
    configs = []
    for name, dtype in SHARDED.items():
        keys = {"tuner_type": name.removesuffix("-half"), "dtype": dtype, "output_dir": name}
        path = tmp_path / f"{name}.yaml"
        configs.append(write_config(path, tiny, data, max_steps=3, save_steps=0, seed=0, **keys))
        box("run", str(configs[-1]), "--plain", "gradient_accumulation_steps=2", cwd=tmp_path)
    answer = tmp_path / "answer.json"
    done = subprocess.run(
        [*TORCHRUN, str(SHARDED_CHILD), str(tmp_path / "two"), str(answer), *map(str, configs)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(answer.read_text("utf-8"))
    for (name, dtype), result in zip(SHARDED.items(), results, strict=True):
        # Rounding of gradients, enlarged by AdamW: 2**-8 in bfloat16, 1e-6 in float32.
        within = 5e-2 if dtype == "bfloat16" else 1e-3
        expected = [losses(tmp_path / name)[step] for step in (1, 2, 3)]
        assert result["losses"] == pytest.approx(expected, abs=within), name
        assert result["sharded"] > 20, name
    _require_equal_models(tmp_path / "two" / "model", tmp_path / "full" / "model")


def _require_equal_models(sharded: Path, single: Path) -> None:
    """Compare a bfloat16 model, saved by two processes, with a float32 one saved by one."""
    assert json.loads((sharded / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"
    expected = load_file(single / "model.safetensors")
    weights = load_file(sharded / "model.safetensors")
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        assert weight.dtype == torch.bfloat16
        # A rounding by 2**-9, and AdamW's steps, which enlarge the rounding of gradients.
        assert torch.allclose(weight.float(), expected[name], rtol=2**-8, atol=2e-3), name
