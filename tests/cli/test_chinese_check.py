"""What `check` prints in Chinese: full-width punctuation beside Chinese words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swiftbox.cli.main import main
from swiftbox.cli.output import DONE
from swiftbox.fit.duration import DurationEstimate
from swiftbox.tasks.task import Reason

HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][:,;(]|[:,;)] ?[\u4e00-\u9fff]| [\u81f3]")
"""ASCII punctuation beside a Chinese character, and a space before a Chinese "to"."""

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

TRAINING = "model: Qwen/Qwen3-0.6B\ndataset: rows.jsonl\nper_device_train_batch_size: 64\n"

PIPELINE = """task: pipeline
steps:
  - name: sft
    task: train
    model: Qwen/Qwen3-0.6B
    dataset: rows.jsonl
  - name: merge
    task: merge
    adapter: ${sft.adapter}
"""


@pytest.mark.parametrize("content", [TRAINING, PIPELINE], ids=["training", "pipeline"])
def test_a_check_in_chinese_has_full_width_punctuation(
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(json.dumps({"messages": TURNS}) + "\n", encoding="utf-8")
    Path("a.yaml").write_text(content, encoding="utf-8")
    assert main(["check", "a.yaml", "--on", "cuda:24"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    shown = [re.sub(r"^([\w.]+): .*?  #", "", line, flags=re.ASCII) for line in lines]
    assert [line for line in shown if HALF_WIDTH.search(line)] == []


def test_a_range_of_times_has_no_space_before_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert "（1.0 秒至 4.0 秒）" in DurationEstimate(10, 2, 2).line()


def test_only_a_chinese_name_has_a_chinese_colon() -> None:
    assert Reason("optim", "adafactor", "small").line() == "optim: adafactor  # small"
    assert Reason("每次更新行数", 16, "16 行").line() == "每次更新行数：16  # 16 行"
