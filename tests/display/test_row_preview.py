"""Rows are previewed as the model sees them, encoded by a child process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from swiftbox.config.train import TrainConfig
from swiftbox.display.row_preview import encode_in_child, show
from swiftbox.errors import ConfigError, DataError
from swiftbox.tasks.load import loads, require_training


def training(model: Path, dataset: Path) -> TrainConfig:
    settings = ["task=train", "stage=sft", "hub=local", "max_length=64", "dtype=float32"]
    overrides = [*settings, f"model={model}", f"dataset={dataset}"]
    return require_training(loads("", source="test", overrides=overrides).config)


@pytest.mark.slow
def test_the_learned_tokens_and_the_lengths_are_shown(
    tiny: Path, chat_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(training(tiny, chat_file))
    output = capsys.readouterr().out
    assert output.count("sample ") == 3
    assert "[[" in output
    assert "learned tokens are in [[ ]]" in output
    assert "tokens per row: " in output


@pytest.mark.slow
def test_a_bad_row_is_refused_as_a_run_would_refuse_it(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text('{"messages": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        encode_in_child(training(tiny, data))


def test_a_model_that_is_not_on_this_machine_is_refused(tmp_path: Path, chat_file: Path) -> None:
    with pytest.raises(ConfigError, match="--preview needs the tokenizer"):
        show(training(tmp_path / "missing", chat_file))


def test_the_front_does_not_import_torch() -> None:
    """A test of this process would see what other tests import."""
    import subprocess

    code = "import sys, swiftbox.display.row_preview; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
