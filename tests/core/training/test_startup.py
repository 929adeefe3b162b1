"""A training imports what it uses: packages that its config does not need stay unimported."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from broken_packages import install_broken
from tiny import write_chats, write_config

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.merge import MergeConfig
from swiftbox.config.train import TrainConfig
from swiftbox.methods import METHODS
from swiftbox.runs.optional_packages import MEDIA, SCIENCE, hide_packages, reveal_packages
from swiftbox.tasks import deploy
from swiftbox.tasks.deploy import DEPLOY
from swiftbox.tasks.merge import MERGE
from swiftbox.tasks.training_packages import needs_bitsandbytes, unused_packages

HEAVY = {
    "bitsandbytes",
    "datasets",
    "pandas",
    "scipy",
    "sklearn",
    "tensorboard",
    "torch._inductor.compile_fx",
    "torch.utils.tensorboard",
    "trl",
    "modelscope",
}
"""Packages that cost much time to import and that a LoRA on plain weights does not need."""

FRONT_ONLY = {
    "swiftbox.fit.estimate",
    "swiftbox.fit.forecast",
    "swiftbox.tasks.training_check",
    "swiftbox.tasks.training_resolve",
}
"""Modules that plan and check a training, which the front has done before the child starts."""

CHILD = """
import json, sys
from pathlib import Path
from swiftbox import worker
from swiftbox.runs import events, folder

imported, append_event = {}, folder.append_event

def recording(run, event, **fields):
    imported.setdefault(event, [name for name in sys.modules if sys.modules[name] is not None])
    append_event(run, event, **fields)

folder.append_event = recording
code = worker.main([sys.argv[1]])
Path(sys.argv[1], "imported.json").write_text(json.dumps(imported))
sys.exit(code)
"""


def settled_run(tmp_path: Path, model: Path, **keys: object) -> Path:
    """Return the folder of a run that trains one step."""
    data = write_chats(tmp_path / "chat.jsonl", 8)
    folder = tmp_path / "run"
    folder.mkdir()
    settled = {
        "max_steps": 1,
        "save_steps": 0,
        "report_to": "tensorboard",
        "attn_implementation": "sdpa",
        "optim": "adamw_torch",
        "gradient_checkpointing": "false",
        "padding_free": "true",
        "distributed": "none",
        "learning_rate": 1e-3,
        **keys,
    }
    path = write_config(tmp_path / "a.yaml", model, data, **settled)
    (folder / "settled.yaml").write_text(path.read_text("utf-8"), "utf-8")
    return folder


def run_child(folder: Path, **variables: str) -> str:
    """Run a child process to its end; return what it printed."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, **variables},
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


def imported_by(folder: Path, event: str) -> set[str]:
    """Return the modules that a child process had imported at an event."""
    return set(json.loads((folder / "imported.json").read_text("utf-8"))[event])


def test_a_lora_on_plain_weights_imports_no_package_it_does_not_use_and_prints_any_text(
    tmp_path: Path, tiny: Path
) -> None:
    folder = settled_run(tmp_path, tiny)
    printed = run_child(folder, PYTHONIOENCODING="latin-1", SWIFTBOX_LANG="zh")
    assert "个参数中的" in printed  # whatever the encoding of the terminal
    imported = imported_by(folder, "step")
    assert imported & HEAVY == set()
    assert imported & FRONT_ONLY == set()
    assert list((folder / "tensorboard").glob("events.*"))


def test_a_broken_package_that_a_task_does_not_use_does_not_stop_it(
    tmp_path: Path, tiny: Path
) -> None:
    broken = install_broken(
        tmp_path / "packages", MEDIA | SCIENCE | {"tensorboard", "bitsandbytes"}
    )
    training = settled_run(tmp_path, tiny)
    run_child(training, PYTHONPATH=str(broken))
    recorded = events_of(training)
    (note,) = (event for event in recorded if event.get("key") == "report_to")
    assert "tensorboard cannot be imported (tensorboard is broken)" in note["message"]
    assert recorded[-1]["event"] == "done"
    merge = tmp_path / "merge"
    merge.mkdir()
    settled = (
        f"task: merge\nmodel: {tiny}\nadapter: {training / 'model'}\nhub: local\ndtype: float32\n"
    )
    (merge / "settled.yaml").write_text(settled, "utf-8")
    run_child(merge, PYTHONPATH=str(broken))
    assert events_of(merge)[-1]["event"] == "done"


@pytest.mark.slow
def test_a_quantized_base_imports_bitsandbytes_and_trains(tmp_path: Path, tiny: Path) -> None:
    keys = {"tuner_type": "qlora", "quant_bits": 4, "quant_method": "bnb"}
    folder = settled_run(tmp_path, tiny, **keys)
    run_child(folder)
    assert "bitsandbytes" in imported_by(folder, "step")


def events_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def config_of(stage: str = "sft", **keys: object) -> TrainConfig:
    return METHODS[stage].config.model_validate(
        {"model": "m", "dataset": "d", "stage": stage, "distributed": "none", **keys}
    )


def test_only_packages_that_no_setting_needs_are_hidden() -> None:
    assert unused_packages(config_of()) == {"bitsandbytes", "datasets", *SCIENCE, *MEDIA}
    assert "bitsandbytes" not in unused_packages(config_of(tuner_type="qlora"))
    assert "bitsandbytes" not in unused_packages(config_of(optim="paged_adamw_8bit"))
    reporters = ["wandb", "tensorboard"]
    assert unused_packages(config_of(report_to=reporters)) == {"bitsandbytes", *MEDIA}
    assert unused_packages(config_of("grpo", reward_funcs="length")) == {"bitsandbytes", *MEDIA}
    assert unused_packages(config_of(trust_remote_code=True)) == set()
    assert unused_packages(config_of(distributed="zero3")) == set()
    assert DEPLOY.unused_packages(DeployConfig(model="m")) == {"bitsandbytes", *SCIENCE, *MEDIA}
    assert DEPLOY.unused_packages(DeployConfig(model="m", trust_remote_code=True)) == set()
    merge = {"model": "m", "adapter": "a"}
    assert MERGE.unused_packages(MergeConfig.model_validate(merge)) == SCIENCE | MEDIA
    trusting = MergeConfig.model_validate({**merge, "trust_remote_code": True})
    assert MERGE.unused_packages(trusting) == set()


def test_a_model_that_is_already_quantized_needs_bitsandbytes(tmp_path: Path, tiny: Path) -> None:
    assert not needs_bitsandbytes(tiny)
    config = {"quantization_config": {"quant_method": "bitsandbytes"}}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert needs_bitsandbytes(tmp_path)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_server_of_a_quantized_model_finds_bitsandbytes(
    quantized: bool, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    if quantized:
        config = json.loads((model / "config.json").read_text("utf-8"))
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        (model / "config.json").write_text(json.dumps(config), "utf-8")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as the worker hides it
    monkeypatch.setattr(deploy, "run_deployment", lambda _: {"requests": 0})
    deploy.run(DeployConfig(model=str(model), hub="local"), tmp_path, lambda *_, **__: None)
    assert ("bitsandbytes" not in sys.modules) is quantized


def test_a_hidden_package_appears_not_installed_until_it_is_revealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_package.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    hide_packages(["a_package", "json"])
    assert importlib.util.find_spec("a_package") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("a_package")
    assert sys.modules["json"] is json  # imported before: left alone
    reveal_packages(["a_package", "json"])
    importlib.import_module("a_package")
    assert sys.modules["json"] is json
    monkeypatch.delitem(sys.modules, "a_package")
