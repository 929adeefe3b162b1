"""What `check` says of a classifier's rows, and of a classifier where text is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import write_config

from swiftbox.cli.main import main
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
