"""Adapters that train single rows of the embeddings are merged, by peft itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import logits, make_adapter, save_adapter
from merge_run import MergeRun, adapter_logits, close
from peft import PeftModel
from safetensors.torch import load_file, save_file
from test_merging_embeddings import tied
from transformers import AutoModelForCausalLM

from swiftbox.errors import ConfigError, RunError

pytestmark = pytest.mark.filterwarnings("ignore")

__all__ = ["tied"]

WEIGHTS = "adapter_model.safetensors"
NEW = torch.tensor([[5, 600, 9, 603, 601]])


def trained(adapter: Path, amount: float = 0.5) -> Path:
    """Change the rows of an adapter as a training does; those of a tied head alike."""
    tensors = load_file(adapter / WEIGHTS)
    for name in tensors:
        if name.endswith("trainable_tokens_delta"):
            noise = torch.Generator().manual_seed(1)
            tensors[name] += amount * torch.randn(tensors[name].shape, generator=noise)
    save_file(tensors, adapter / WEIGHTS, metadata={"format": "pt"})
    return adapter


def resized(source: Path, folder: Path, rows: dict[str, list[int]], size: int) -> Path:
    """Save the adapter of a base that was resized before peft got it: with all embeddings."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    torch.manual_seed(5)
    model.resize_token_embeddings(size, mean_resizing=False)
    return trained(save_adapter(model, source, folder, trainable_token_indices=rows))


def with_peft(source: Path, adapter: Path, size: int) -> Any:
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model.resize_token_embeddings(size, mean_resizing=False)
    return PeftModel.from_pretrained(model, adapter)


ROWS = {
    "embeddings": {"embed_tokens": [5, 9]},
    "both": {"embed_tokens": [5, 9], "lm_head": [5, 9]},
    "other rows of the head": {"embed_tokens": [5, 9], "lm_head": [7]},
}


@pytest.mark.parametrize("rows", ROWS)
def test_rows_of_an_untied_base_are_merged(rows: str, tiny: Path, tmp_path: Path) -> None:
    adapter = trained(make_adapter(tiny, tmp_path / "a", trainable_token_indices=ROWS[rows]))
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    ids = torch.tensor([[5, 17, 9, 40, 7]])
    expected = adapter_logits(tiny, adapter, ids)
    assert close(logits(merged.model(), ids), expected)
    without = make_adapter(tiny, tmp_path / "b")
    assert (adapter_logits(tiny, without, ids) - expected).abs().max() > 0.05


@pytest.mark.parametrize(
    ("which", "numbers"),
    [("plain", [601, 603]), ("tied", [601, 603]), ("both", [600, 601, 602, 603])],
)
def test_a_resized_base_is_merged_with_all_its_rows(
    which: str, numbers: list[int], tiny: Path, tied: Path, tmp_path: Path
) -> None:
    source = tied if which == "tied" else tiny
    rows = {"embed_tokens": numbers, **({"lm_head": numbers} if which == "both" else {})}
    adapter = resized(source, tmp_path / "a", rows, 604)
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    assert close(logits(merged.model(), NEW), logits(with_peft(source, adapter, 604), NEW))
    assert merged.model().config.vocab_size == 604
    assert merged.model().config.tie_word_embeddings == (which == "tied")


def test_rows_of_a_tied_head_that_differ_are_not_lost(tied: Path, tmp_path: Path) -> None:
    adapter = resized(tied, tmp_path / "a", {"embed_tokens": [600, 601, 602, 603]}, 604)
    tensors = load_file(adapter / WEIGHTS)
    tensors["base_model.model.lm_head.token_adapter.trainable_tokens_delta"] += 1
    save_file(tensors, adapter / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"lm_head\.token_adapter\.trainable_tokens_delta"):
        MergeRun(tmp_path / "out", adapter=adapter)


def without_tables(adapter: Path, folder: Path) -> Path:
    """Copy an adapter without the embeddings: its rows alone do not say what the others are."""
    shutil.copytree(adapter, folder)
    tensors = {name: t for name, t in load_file(folder / WEIGHTS).items() if "lora" in name}
    tensors |= {name: t for name, t in load_file(adapter / WEIGHTS).items() if "delta" in name}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def test_rows_with_gaps_are_refused_and_the_resized_model_is_the_cure(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = resized(tiny, tmp_path / "complete", {"embed_tokens": [601, 603]}, 604)
    adapter = without_tables(complete, tmp_path / "a")
    with pytest.raises(ConfigError, match="do not continue the 600 of the base") as refused:
        MergeRun(tmp_path / "out", adapter=adapter)
    assert "to the resized model" in refused.value.hint
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    model.resize_token_embeddings(604, mean_resizing=False)
    larger = shutil.copytree(tiny, tmp_path / "larger")
    model.save_pretrained(larger)
    merged = MergeRun(tmp_path / "merged", adapter=adapter, model=larger)
    assert close(logits(merged.model(), NEW), adapter_logits(larger, adapter, NEW))
    monkeypatch.setattr("swiftbox.tasks.merge.require_rows_of_tokens", lambda *_: None)
    with pytest.raises(RunError, match="do not continue the 600 of the base"):
        MergeRun(tmp_path / "out", adapter=adapter, model=tiny)


@pytest.mark.parametrize("rows", [[700], [-1], ["600"], [600, 10**12], [[600]], 5])
def test_malformed_numbers_of_rows_are_refused_at_check(
    rows: object, tiny: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", trainable_token_indices={"embed_tokens": [5]})
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    config["trainable_token_indices"] = {"embed_tokens": rows}
    (adapter / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ConfigError):
        MergeRun(tmp_path / "out", adapter=adapter)
