"""A merge as a run: from a training to a merged model, its output, and a kill in between."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from adapters import logits, make_adapter, make_run, qlora, token_ids
from box import events, gone, started, state, until
from in_process import box
from tiny import write_chats, write_config

from swiftbox.config.presets import presets


def merge_of(adapter: Path, cwd: Path, *keys: str) -> Path:
    """Run the preset; return the run's folder."""
    out = cwd / "merged"
    box("run", str(presets()["merge"]), f"adapter={adapter}", f"output_dir={out}", *keys, cwd=cwd)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["full", "dequantized"])
def test_a_qlora_training_is_merged_by_the_preset(
    quantization: str, tiny: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    chats = write_chats(tmp_path / "chat.jsonl", 20)
    trained = tmp_path / "trained"
    keys = {"tuner_type": "qlora", "output_dir": str(trained), "learning_rate": 1e-2}
    config = write_config(tmp_path / "a.yaml", tiny, chats, **keys)
    box("run", str(config), cwd=tmp_path)
    out = merge_of(trained, tmp_path, f"merge_base={quantization}")
    (event,) = events(out, "merged")
    assert event["steps"][0]["maximum"] <= event["steps"][0]["limit"]
    assert (event["bases"]["merged"], event["bases"]["maximum"] > 1e-3) == (quantization, True)
    assert state(out)["status"] == "done"
    listed = box("runs", "list", "--json", cwd=tmp_path).stdout
    assert [row["status"] for row in json.loads(listed) if row["name"] == "merged"] == ["done"]
    merged = AutoModelForCausalLM.from_pretrained(out / "model")
    plain = AutoModelForCausalLM.from_pretrained(tiny)
    ids = token_ids(tiny)
    assert (logits(merged, ids) - logits(plain, ids)).abs().max() > 1e-3


@pytest.mark.slow
def test_a_merge_prints_its_phases_its_figures_and_the_path_of_the_model(
    tiny: Path, tmp_path: Path
) -> None:
    run = make_run(make_adapter(tiny, tmp_path / "run" / "model"), tiny, **qlora())
    out = tmp_path / "merged"
    done = box("run", str(presets()["merge"]), f"adapter={run}", f"output_dir={out}", cwd=tmp_path)
    seen = done.stdout + done.stderr
    for line in (
        "> merging: ",
        "> saving the model: model",
        "> checking the written model",
        "merged model equals base and adapter",
        "trained on NF4: merged into the full base; merged into the dequantized base, logits",
        f"model: {out / 'model'}",
    ):
        assert line in seen, seen


@pytest.mark.slow
def test_a_killed_merge_leaves_no_model_and_resumes(tiny: Path, tmp_path: Path) -> None:
    adapter, out = make_adapter(tiny, tmp_path / "a"), tmp_path / "merged"
    arguments = ("run", str(presets()["merge"]), f"adapter={adapter}", f"output_dir={out}")
    with started(*arguments, cwd=tmp_path):
        until((out / ".model").is_dir, what="the folder that is written aside")
        child = state(out)["pid"]
        os.kill(child, signal.SIGKILL)
        until(lambda: gone(child), what="the end of the child")
        until(lambda: state(out)["status"] == "failed", what="the recorded end")
    assert not (out / "model").exists()
    assert not events(out, "done")
    box("runs", "resume", str(out), cwd=tmp_path)
    assert (out / "model" / "model.safetensors").is_file()
    assert not (out / ".model").exists()


def test_a_refusal_exits_with_2_and_starts_no_run(tiny: Path, tmp_path: Path) -> None:
    arguments = (f"adapter={tiny}", f"model={tiny}", "output_dir=merged")
    done = box("run", str(presets()["merge"]), *arguments, cwd=tmp_path, code=2)
    assert "error: adapter:" in done.stderr
    assert "hint: this is a complete model" in done.stderr
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
def test_a_failed_check_exits_with_1(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(tiny, tmp_path / "a")
    weights = load_file(adapter / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    arguments = (f"adapter={adapter}", f"output_dir={tmp_path / 'out'}")
    done = box("run", str(presets()["merge"]), *arguments, cwd=tmp_path, code=1)
    assert "cannot be merged" in done.stderr
    assert [event["kind"] for event in events(tmp_path / "out", "failed")] == ["failed-check"]
    assert not (tmp_path / "out" / "model").exists()
