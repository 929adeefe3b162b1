"""Tied embeddings, embeddings trained separately, and new tokens are merged correctly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import logits, make_adapter, save_adapter, token_ids
from merge_run import MergeRun, adapter_logits, close
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import build
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from swiftbox.errors import ConfigError, RunError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose head is its embeddings."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = build("qwen3", tmp_path_factory.mktemp("tied"))
    values = json.loads((folder / "config.json").read_text("utf-8"))
    torch.manual_seed(3)
    Qwen3ForCausalLM(Qwen3Config(**{**values, "tie_word_embeddings": True})).save_pretrained(folder)
    return folder


EMBEDDING_SETTINGS: dict[str, dict[str, Any]] = {
    "head-saved": {"modules_to_save": ["lm_head"]},
    "embeddings-saved": {"modules_to_save": ["embed_tokens"]},
    "both-saved": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "head-adapted": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings-adapted": {"target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.mark.parametrize("kind", EMBEDDING_SETTINGS)
def test_tied_embeddings_that_were_trained_separately_are_untied(
    kind: str, tied: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tied, tmp_path / "a", **EMBEDDING_SETTINGS[kind])
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    ids = token_ids(tied)
    assert close(logits(merged.model(), ids), adapter_logits(tied, adapter, ids))
    assert not merged.model().config.tie_word_embeddings
    assert "lm_head.weight" in merged.dtypes()


@pytest.mark.parametrize("settings", [{}, {"trainable_token_indices": [5, 9]}])
def test_other_tied_embeddings_stay_tied(
    settings: dict[str, Any], tied: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tied, tmp_path / "a", **settings)
    weights = load_file(adapter / "adapter_model.safetensors")
    for name in [name for name in weights if "token_adapter" in name]:
        weights[name] = weights[name] + 0.5
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    ids = torch.tensor([[5, 17, 9, 40, 5]])
    assert close(logits(merged.model(), ids), adapter_logits(tied, adapter, ids))
    assert merged.model().config.tie_word_embeddings
    assert "lm_head.weight" not in merged.dtypes()


def adapter_with_new_tokens(source: Path, folder: Path, **keys: Any) -> tuple[Path, Any]:
    """Save an adapter whose training added tokens and a template; return it and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_tokens([f"<new_{number}>" for number in range(40)])
    tokenizer.chat_template = "<new_1>" + tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    torch.manual_seed(5)
    model.resize_token_embeddings(len(tokenizer) + 8, mean_resizing=False)
    save_adapter(model, source, folder, **keys)
    tokenizer.save_pretrained(folder)
    return folder, tokenizer


@pytest.mark.parametrize("which", ["plain", "tied"])
def test_a_larger_vocabulary_is_merged_with_its_tokenizer(
    which: str, tiny: Path, tied: Path, tmp_path: Path
) -> None:
    source = tied if which == "tied" else tiny
    both = ["embed_tokens", "lm_head"]
    adapter, tokenizer = adapter_with_new_tokens(source, tmp_path / "a", modules_to_save=both)
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    written = AutoTokenizer.from_pretrained(merged.folder)
    assert written.chat_template == tokenizer.chat_template
    ids = written("a <new_7> b <new_39>", return_tensors="pt").input_ids
    assert int(ids.max()) == len(tokenizer) - 1
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer) + 8, mean_resizing=False)
    expected = logits(PeftModel.from_pretrained(model, adapter), ids)
    actual = logits(merged.model(), ids)
    assert actual.shape == expected.shape
    assert close(actual, expected)
    assert merged.model().config.vocab_size == len(tokenizer) + 8


def with_more_tokens(tiny: Path, folder: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens([f"<new_{number}>" for number in range(4)])
    tokenizer.save_pretrained(folder)
    return folder


def test_new_tokens_without_their_rows_are_refused_before_a_run_and_in_it(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = with_more_tokens(tiny, make_adapter(tiny, tmp_path / "a"))
    with pytest.raises(ConfigError, match=r"'<new_0>'.*the embeddings have 600 rows") as refused:
        MergeRun(tmp_path / "out", adapter=adapter)
    assert "no tokenizer_config.json" in refused.value.hint
    monkeypatch.setattr("swiftbox.tasks.merge.require_rows_of_tokens", lambda *_: None)
    with pytest.raises(RunError, match="token 603, the embeddings have 600 rows"):
        MergeRun(tmp_path / "out", adapter=adapter)
    assert not (tmp_path / "out" / "model").exists()


def test_without_its_tokenizer_such_an_adapter_is_merged(tiny: Path, tmp_path: Path) -> None:
    adapter = with_more_tokens(tiny, make_adapter(tiny, tmp_path / "a"))
    (adapter / "tokenizer_config.json").unlink()  # as the hint says
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    assert len(AutoTokenizer.from_pretrained(merged.folder)) == 600


def test_a_base_whose_tokenizer_exceeds_its_rows_is_merged(tiny: Path, tmp_path: Path) -> None:
    source = with_more_tokens(tiny, shutil.copytree(tiny, tmp_path / "base"))
    adapter = with_more_tokens(source, make_adapter(source, tmp_path / "a"))
    merged = MergeRun(tmp_path / "out", adapter=adapter)
    ids = token_ids(tiny)
    assert close(logits(merged.model(), ids), adapter_logits(source, adapter, ids))


def test_a_model_with_a_score_head_is_merged_with_its_head(tiny: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)
    network = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"]))
    for name, value in network.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            value.data += 0.1 * torch.randn_like(value)
    network.peft_config["default"].base_model_name_or_path = str(tiny)
    network.save_pretrained(tmp_path / "a")
    MergeRun(tmp_path / "out", adapter=tmp_path / "a")
    written = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "model")
    ids = token_ids(tiny)
    assert close(logits(written, ids), logits(network, ids))
