"""The heads of classifiers of several families: all of them trained, saved, merged and required."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from bitsandbytes.nn import Linear4bit
from classifiers import build_bert, write_classes
from peft import get_peft_model_state_dict
from recorded_training import train_config
from safetensors.torch import load_file, save_file
from tiny import write_config

from swiftbox.config.merge import MergeConfig
from swiftbox.config.train import TrainConfig
from swiftbox.core.tuners.attach import AdapterStart, attach
from swiftbox.core.weights.load import load_trainable
from swiftbox.core.weights.score_head import head_parts, is_in_head, outputs_of
from swiftbox.core.weights.trial_load import report_on
from swiftbox.errors import RunError, UserError
from swiftbox.methods import METHODS
from swiftbox.tasks import TASKS

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {
    "vocab_size": 400,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "num_labels": 3,
}
DISTILBERT = {"vocab_size": 400, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
FAMILIES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "Bert": (SIZES, ("classifier", "bert.pooler")),
    "DistilBert": (
        {**DISTILBERT, "max_position_embeddings": 64, "num_labels": 3},
        ("pre_classifier", "classifier"),
    ),
    "DebertaV2": ({**SIZES, "pooler_hidden_size": 16}, ("pooler", "classifier")),
    "Roberta": (SIZES, ("classifier",)),
    "ModernBert": (SIZES, ("head", "classifier")),
    "EuroBert": (SIZES, ("dense", "classifier")),
    "Qwen3": ({**SIZES, "num_key_value_heads": 2, "head_dim": 8}, ("score",)),
}


def config_of(family: str) -> Any:
    return getattr(transformers, f"{family}Config")(**FAMILIES[family][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_of_a_head_is_trained_and_saved_with_an_adapter(family: str) -> None:
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config_of(family))
    parts = FAMILIES[family][1]
    assert head_parts(model) == parts
    config = TrainConfig(task="train", model="m", dataset="d", tuner_type="lora")
    network = attach(model, config, AdapterStart(task_type="SEQ_CLS"), lambda _message: None)
    saved = get_peft_model_state_dict(network, save_embedding_layers=False)
    trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
    for part in parts:
        assert any(f".{part}." in name and "lora" not in name for name in saved), part
        assert any(f".{part}.modules_to_save." in name for name in trained), part
    assert not any(f".{part}." in name and "lora" in name for name in saved for part in parts)
    assert outputs_of([{name: tuple(tensor.shape) for name, tensor in saved.items()}]) == 3


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a language model, whose files have no head of a classifier."""
    folder = build_bert(tmp_path_factory.mktemp("models") / "deberta")
    torch.manual_seed(0)
    (folder / "model.safetensors").unlink()
    transformers.DebertaV2ForMaskedLM(config_of("DebertaV2")).save_pretrained(folder)
    return folder


def merged(adapter: Path, model: Path, folder: Path) -> Path:
    folder.mkdir()
    config = MergeConfig(adapter=str(adapter), model=str(model), hub="local", dtype="stored")
    return TASKS["merge"].run(config, folder, lambda *_, **__: None)


def test_a_merge_has_the_head_of_the_adapter_and_refuses_one_that_is_not_complete(
    tmp_path: Path, deberta: Path
) -> None:
    assert not any(report_on(deberta, score=True).values())
    data = write_classes(tmp_path / "rows.jsonl", 12)
    keys = {
        "stage": "classification",
        "max_steps": 1,
        "save_steps": 0,
        "learning_rate": 1e-2,
        "max_length": 64,
    }
    (tmp_path / "run").mkdir()
    path = write_config(tmp_path / "a.yaml", deberta, data, **keys)
    adapter, _ = train_config(path, tmp_path / "run")
    weights = load_file(adapter / "adapter_model.safetensors")
    result = load_file(merged(adapter, deberta, tmp_path / "m") / "model.safetensors")
    for name in ("pooler.dense.weight", "classifier.weight"):
        assert torch.equal(result[name], weights[f"base_model.model.{name}"])

    part = tmp_path / "part"  # as peft saves it by itself: the pooler stays random
    shutil.copytree(adapter, part)
    rest = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(rest, part / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = json.loads((part / "adapter_config.json").read_text("utf-8"))
    settings["modules_to_save"] = ["classifier", "score"]
    (part / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(RunError, match=r"lack 2 weights of the classifier's head \(pooler"):
        merged(part, deberta, tmp_path / "again")
    path = write_config(tmp_path / "b.yaml", deberta, data, **keys, adapter=str(part))
    (tmp_path / "continued").mkdir()
    with pytest.raises(UserError, match="lack 2 weights of the classifier's head"):
        train_config(path, tmp_path / "continued")


def test_no_part_of_a_head_is_quantized(deberta: Path) -> None:
    keys = {"tuner_type": "qlora", "dtype": "float32", "attn_implementation": "eager"}
    config = METHODS["classification"].config(task="train", model="m", dataset="d", **keys)
    model = load_trainable(deberta, config, head="score", device=torch.device("cpu"), labels=3)
    layers = [name for name, layer in model.named_modules() if isinstance(layer, Linear4bit)]
    assert layers  # those of the body
    assert not any(is_in_head(name, head_parts(model)) for name in layers)


def test_a_stored_classifier_without_its_head_is_not_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    model = transformers.RobertaForSequenceClassification(config_of("Roberta"))
    model.save_pretrained(folder)
    assert not any(report_on(folder, score=True).values())
    weights = load_file(folder / "model.safetensors")
    body = {name: tensor for name, tensor in weights.items() if "classifier" not in name}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    assert len(report_on(folder, score=True)["missing"]) == 4
