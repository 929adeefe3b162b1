"""What `check` says of a classifier's rows, and of a classifier where text is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from classifiers import build_bert
from safetensors.torch import load_file, save_file
from tiny import write_config

from swiftbox.architectures.positions import learned_positions
from swiftbox.cli.main import main
from swiftbox.core.weights.load import load_pretrained
from swiftbox.errors import ConfigError
from swiftbox.models.text_models import require_writes_text


def check(
    tmp_path: Path, model: Path, rows: list[dict[str, Any]], *options: str, **keys: object
) -> int:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    usual = {"stage": "classification", **keys}
    return main(["check", str(write_config(tmp_path / "a.yaml", model, path, **usual)), *options])


def test_bad_labels_are_named_with_their_lines(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b"}, {"text": "c", "label": ["x", "y"]}]
    assert check(tmp_path, tiny, rows) == 2
    shown = capsys.readouterr().err
    assert "rows.jsonl:2" in shown
    assert "rows.jsonl:3 has 2 labels" in shown


def test_labels_are_counted_and_uneven_ones_pointed_out(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"t {number}", "label": "usual"} for number in range(9)]
    assert check(tmp_path, tiny, [*rows, {"text": "t", "label": "rare"}]) == 0
    shown = capsys.readouterr().out
    assert "labels: 2 (usual 9, rare 1); uneven: rare has 1 row" in shown


def test_a_single_label_is_refused_before_the_training(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, tiny, [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}]) == 2
    assert "needs two labels or more" in capsys.readouterr().err


def test_the_preview_shows_the_text_and_the_label(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "is it?"}]
    rows = [{"messages": turns, "label": "yes"}, {"text": "plain", "label": "no"}]
    assert check(tmp_path, tiny, rows, "--preview", "--json") == 0
    preview = json.loads(capsys.readouterr().out)["preview"]
    texts = [[(part["text"], part["learned"]) for part in parts] for parts in preview]
    prompt = "<|im_start|>user\nis it?<|im_end|>\n<|im_start|>assistant\n"
    assert texts == [[(f"{prompt}\n", False), ("yes", True)], [("plain\n", False), ("no", True)]]


def test_a_conversation_without_a_template_is_a_bad_row(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "q"}]
    twice = [*turns, {"role": "assistant", "content": "a"}, *turns]
    rows = [{"messages": turns, "label": "yes"}, {"messages": twice, "label": "no"}]
    assert check(tmp_path, tiny, rows, use_chat_template=False) == 2
    assert "rows.jsonl:2 has 3 turns" in capsys.readouterr().err


def test_classifiers_and_their_adapters_do_not_write_text(tmp_path: Path) -> None:
    settings = {
        "config.json": {"architectures": ["BertForSequenceClassification"]},
        "adapter_config.json": {"task_type": "SEQ_CLS"},
    }
    for name, content in settings.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(json.dumps(content), "utf-8")
        with pytest.raises(ConfigError, match="does not write text") as refused:
            require_writes_text(folder, "model")
        assert "swiftbox guide classification" in refused.value.hint


@pytest.mark.parametrize("task", ["chat", "deploy", "quantize", "evaluate"])
def test_every_task_that_needs_text_refuses_a_classifier_at_check(
    task: str, tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "classifier"
    folder.mkdir()
    for file in tiny.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((tiny / "config.json").read_text("utf-8"))
    config["architectures"] = ["Qwen3ForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    more = {"chat": "prompt: x", "evaluate": "benchmarks: sample_mmlu"}.get(task, "")
    path = tmp_path / "t.yaml"
    path.write_text(f"task: {task}\nhub: local\nmodel: {folder}\n{more}\n", "utf-8")
    assert main(["check", str(path)]) == 2
    assert "does not write text" in capsys.readouterr().err


def stored_classifier(folder: Path, source: Path, names: list[str]) -> Path:
    """Copy a language model as a classifier whose outputs have these names."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(source / "model.safetensors")
    weights["score.weight"] = torch.zeros(len(names), weights["model.norm.weight"].shape[0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text("utf-8"))
    config["architectures"] = ["Qwen3ForSequenceClassification"]
    config |= {"id2label": dict(enumerate(names)), "label2id": {}}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


ROWS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


def test_a_classifier_with_another_number_of_outputs_is_refused_as_by_a_run(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = stored_classifier(tmp_path / "three", tiny, ["x", "y", "z"])
    assert check(tmp_path, model, ROWS) == 2
    shown = capsys.readouterr().err
    assert "is a classifier with 3 outputs (x, y, z), and this training needs 2" in shown
    with pytest.raises(ConfigError, match="is a classifier with 3 outputs") as refused:
        load_pretrained(model, labels=2)
    assert refused.value.message in shown
    pairs = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert check(tmp_path, model, [pairs, pairs], stage="reward") == 2
    assert "this training needs 1" in capsys.readouterr().err


def test_labels_in_another_order_than_those_of_a_classifier_are_pointed_out(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = stored_classifier(tmp_path / "two", tiny, ["y", "x"])
    assert check(tmp_path, model, ROWS) == 0
    assert 'set label_names: ["y", "x"]' in capsys.readouterr().err
    assert check(tmp_path, model, ROWS, label_names=["y", "x"]) == 0
    assert "label_names" not in capsys.readouterr().err


def test_a_metric_that_the_problem_does_not_have_is_refused(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"t {number}", "label": number} for number in range(20)]
    keys = {"num_labels": 1, "val_size": 0.2, "load_best_model_at_end": True, "eval_steps": 1}
    assert check(tmp_path, tiny, rows, metric_for_best_model="accuracy", **keys) == 2
    shown = capsys.readouterr().err
    assert "accuracy is not measured with stage: classification, problem_type: regression" in shown
    assert "take one of loss, mse, mae, pearson" in shown
    assert check(tmp_path, tiny, rows, metric_for_best_model="mae", **keys) == 0


def test_texts_of_a_model_without_a_template_need_no_template(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = stored_classifier(tmp_path / "plain", tiny, ["x", "y"])
    (model / "chat_template.jinja").unlink()
    assert check(tmp_path, model, ROWS, use_chat_template=True) == 2
    assert "hint: remove use_chat_template" in capsys.readouterr().err
    assert check(tmp_path, model, ROWS) == 0


def test_a_row_longer_than_the_learned_positions_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build_bert(tmp_path / "bert")
    assert check(tmp_path, model, ROWS, max_length=129) == 2
    assert "hint: set max_length: 128" in capsys.readouterr().err
    assert check(tmp_path, model, ROWS, max_length=128) == 0


def test_the_learned_positions_of_families_that_count_from_their_padding() -> None:
    shapes = {"roberta.embeddings.position_embeddings.weight": (514, 8)}
    assert learned_positions({"model_type": "roberta", "pad_token_id": 1}, shapes) == 512
    assert learned_positions({"model_type": "bert", "pad_token_id": 0}, shapes) == 514
    assert learned_positions({"model_type": "qwen3"}, {"model.embed_tokens.weight": (9, 8)}) is None
