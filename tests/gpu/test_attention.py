"""Every attention that the device supports gives the losses of plain attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device import OnDevice
from tiny import write_pairs
from transformers import AutoModelForCausalLM

from swiftbox.core.attention.kernels import HeadShape, kernel_problem
from swiftbox.core.attention.varlen import VARLEN, use_varlen
from swiftbox.core.data.batches import ONE_LINE, SHARED_LINE
from swiftbox.core.losses import scoring
from swiftbox.core.training.model_checks import prefix_sharing_is_exact

ROWS = {
    "varlen": "attn_varlen",
    "flash_attention_2": "attn_flash_attention_2",
    "flash_attention_3": "attn_flash_attention_3",
    "flex_attention": "attn_flex",
}
COMPILED = pytest.param("flex_attention", marks=pytest.mark.slow)
"""Its kernels are compiled, for a minute."""

LONG_PROMPT = 1500
"""Characters."""


@pytest.mark.gpu(
    "attn_sdpa", "attn_varlen", "attn_flash_attention_2", "attn_flash_attention_3", "attn_flex"
)
@pytest.mark.parametrize("name", [*(name for name in ROWS if name != "flex_attention"), COMPILED])
def test_an_attention_gives_the_losses_of_plain_attention(
    on_device: OnDevice, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device.require(ROWS[name])
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    dtype = "bfloat16" if on_device.machine.devices else "float32"
    plain = on_device.train("plain", attn_implementation="eager", padding_free="false", dtype=dtype)
    other = on_device.train("other", attn_implementation=name, dtype=dtype)
    assert plain.attention.keys() == {"eager"}
    other.require_note("padding_free", f"{name} keeps them apart")
    assert other.attention.keys() == {VARLEN if name == "varlen" else name}
    # Rounding of bfloat16 in the attention moves a loss by less than 1 %; a leak by much more.
    assert other.losses == pytest.approx(plain.losses, rel=1e-2)


@pytest.mark.gpu("attn_varlen")
@pytest.mark.parametrize("width", [64, 96, 128, 256])
def test_the_variable_length_kernel_is_exact_for_the_usual_heads(
    on_device: OnDevice, width: int
) -> None:
    on_device.require("attn_varlen")
    dtype = torch.bfloat16 if on_device.machine.devices else torch.float32
    heads = HeadShape(heads=8, kv_heads=2, width=width)
    assert kernel_problem(heads, dtype, torch.device(on_device.torch_device)) == ""


@pytest.mark.gpu("attn_varlen")
def test_a_prompt_shared_in_a_line_without_a_mask_is_exact(on_device: OnDevice) -> None:
    """The kernel must align its causal mask to the last key when a row has more keys."""
    on_device.require("attn_varlen")
    dtype = torch.bfloat16 if on_device.machine.devices else torch.float32
    device = torch.device(on_device.torch_device)
    model = AutoModelForCausalLM.from_pretrained(on_device.model, dtype=dtype).to(device)
    assert use_varlen(model, dtype, device) == ""
    assert prefix_sharing_is_exact(model, dtype, (SHARED_LINE, ONE_LINE))


@pytest.mark.gpu("attn_sdpa")
def test_joined_rows_give_the_losses_of_padded_rows(on_device: OnDevice) -> None:
    joined = on_device.train("joined", attn_implementation="sdpa", padding_free="true")
    padded = on_device.train("padded", attn_implementation="sdpa", padding_free="false")
    joined.require_note("padding_free", "sdpa keeps them apart")
    assert joined.losses == pytest.approx(padded.losses, rel=1e-2)


def write_long_prompts(path: Path) -> Path:
    """Write pairs whose prompts are so long that computing them once pays, also with a mask."""
    lines = write_pairs(path, 40).read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row["prompt"] = " ".join([row["prompt"]] * (LONG_PROMPT // len(row["prompt"])))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


@pytest.mark.gpu("attn_sdpa", "attn_varlen")
@pytest.mark.parametrize("name", ["sdpa", "varlen"])
def test_a_shared_prompt_gives_the_losses_of_repeated_prompts(
    on_device: OnDevice, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device.require(f"attn_{name}")
    in_16_bits = name == "varlen" and bool(on_device.machine.devices)
    keys = {
        "stage": "dpo",
        "dataset": write_long_prompts(on_device.folder / "pairs.jsonl"),
        "attn_implementation": name,
        "dtype": "bfloat16" if in_16_bits else "float32",
        "max_length": 1024,
    }
    shared_groups: list[int] = []

    def scored_batch(rows: Any, groups: Any, layout: str) -> dict[str, Any]:
        shared_groups.append(sum(group.shared > 0 for group in groups))
        return original(rows, groups, layout)

    original = scoring.scored_batch
    monkeypatch.setattr(scoring, "scored_batch", scored_batch)
    shared = on_device.train("shared", **keys)
    shared.require_note("prefix_sharing", "computed once")
    assert shared.attention.keys() == {VARLEN if name == "varlen" else name}
    assert sum(shared_groups) >= 24  # four pairs in each of six updates
    shared_groups.clear()
    apart = on_device.train("apart", **keys, prefix_sharing="false")
    assert sum(shared_groups) == 0
    # In 16 bits, rounding of the rewards adds up to 2 % of a loss within six steps.
    assert shared.losses == pytest.approx(apart.losses, rel=5e-2 if in_16_bits else 1e-2)
