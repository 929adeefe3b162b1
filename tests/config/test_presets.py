"""A preset's example adapter gives way to the model that the user names."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftbox.cli.main import main
from swiftbox.tasks.load import load


def new(folder: Path, *words: str) -> Path:
    target = folder / "new.yaml"
    assert main(["new", *words, "-o", str(target)]) == 0
    return target


@pytest.mark.parametrize("preset", ["quantize", "quantize-gptq", "deploy", "chat", "evaluate"])
def test_a_model_leaves_no_example_adapter_beside_it(preset: str, tmp_path: Path) -> None:
    target = new(tmp_path, preset, "model=X")
    assert "\nadapter:" not in target.read_text("utf-8")
    config = load(target).config.model_dump()
    assert (config["model"], config["adapter"]) == ("X", None)


@pytest.mark.parametrize("preset", ["chat", "evaluate"])
def test_a_server_leaves_no_example_adapter_beside_it(preset: str, tmp_path: Path) -> None:
    target = new(tmp_path, preset, "endpoint=http://127.0.0.1:1/v1")
    assert load(target).config.model_dump()["adapter"] is None


def test_an_adapter_that_the_user_names_stays_beside_the_model(tmp_path: Path) -> None:
    target = new(tmp_path, "quantize", "model=X", "adapter=runs/my-lora")
    assert load(target).config.model_dump()["adapter"] == "runs/my-lora"


def test_a_merge_keeps_its_adapter_since_it_needs_one(tmp_path: Path) -> None:
    assert load(new(tmp_path, "merge", "model=X")).config.model_dump()["adapter"] == "runs/my-lora"
