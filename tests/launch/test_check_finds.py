"""What would stop a run long after its start stops `check`, with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import box
from model_folder import write_model
from tiny import TEMPLATE, write_config

ROWS, FAILING = 10_000, 7_000

PICKY = "{% if 'seven' in messages[0].content %}{{ raise_exception('no sevens') }}{% endif %}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def refusal(verb: str, model: Path, tmp_path: Path, *questions: str) -> str:
    """What a verb says when it refuses a training on these questions."""
    rows = [{"query": question, "response": "a"} for question in questions or ("q",)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_config(tmp_path / "a.yaml", model, data)
    return box(verb, "a.yaml", cwd=tmp_path, code=2).stderr


def test_a_row_that_the_template_refuses_is_found_among_10000(model: Path, tmp_path: Path) -> None:
    (model / "chat_template.jinja").write_text(PICKY + TEMPLATE, "utf-8")
    questions = [f"question {number}" for number in range(1, ROWS + 1)]
    questions[FAILING - 1] = "seven"
    stderr = refusal("check", model, tmp_path, *questions)
    assert f"rows.jsonl:{FAILING} " in stderr
    assert "no sevens" in stderr
    assert f"1 of {ROWS:,} rows is bad" in stderr
    assert "Traceback" not in stderr


def unknown_class(model: Path) -> None:
    config = json.loads((model / "config.json").read_text("utf-8"))
    config |= {"model_type": "no_such_model", "architectures": ["NoSuchForCausalLM"]}
    (model / "config.json").write_text(json.dumps(config), "utf-8")


def missing_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def truncated_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    with weights.open("rb+") as file:
        file.truncate(weights.stat().st_size // 2)


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unknown_class, "no_such_model"),
        (missing_tokenizer, "has no tokenizer"),
        (truncated_weights, "model.safetensors"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_found(
    verb: str, spoil: Callable[[Path], None], message: str, model: Path, tmp_path: Path
) -> None:
    spoil(model)
    stderr = refusal(verb, model, tmp_path)
    assert message in stderr
    assert "hint: " in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "runs").exists()


def test_the_templates_of_a_model_on_the_hub_are_checked_after_the_download(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"query": "q", "response": "a"}\n', "utf-8")
    write_config(tmp_path / "a.yaml", Path("Qwen/Qwen3-0.6B"), data, hub="modelscope")
    stderr = box("check", "a.yaml", cwd=tmp_path).stderr
    assert "how its chat template renders the rows is checked after the download" in stderr
