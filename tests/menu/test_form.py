"""The form of any task by keys: fields picked, marked and left empty, and their values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter, make_run
from walking import CLEAR, CTRL_C, DOWN, ENTER, TAB, UP, keys

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.fields import cards
from swiftbox.config.merge import MergeConfig
from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import write
from swiftbox.formatting import width
from swiftbox.menu.field_question import ask_field, validation_error
from swiftbox.menu.form import fill_form
from swiftbox.menu.options.adapters import AdapterOptions
from swiftbox.menu.options.benchmarks import BenchmarkOptions
from swiftbox.menu.questions import Back
from swiftbox.menu.terminal import print_wrapped
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and no caches."""
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


@pytest.fixture
def adapters(desk: Path, tiny: Path) -> list[str]:
    """Two runs with adapters, the first the newer, and one adapter in a folder."""
    for started, name in enumerate(("older", "newer")):
        run = create(desk / "runs" / name)
        make_run(make_adapter(tiny, run / run_folder.MODEL), tiny)
        run_folder.update_state(run, status="done", started=started)
    make_adapter(tiny, desk / "given")
    return ["runs/newer", "runs/older", "./given"]


def ask(model: type[TaskConfig], name: str, *pressed: str, **values: Any) -> Any:
    card = next(card for card in cards(model) if card.name == name)
    with keys(*pressed):
        return ask_field(model, card, values)


def test_adapters_are_listed_newest_run_first_then_folders(adapters: list[str], tiny: Path) -> None:
    source = AdapterOptions()
    assert [option.value for option in source.find("", "all")] == adapters
    assert source.cells(source.find("older", "all")[0])[:2] == ("older", "/".join(tiny.parts[-2:]))
    assert "LORA r=" in source.details(source.find("given", "all")[0])[0]


def test_an_adapter_is_picked_from_the_list_or_typed(adapters: list[str]) -> None:
    assert ask(MergeConfig, "adapter", ENTER) == adapters[0]
    assert ask(MergeConfig, "adapter", "older", ENTER) == adapters[1]
    assert ask(MergeConfig, "adapter", "team/adapter", ENTER) == "team/adapter"
    assert ask(MergeConfig, "adapter", "./given", ENTER) == "./given"


def test_several_adapters_are_marked(adapters: list[str]) -> None:
    assert ask(MergeConfig, "adapter", TAB, TAB, ENTER) == adapters[:2]


def test_earlier_marks_are_proposed_again(adapters: list[str]) -> None:
    assert ask(MergeConfig, "adapter", ENTER, adapter=adapters[1:]) == adapters[1:]


def test_a_missing_path_is_refused_while_it_is_typed() -> None:
    card = next(card for card in cards(MergeConfig) if card.name == "adapter")
    assert validation_error(MergeConfig, card, "./nowhere") == "./nowhere does not exist"


def test_an_optional_field_is_empty_first_and_then_not_written(adapters: list[str]) -> None:
    with keys(ENTER, ENTER, ENTER, ENTER):
        values = fill_form(MergeConfig, {})
    assert values == {"adapter": adapters[0], "merge_base": "auto", "dtype": "auto"}


def test_a_value_is_cleared() -> None:
    before = {"adapter": "runs/a", "model": "o/base", "dtype": "auto"}
    with keys(DOWN, ENTER, ENTER, ENTER):
        values = fill_form(MergeConfig, before, without=("adapter",))
    assert "model" not in values


def test_going_back_into_a_filled_form_asks_its_last_question() -> None:
    filled = {"adapter": "runs/a", "merge_base": "full", "dtype": "auto"}
    with keys(DOWN * 2, ENTER):
        assert fill_form(MergeConfig, filled, from_last=True) == {**filled, "dtype": "bfloat16"}
    with keys(CTRL_C, UP, ENTER, ENTER):
        assert fill_form(MergeConfig, filled, from_last=True)["merge_base"] == "auto"


def test_leaving_the_first_question_leaves_the_form() -> None:
    with keys(CTRL_C), pytest.raises(Back):
        fill_form(MergeConfig, {})


def test_benchmarks_are_marked_in_a_list_that_is_searched() -> None:
    picked = ask(EvaluateConfig, "benchmarks", CLEAR, "gsm8k", TAB, CLEAR, ENTER, benchmarks="arc")
    assert picked == ["gsm8k"]
    assert ask(EvaluateConfig, "benchmarks", "ifeval", TAB, CLEAR, ENTER) == [
        "ceval",
        "mmlu",
        "ifeval",
    ]


def test_the_samples_come_first_then_every_benchmark_of_the_catalogue() -> None:
    options = BenchmarkOptions().find("", "all")
    assert [option.value for option in options[:4]] == [
        "sample_ceval",
        "sample_mmlu",
        "ceval",
        "mmlu",
    ]
    assert len(options) == 249
    assert "sample, offline" in BenchmarkOptions().cells(options[0])


def test_a_long_line_is_wrapped_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = os.terminal_size((41, 24))
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **_options: size)
    line = "  dtype: stored  # each weight as the base has it, unless it is another"
    print_wrapped(line)
    print_wrapped("权重的数值类型与基座相同，除非另行指定，权重的数值类型")
    parts = capsys.readouterr().out.splitlines()
    assert all(width(part) <= 40 for part in parts)
    assert parts[0].startswith("  dtype: stored  #")
    assert parts[1].startswith("    ")
    assert not any(part.lstrip().startswith("，") for part in parts)


def test_an_empty_field_is_not_in_the_yaml() -> None:
    config = MergeConfig(adapter="runs/a")
    assert "model:" not in write(config, keys={"adapter"})
