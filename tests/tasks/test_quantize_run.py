"""A quantization as a run: an adapter merged and packed, its output, a kill and a resume."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import pytest
import torch
from adapters import make_adapter
from box import events, gone, losses, started, state, until
from documents import ROOT
from in_process import box
from stored_weights import held_out_pieces, perplexity, read_stored
from tiny import write_chats, write_config

from swiftbox.files import read_json

pytestmark = pytest.mark.slow

COMMAND = "swiftbox run configs/quantize.yaml adapter=runs/my-lora"
"""The command of the guide's page on quantization."""

SHORT = ("calibration_length=64", "max_perplexity_ratio=4")
"""A random tiny model's perplexity moves more than a trained one's."""


@pytest.fixture(scope="module")
def quantized(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of the command on the page, with the bits of larger models, and its output."""
    place = tmp_path_factory.mktemp("quantized")
    make_adapter(tiny, place / "runs" / "my-lora")
    (place / "configs").symlink_to(ROOT / "configs")
    arguments = (*shlex.split(COMMAND)[1:], *SHORT, "bits=4", "output_dir=out", "--plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWIFTBOX_HOME", str(place / "home"))
        patch.setenv("SWIFTBOX_LANG", "en")
        done = box(*arguments, cwd=place)
    return place / "out", done.stdout + done.stderr


def test_an_adapter_is_merged_quantized_checked_and_reported(quantized: tuple[Path, str]) -> None:
    out, done = quantized
    for line in (
        "merged model equals base and adapter",
        "> measuring perplexity",
        "> quantizing: NF4",
        "> checking the written model",
        "expected), 14 layers NF4",
        "held-out tokens: x ",
        f"model: {out / 'model'}",
    ):
        assert line in done, done
    record = read_json(out / "quantize.json")
    assert record["tokens"] == 16 * 63
    assert record["bytes_after"] < 0.75 * record["bytes_before"]
    assert {"bitsandbytes", "torch", "transformers"} <= set(record["versions"])
    assert (out / "model" / "chat_template.jinja").is_file()
    assert not (out / "work").exists()
    assert [event["event"] for event in events(out) if event["event"] in ("quantized", "done")] == [
        "quantized",
        "done",
    ]


def test_the_perplexity_is_that_of_the_stored_tensors(
    quantized: tuple[Path, str], tiny: Path
) -> None:
    out = quantized[0]
    recomputed = perplexity(tiny, read_stored(out / "model"), held_out_pieces(out, tiny))
    measured = read_json(out / "quantize.json")["perplexity_after"]
    assert recomputed == pytest.approx(measured, rel=1e-3)  # both in float32


def test_lora_trains_on_the_quantized_model(quantized: tuple[Path, str], tmp_path: Path) -> None:
    from peft import PeftModel
    from safetensors.torch import load_file

    from swiftbox.core.weights.load import load_pretrained

    base_model = quantized[0] / "model"
    before = load_file(base_model / "model.safetensors")
    chats = write_chats(tmp_path / "chat.jsonl", 20)
    keys = {"tuner_type": "qlora", "max_steps": 8, "learning_rate": 2e-2, "output_dir": "out"}
    config = write_config(tmp_path / "a.yaml", base_model, chats, **keys)
    box("run", str(config), cwd=tmp_path)
    step_losses = losses(tmp_path / "out")
    assert step_losses[8] < step_losses[1]
    after = load_file(base_model / "model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    model = load_pretrained(base_model, device_map={"": "cpu"})
    tuned = PeftModel.from_pretrained(model, tmp_path / "out" / "model")
    grown = [v for k, v in tuned.state_dict().items() if "lora_B" in k]
    assert grown
    assert any(bool(weight.abs().max() > 0) for weight in grown)


def test_a_resume_after_quantizing_continues_with_the_checks(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    preset = str(ROOT / "configs" / "quantize.yaml")
    arguments = ("run", preset, "adapter=null", f"model={tiny}", f"output_dir={out}", *SHORT)
    with started(*arguments, cwd=tmp_path):
        until((out / "work" / "quantized").is_dir, what="the quantized part")
        child = state(out)["pid"]
        os.kill(child, signal.SIGKILL)
        until(lambda: gone(child), what="the end of the child")
        until(lambda: state(out)["status"] == "failed", what="the recorded end")
    assert not (out / "model").exists()
    done = box("runs", "resume", str(out), cwd=tmp_path)
    assert "quantized: reusing the result from before the stop" in done.stdout + done.stderr
    assert (out / "model" / "model.safetensors").is_file()
    assert len(events(out, "done")) == 1
    stages = [event["name"] for event in events(out, "stage")]
    assert stages.count("measure") == stages.count("quantize") == 1
