"""Chinese screens: labels with the key behind, lists searched in both languages, no English."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from model_folder import write_model
from tiny import write_chats
from walking import CLEAR, CTRL_C, DOWN, ENTER, choice, entry, keys, walk

from swiftbox.config.fields import cards
from swiftbox.display.status import RUN_STATUS, status_title
from swiftbox.menu import home
from swiftbox.menu.draft import new_draft
from swiftbox.menu.field_pickers import field_label
from swiftbox.menu.options.benchmarks import BenchmarkOptions
from swiftbox.menu.options.datasets import DatasetOptions
from swiftbox.menu.options.models import ModelOptions
from swiftbox.menu.options.option import unknown_machine
from swiftbox.menu.questions import Back, select, select_many
from swiftbox.menu.review_screen import review
from swiftbox.menu.screens import screen_of
from swiftbox.models import catalogue
from swiftbox.models.description import CHINESE, term
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

CHINESE_LETTER = re.compile("[\u4e00-\u9fff]")
CHANGE, SAVE = choice(2), choice(4)


@pytest.fixture(autouse=True)
def chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Chinese, an empty folder and empty caches."""
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_question_has_a_chinese_name_with_the_key_behind() -> None:
    for task in TASKS.values():
        for config_class in task.config_classes.values():
            for card in cards(config_class):
                label, _, key = field_label(card).rpartition(" ")
                assert key == card.name
                assert CHINESE_LETTER.search(label), card.name


@pytest.mark.parametrize("typed", ["学习率 l", "learning_rate", "LEARNING_R"])
def test_a_setting_is_found_by_its_chinese_name_and_by_its_key(typed: str, chinese: Path) -> None:
    write_model(chinese / "model")
    write_chats(chinese / "chat.jsonl", 3)
    draft = new_draft("train", {"model": "./model", "dataset": "./chat.jsonl"})
    change = [CHANGE, typed, ENTER, CLEAR, "0.5", ENTER, ENTER]
    with keys(*change, SAVE, CLEAR, "a.yaml", ENTER, CTRL_C), pytest.raises(Back):
        review(draft, screen_of("train"))
    assert load(chinese / "a.yaml").config.model_dump()["learning_rate"] == 0.5


def test_backspace_takes_a_chinese_letter_away() -> None:
    choices = [(name, name) for name in ("学习率", "学习步数", "批大小")]
    with keys("学习率", "\x7f\x7f\x7f", "批", ENTER):
        assert select("设置", choices, search=True) == "批大小"


def test_arrow_keys_are_not_part_of_a_search() -> None:
    choices = [(name, name) for name in ("学习率", "批大小")]
    left, function_key = "\x1b[D", "\x1bOP"
    with keys("批", left, function_key, ENTER):
        assert select("设置", choices, search=True) == "批大小"


def test_checked_entries_are_listed_in_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    choices = [(name, name) for name in ("训练", "合并", "部署")]
    with keys(DOWN, " ", ENTER):
        assert select_many("包含哪些步骤？", choices, ["训练", "部署"]) == ["训练", "合并", "部署"]
    assert "? 包含哪些步骤？ 训练；合并；部署" in capsys.readouterr().out


@pytest.mark.parametrize(("query", "kind"), [("数学", "math"), ("奖励", "reward")])
def test_models_are_found_by_their_kind_in_either_language(query: str, kind: str) -> None:
    options = ModelOptions(unknown_machine, for_download=True)
    by_chinese, by_english = options.find(query, "all"), options.find(kind, "all")
    assert by_chinese
    assert {option.name for option in by_chinese} <= {option.name for option in by_english}
    assert options.cells(by_chinese[0])[3].rstrip("*") == query


def test_datasets_and_benchmarks_are_found_by_their_tags_in_either_language() -> None:
    for options in (DatasetOptions(), BenchmarkOptions()):
        names = {option.name for option in options.find("数学", "all")}
        assert names
        assert names <= {option.name for option in options.find("math", "all")}


KEPT_IN_ENGLISH = frozenset(
    "dpo grpo kto orpo rlhf rlvr ocr sql fp8 mxfp4 nvfp4 llm vlm aigc".split()
)
"""Words of the catalogue for which Chinese writers use the English one."""


def test_every_word_of_the_catalogue_is_shown_in_chinese() -> None:
    shown = {model.kind for model in catalogue.models()}
    shown |= {part for model in catalogue.models() for part in model.modality.split("+")}
    shown |= {
        tag for dataset in catalogue.datasets() for tag in (*dataset.tags, *dataset.languages)
    }
    shown |= {tag for row in catalogue.benchmarks() for tag in (*row.tags, row.task_type or "chat")}
    assert sorted(word for word in shown if word.lower() not in {*CHINESE, *KEPT_IN_ENGLISH}) == []
    assert term("reasoning") == "推理"


def test_the_states_of_runs_are_chinese() -> None:
    assert status_title("done") == "已完成"
    assert all(CHINESE_LETTER.search(title) for title in RUN_STATUS.values())


@pytest.mark.parametrize("columns", [40, 80])
def test_a_refused_answer_and_its_hint_are_labelled_in_chinese(
    columns: int, chinese: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    (chinese / "empty").mkdir()
    a_model = choice(1)
    walk(entry("chat"), a_model, "./empty", ENTER, CTRL_C, CTRL_C, CTRL_C)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("错误：") for line in lines)
    assert not any(line.startswith(("error:", "hint:")) for line in lines)


def test_the_home_screen_has_no_english_but_names() -> None:
    titles = [title for key, title in home.entries() if key != home.LANGUAGE]
    assert not any(re.search("[A-Za-z]", title) for title in titles)
