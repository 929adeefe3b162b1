"""Broken metadata of a model or an adapter is found by the check, with the file and the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from model_folder import TOKENIZER, adapter_tensors, qwen3_tensors, write_adapter, write_model
from model_folder import write_safetensors as write_weights
from tiny import write_chats

from swiftbox.errors import UserError
from swiftbox.launch.prepare import check_config
from swiftbox.tasks.load import loads


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def refusal(task: str, **keys: Any) -> UserError:
    """Check a YAML that is refused; return the error."""
    overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in keys.items()]
    config = loads(f"task: {task}\nhub: local\n", source="a.yaml", overrides=overrides).config
    with pytest.raises(UserError) as caught:
        check_config(config)
    assert caught.value.hint
    return caught.value


def refused_training(model: Path, tmp_path: Path, **keys: Any) -> UserError:
    return refusal("train", model=model, dataset=write_chats(tmp_path / "a.jsonl", 3), **keys)


def edit_config(model: Path, **changes: Any) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_a_config_that_is_null_is_named(model: Path, tmp_path: Path) -> None:
    (model / "config.json").write_text("null", "utf-8")
    error = refused_training(model, tmp_path)
    assert f"{model}/config.json cannot be read (not a JSON object, but null)" in error.message


def test_a_config_without_model_type_is_refused(model: Path, tmp_path: Path) -> None:
    path = model / "config.json"
    content = json.loads(path.read_text("utf-8"))
    del content["model_type"]
    path.write_text(json.dumps(content), "utf-8")
    assert "config.json: it has no model_type" in refused_training(model, tmp_path).message


def test_a_head_count_of_zero_is_refused(model: Path, tmp_path: Path) -> None:
    edit_config(model, num_attention_heads=0)
    error = refused_training(model, tmp_path)
    assert "num_attention_heads is 0, not a positive number" in error.message


def test_all_wrong_values_of_a_config_are_reported_at_once(model: Path, tmp_path: Path) -> None:
    edit_config(model, hidden_size="64", rms_norm_eps="x", num_key_value_heads=3)
    message = refused_training(model, tmp_path).message
    assert 'hidden_size is "64", not a whole number' in message
    assert 'rms_norm_eps is "x", not a number' in message
    assert "4 attention heads cannot share 3 heads of keys" in message


def test_a_tokenizer_that_is_not_json_is_named(model: Path, tmp_path: Path) -> None:
    (model / "tokenizer.json").write_text('{"model": ', "utf-8")
    error = refused_training(model, tmp_path)
    assert f"{model}/tokenizer.json: not JSON" in error.message


def test_a_vocabulary_larger_than_the_embedding_is_refused(model: Path, tmp_path: Path) -> None:
    tokenizer = {**TOKENIZER, "model": {"type": "BPE", "vocab": {"a": 1000}, "merges": []}}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    error = refused_training(model, tmp_path)
    assert "its vocabulary has the id 1000, but the model's embedding has 1000 rows" in (
        error.message
    )


def test_weights_of_other_shapes_are_named_with_both_shapes(model: Path, tmp_path: Path) -> None:
    edit_config(model, vocab_size=2000)
    error = refused_training(model, tmp_path)
    expected = "model.embed_tokens.weight is 1000 x 64, but config.json states 2000 x 64"
    assert expected in error.message


def test_a_layer_without_weights_is_refused(model: Path, tmp_path: Path) -> None:
    edit_config(model, num_hidden_layers=3)
    error = refused_training(model, tmp_path)
    assert "config.json states 3 layers, but the weights hold 2 (no layer 2)" in error.message


def test_a_width_that_the_weights_do_not_have_is_refused(model: Path, tmp_path: Path) -> None:
    edit_config(model, intermediate_size=96)
    error = refused_training(model, tmp_path)
    assert "gate_proj.weight is 128 x 64, but config.json states a width of 96" in error.message


def test_a_fifo_in_place_of_a_file_is_not_waited_for(model: Path, tmp_path: Path) -> None:
    import os

    (model / "config.json").unlink()
    os.mkfifo(model / "config.json")
    assert "not a regular file" in refused_training(model, tmp_path).message


def test_overlapping_tensors_are_named(model: Path, tmp_path: Path) -> None:
    entry = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": {**entry, "data_offsets": [4, 12]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(12)
    (model / "model.safetensors").write_bytes(content)
    error = refused_training(model, tmp_path)
    assert "model.safetensors is incomplete or broken: tensor b overlaps another" in error.message


def test_an_index_cannot_name_a_file_outside_its_folder(model: Path, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "../model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    error = refused_training(model, tmp_path)
    assert 'names "../model.safetensors", which is not a file of this folder' in error.message


def test_an_adapter_beside_the_model_would_load_another_one(model: Path, tmp_path: Path) -> None:
    write_adapter(model)
    assert "adapter_config.json too" in refused_training(model, tmp_path).message


@pytest.mark.parametrize("task", ["train", "merge", "deploy"])
def test_a_rank_different_from_the_weights_is_refused(
    task: str, model: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter", r=8)
    keys: dict[str, Any] = {"model": model, "adapter": adapter}
    if task == "train":
        keys["dataset"] = write_chats(tmp_path / "a.jsonl", 3)
    error = refusal(task, **keys)
    assert "q_proj has rank 4, but adapter_config.json states 8" in error.message


@pytest.mark.parametrize("task", ["train", "merge", "deploy"])
def test_target_modules_without_weights_are_refused(task: str, model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", target_modules=["q_proj", "v_proj", "o_proj"])
    keys: dict[str, Any] = {"model": model, "adapter": adapter}
    if task == "train":
        keys["dataset"] = write_chats(tmp_path / "a.jsonl", 3)
    error = refusal(task, **keys)
    assert "its target_modules name o_proj, for which it has no weights" in error.message


def test_an_adapter_of_another_width_is_named_with_both_shapes(model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", adapter_tensors(outputs=128))
    error = refused_training(model, tmp_path, adapter=adapter)
    assert "q_proj is 128 x 64 in the adapter, 64 x 64 in the model" in error.message


def test_an_adapter_cannot_have_a_module_imported(model: Path, tmp_path: Path) -> None:
    settings = {"megatron_config": {"a": 1}, "megatron_core": "antigravity"}
    adapter = write_adapter(tmp_path / "adapter", **settings)
    error = refused_training(model, tmp_path, adapter=adapter)
    assert "imports the Python module" in error.message


def test_a_sound_adapter_passes_every_check(model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", base_model_name_or_path=str(model))
    data = write_chats(tmp_path / "a.jsonl", 3)
    for task, keys in {
        "train": {"dataset": str(data)},
        "merge": {"merge_base": "full", "dtype": "stored"},
        "deploy": {"port": 0, "engine": "builtin"},
    }.items():
        values = {"model": str(model), "adapter": str(adapter), **keys}
        overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        check_config(loads(f"task: {task}\nhub: local\n", source="a", overrides=overrides).config)


def test_a_large_tokenizer_is_parsed_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "home"))
    vocabulary = {f"token {number} {'x' * 2000}": number for number in range(600)}
    tokenizer = {"model": {"type": "WordLevel", "vocab": vocabulary}}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    write_weights(model / "model.safetensors", qwen3_tensors(vocab_size=599))
    edit_config(model, vocab_size=599)
    for _attempt in range(2):
        assert "the id 599" in refused_training(model, tmp_path).message
    memories = list((tmp_path / "home" / "tokenizers").iterdir())
    assert [json.loads(memory.read_text("utf-8")) for memory in memories] == [{"largest_id": 599}]
