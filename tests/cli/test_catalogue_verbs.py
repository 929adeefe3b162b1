"""`swiftbox models` and `datasets`: counts, tables of 80 columns, details, JSON."""

from __future__ import annotations

import json

import pytest

from swiftbox.cli.main import main
from swiftbox.formatting import width


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_without_a_query_there_are_counts(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "models")
    assert lines[0].split()[0] == "698"
    assert any("442" in line for line in lines)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_families_are_wrapped_by_cells(
    language: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    assert max(map(width, output(capsys, "models"))) <= 79


def test_a_table_fits_80_columns_and_says_what_can_be_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = output(capsys, "models", "qwen", "--fits", "--modality", "image", "--on", "cuda:24")
    assert max(len(line) for line in lines) <= 88
    assert len(lines) == 21
    assert all(line.split()[-1] in ("full", "lora", "qlora") for line in lines[1:])


def test_filters_hold_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("models", "--kind", "coder", "--max-size", "8", "--json", "--on", "cpu:16")
    rows = json.loads(output(capsys, *arguments)[0])
    assert rows
    assert all(row["kind"] == "coder" and row["params_b"] <= 8 for row in rows)
    assert {row["fit"] for row in rows} <= {"full", "lora", "qlora", "no", None}


def test_an_id_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "models", "Qwen/Qwen2.5-72B-Instruct", "--on", "cuda:24")
    assert "parameters: 72B" in lines
    assert any(line.startswith("LoRA layers: q_proj") for line in lines)


def test_an_unknown_value_is_answered_with_similar_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "Qwen/Qwen2.5-7B-Instrct", "--on", "cpu:16"]) == 2
    assert "near: Qwen/Qwen2.5-7B-Instruct" in capsys.readouterr().err


def test_datasets_are_found_by_language_and_tag(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(output(capsys, "datasets", "zh", "sft", "--json")[0])
    assert rows
    assert all(word in json.dumps(row).lower() for row in rows for word in ("zh", "sft"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("machine", ["gpu:24", "cuda:0", "cuda:nan", "cuda:inf", "cuda:24x0"])
def test_an_impossible_machine_is_refused(machine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such machine" in refused(capsys, "models", "qwen", "--on", machine)
    assert "no such machine" in refused(capsys, "models", "qwen", "--on", "cuda:24x99999999")


def test_a_model_that_does_not_fit_is_not_reported_as_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "Qwen/Qwen2.5-72B-Instruct"
    message = refused(capsys, "models", name, "--fits", "--on", "cpu:4")
    assert f"{name} cannot be trained (--on cpu:4)" in message


def test_unmatched_filters_and_unmatched_words_get_different_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "such as" in refused(capsys, "models", "qwen", "--kind", "talk")
    assert "Qwen3" in refused(capsys, "models", "--family", "qwen-3")
    assert "left by these filters" in refused(
        capsys, "models", "qwen", "--max-size", "0.001", "--on", "cpu:4"
    )
    assert "--online" in refused(capsys, "models", "zzzzzzzz", "--on", "cpu:4")


def test_kinds_that_no_method_trains_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "models", "--kind", "EMBEDDING", "--on", "cuda:80", "--limit", "3")
    assert {line.split()[-1] for line in lines[1:]} == {"no"}
    arguments = ("models", "--kind", "embedding", "--fits", "--on", "cuda:80")
    assert "no method here trains" in refused(capsys, *arguments)


def test_a_machine_alone_lists_all_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "models", "--on", "cuda:24", "--limit", "2")[0].startswith("model")


@pytest.mark.parametrize("option", [("--limit", "-3"), ("--max-size", "nan"), ("--max-size", "-1")])
def test_numbers_out_of_range_are_refused(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not a" in refused(capsys, "models", "qwen", *option)


def test_options_that_do_not_apply_to_local_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "models", "--local", "--fits", "--max-size", "3")
    assert "--max-size, --fits: not with --local" in message


def test_a_dataset_is_described_and_its_table_fits(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "datasets", "swift/self-cognition")
    assert "subsets: default, qwen3, empty_think" in lines
    table = output(capsys, "datasets", "--limit", "0")
    assert len(table) == 212
    assert max(map(len, table)) <= 80
    rows = json.loads(output(capsys, "datasets", "sft", "--json", "--limit", "3")[0])
    assert len(rows) == 3
    (row,) = json.loads(output(capsys, "datasets", "ServiceNow-AI/R1-Distill-SFT", "--json")[0])
    assert row["reading"]["subsets"]["v0"]["rename"]["problem"] == "query"
