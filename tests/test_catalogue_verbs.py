"""`swiftbox models` and `datasets`: counts, tables of 80 columns, details, JSON."""

from __future__ import annotations

import json

import pytest

from swiftbox.cli import main


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_without_a_query_there_are_counts(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "models")
    assert lines[0].split()[0] == "698"
    assert any("442" in line for line in lines)


def test_a_table_fits_80_columns_and_says_what_can_be_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = said(capsys, "models", "qwen", "--fits", "--modality", "image", "--on", "cuda:24")
    assert max(len(line) for line in lines) <= 88
    assert len(lines) == 21
    assert all(line.split()[-1] in ("full", "lora", "qlora") for line in lines[1:])


def test_filters_hold_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("models", "--kind", "coder", "--max-size", "8", "--json", "--on", "cpu:16")
    rows = json.loads(said(capsys, *arguments)[0])
    assert rows
    assert all(row["kind"] == "coder" and row["params_b"] <= 8 for row in rows)
    assert {row["fit"] for row in rows} <= {"full", "lora", "qlora", "no", None}


def test_an_id_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "models", "Qwen/Qwen2.5-72B-Instruct", "--on", "cuda:24")
    assert "size: 72 B" in lines
    assert any(line.startswith("LoRA layers: q_proj") for line in lines)


def test_what_is_not_known_is_answered_with_what_is_near(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "Qwen/Qwen2.5-7B-Instrct", "--on", "cpu:16"]) == 2
    assert "near: Qwen/Qwen2.5-7B-Instruct" in capsys.readouterr().err


def test_datasets_are_found_by_language_and_tag(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(said(capsys, "datasets", "zh", "sft", "--json")[0])
    assert rows
    assert all(word in json.dumps(row).lower() for row in rows for word in ("zh", "sft"))
