"""Datasets that are still on a hub: guessed from the catalogue's rows, and said to be a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftbox.cli.main import main
from swiftbox.data.lengths import Lengths
from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.fit.estimate import Estimate, estimate
from swiftbox.fit.remote_rows import BYTES_PER_ROW, remote_rows
from swiftbox.fit.row_sizes import ASSUMED_TOKENS
from swiftbox.plan import plan
from swiftbox.tasks.load import loads

KNOWN, HUGE, PICTURES = (
    "AI-ModelScope/CodeAlpaca-20k",
    "AI-ModelScope/OpenOrca",
    "AI-ModelScope/LaTeX_OCR",
)


def settled(*datasets: str, machine: str = "cpu:64") -> Any:
    named = f"dataset={json.dumps(list(datasets))}"
    usual = ["model=Qwen/Qwen2.5-7B-Instruct", named, "report_to=none", "val_size=0"]
    return plan(
        loads("", source="test", overrides=usual).config, hypothetical_machine(machine)
    ).config


def estimated(*datasets: str, local: Lengths | None = None) -> Estimate:
    result = estimate(settled(*datasets), hypothetical_machine("cpu:64"), local)
    assert result is not None
    return result


def test_rows_of_the_catalogue_give_size_and_time() -> None:
    result = estimated(KNOWN)
    assert result.disk.data == pytest.approx(20022 * BYTES_PER_ROW)
    assert result.disk.total > result.disk.data
    assert result.duration is not None
    assert result.duration.tokens == pytest.approx(20022 * ASSUMED_TOKENS)
    assert result.duration.uncertainty == 12  # the speed's 4 x the rows' 3
    assert any("assuming typical lengths for rows on the hub" in line for line in result.lines())


def test_the_complete_dataset_is_fetched_to_train_on_a_part() -> None:
    result = remote_rows(settled(f"{KNOWN}#500"))
    assert (result.rows, result.rows_per_epoch) == (20022, 500)


@pytest.mark.parametrize("name", [HUGE, PICTURES, "owner/unknown"])
def test_unknown_sizes_are_reported_as_not_counted(name: str) -> None:
    result = estimated(KNOWN, name)
    assert result.duration is None
    assert result.disk.uncounted == (name,)
    assert any(f"not counted: {name}" in line for line in result.lines())
    assert result.to_dict()["disk"]["uncounted"] == [name]


def test_local_rows_are_added_by_their_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}")
    local = Lengths(rows={7: 10}, sums={7: 1000.0}, good_rows=10, taken=5)
    assert estimated("rows.jsonl").duration is None
    assert remote_rows(settled("rows.jsonl")).rows == 0
    both = estimated(f"{KNOWN}#100", "rows.jsonl", local=local).duration
    assert both is not None
    assert both.tokens == pytest.approx(500 + 100 * ASSUMED_TOKENS)


def test_check_reports_what_it_cannot_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("model: owner/unnamed\ndataset: owner/rows\n")
    assert main(["check", "a.yaml", "--on", "cuda:24"]) == 0
    assert "memory, disk and time of owner/unnamed cannot be estimated" in (capsys.readouterr().err)


def test_check_can_plan_for_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("model: Qwen/Qwen2.5-7B-Instruct\ndataset: owner/rows\n")
    assert main(["check", "a.yaml", "--on", "cuda:24"]) == 0
    assert "fits: " in (output := capsys.readouterr().out)
    assert "24.0 GiB available" in output
    assert main(["check", "a.yaml", "--on", "toaster:24"]) == 2
