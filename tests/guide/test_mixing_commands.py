"""The commands of the page on extracting and mixing are run, on tiny models."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from adapters import make_adapter, make_run
from documents import ROOT
from in_process import box
from tiny import write_chats

EXTRACT = "swiftbox run configs/extract.yaml tuned_model=runs/my-full"


@pytest.mark.slow
def test_an_adapter_is_extracted_from_a_full_training_as_the_page_says(
    tmp_path: Path, tiny: Path
) -> None:
    write_chats(tmp_path / "my.jsonl", 8)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    settings = (f"model={tiny}", "dataset=my.jsonl", "max_steps=2", "output_dir=runs/my-full")
    box("run", "configs/sft-full.yaml", *settings, "--plain", cwd=tmp_path)
    box(*shlex.split(EXTRACT)[1:], "--plain", cwd=tmp_path)
    (run,) = (tmp_path / "runs").glob("*extract*")
    adapter = json.loads((run / "model" / "adapter_config.json").read_text("utf-8"))
    assert adapter["base_model_name_or_path"] == str(tiny)
    assert json.loads((run / "extract.json").read_text("utf-8"))["error"] < 1


MIX = 'swiftbox run configs/mix.yaml adapter="[runs/my-lora, runs/other-lora]"'


@pytest.mark.slow
def test_two_adapters_are_mixed_as_the_page_says(tmp_path: Path, tiny: Path) -> None:
    for seed, name in enumerate(("my-lora", "other-lora")):
        make_run(make_adapter(tiny, tmp_path / "runs" / name / "model", seed=seed), tiny)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    box(*shlex.split(MIX)[1:], "--plain", cwd=tmp_path)
    (run,) = (tmp_path / "runs").glob("*linear-my-lora*")
    assert json.loads((run / "mix.json").read_text("utf-8"))["shares"] == [0.5, 0.5]
    assert json.loads((run / "model" / "adapter_config.json").read_text("utf-8"))["r"] == 8
