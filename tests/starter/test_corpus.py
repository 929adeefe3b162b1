"""The demo's data is valid and repeatable; names that can be learned; the chart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from swiftbox.data.check import check_rows
from swiftbox.data.source import parse_sources
from swiftbox.errors import ConfigError
from swiftbox.starter.chart import chart
from swiftbox.starter.corpus import (
    HELD_OUT_QUESTIONS,
    NAME_QUESTIONS,
    Docstring,
    check_name,
    docstrings_in,
    make_corpus,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, "Ada")
    return folder


@pytest.mark.parametrize(("name", "stage"), [("pretrain", "pt"), ("chat", "sft")])
def test_there_are_thousands_of_valid_rows(corpus: Path, name: str, stage: str) -> None:
    sources = parse_sources([str(corpus / f"{name}.jsonl")], columns={})
    assert check_rows(sources, stage=stage, max_bad_rows=0).rows > 3000


def test_the_same_name_gives_the_same_data(corpus: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path, "Ada")
    for name in ("pretrain.jsonl", "chat.jsonl"):
        assert (tmp_path / name).read_bytes() == (corpus / name).read_bytes()


def chats(corpus: Path) -> dict[str, str]:
    lines = (corpus / "chat.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line)["messages"] for line in lines]
    return {row[0]["content"]: row[1]["content"] for row in rows}


def test_answers_are_sentences_of_the_library(corpus: Path) -> None:
    answers = chats(corpus)
    question = next(question for question in answers if "shutil.copyfile" in question)
    assert answers[question] == (shutil.copyfile.__doc__ or "").split(".")[0] + "."


def test_the_model_introduces_itself_in_both_languages(corpus: Path) -> None:
    answers = chats(corpus)
    assert all("Ada" in answers[question] for question in NAME_QUESTIONS)
    assert answers["你是谁？"].startswith("我是Ada")


def test_held_out_questions_are_in_no_row(corpus: Path) -> None:
    assert not set(HELD_OUT_QUESTIONS) & set(chats(corpus))


def test_the_pretraining_text_does_not_contain_the_name(corpus: Path) -> None:
    assert "my name is Ada" not in (corpus / "pretrain.jsonl").read_text("utf-8")


def test_a_source_is_read_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text('raise SystemExit\ndef f(a, b=1):\n    """Do it. Then more."""\n', "utf-8")
    assert list(docstrings_in(path, ["m"])) == [Docstring("m.f", "f(a, b=1)", "Do it. Then more.")]


def test_a_sentence_does_not_end_at_an_abbreviation() -> None:
    assert (
        Docstring("n", "s", "Use it, e.g. here. Not there.").first_sentence == "Use it, e.g. here."
    )


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\nb", "<|im_start|>", "{name}"])
def test_a_name_that_cannot_be_learned_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        check_name(name)


@pytest.mark.parametrize("name", ["Ada", "小快", "Dr. O'Neil"])
def test_the_name_of_a_person_is_accepted(name: str) -> None:
    assert check_name(f" {name} ") == name


def test_a_chart_falls_with_its_values() -> None:
    lines = chart([float(n) for n in range(10, 0, -1)], unicode=False, width=10).splitlines()
    assert lines[0].startswith("  10.000 |*")
    assert lines[7].startswith("   1.000 |")
    assert lines[7].endswith("*")
    assert len(lines) == 9
