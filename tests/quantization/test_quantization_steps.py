"""Steps of a quantization are reused, repeated or deleted as failures and changes require."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from made_up import made_up
from transformers import AutoTokenizer

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.core.generation import parity
from swiftbox.errors import ResultError, RunError
from swiftbox.files import write_json
from swiftbox.quantization import run as quantization_run
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.quantize import run

MEASURED = {"perplexity": 10.0, "finite": True, "tokens": 99, "answer": [1], "versions": {}}

SENTENCE = "The Seine, which rises in Burgundy, runs through Paris and ends in the Channel."


def nf4(model: Path, **keys: Any) -> QuantizeConfig:
    return QuantizeConfig(
        model=str(model), hub="local", bits=4, dtype="stored", max_perplexity_ratio=1.25,
        calibration_length=32, **keys,
    )  # fmt: skip


def run_in(config: QuantizeConfig, folder: Path) -> list[dict[str, Any]]:
    """Run in a folder; return the events."""
    folder.mkdir(exist_ok=True)
    write_json(folder / run_folder.MACHINE, made_up("cpu").to_dict())
    recorded: list[dict[str, Any]] = []
    run(config, folder, lambda event, **fields: recorded.append({"event": event, **fields}))
    return recorded


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace measuring: the result, or the error, of a measurement by the name of its folder."""
    answers: dict[str, Any] = {"before": MEASURED, "after": MEASURED}

    def measure(_engine: str, _request: Any, folder: Path, _emit: Any) -> Any:
        measurement = answers[folder.name]
        if isinstance(measurement, Exception):
            raise measurement
        return measurement

    monkeypatch.setattr(quantization_run, "measure", measure)
    return answers


@pytest.fixture
def trained(tiny: Path, tmp_path: Path) -> Path:
    """A model with the record that its training left."""
    folder = shutil.copytree(tiny, tmp_path / "trained")
    prompts = parity.render_prompts(AutoTokenizer.from_pretrained(folder))
    answer = parity.GreedyAnswer("question", (1, 2), (0.5, 0.5, 0.5), 3.0)
    parity.ParityRecord(prompts, (answer,), "float32").write(folder)
    return folder


@pytest.mark.usefixtures("measuring")
def test_the_parity_record_is_copied_without_its_answers(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_in(nf4(trained), out)
    _, record, is_trained = parity.load_reference(
        out / "model", out / "model", trust_remote_code=False
    )
    assert is_trained
    first = parity.read_record(trained)
    assert first is not None
    assert record.prompts == first.prompts
    assert record.answers == ()


def test_an_external_error_keeps_the_result(
    tiny: Path, tmp_path: Path, measuring: dict[str, Any]
) -> None:
    measuring["after"] = RunError("measure was killed: out of memory")
    with pytest.raises(RunError, match="out of memory") as caught:
        run_in(nf4(tiny), tmp_path / "out")
    assert "runs resume" in caught.value.hint
    assert (tmp_path / "out" / "work" / "quantized" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "model").exists()
    measuring["after"] = MEASURED
    recorded = run_in(nf4(tiny), tmp_path / "out")
    assert [event["key"] for event in recorded if event["event"] == "note"] == ["quantized"]
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


def test_a_result_that_fails_its_checks_is_deleted(
    tiny: Path, tmp_path: Path, measuring: dict[str, Any]
) -> None:
    measuring["after"] = {**MEASURED, "answer": []}
    with pytest.raises(ResultError, match="generates nothing"):
        run_in(nf4(tiny), tmp_path / "out")
    assert not (tmp_path / "out" / "work" / "quantized").exists()


@pytest.mark.parametrize("changed", ["model", "data"])
def test_changed_inputs_repeat_all_steps(
    changed: str, trained: Path, tmp_path: Path, measuring: dict[str, Any]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": f"{index}. {SENTENCE}"}) + "\n" for index in range(40))
    )
    config = nf4(trained, calibration_dataset=str(rows))
    measuring["after"] = RunError("killed")
    with pytest.raises(RunError):
        run_in(config, tmp_path / "out")
    measuring["after"] = MEASURED
    file = rows if changed == "data" else trained / "config.json"
    file.write_text(file.read_text("utf-8") + "\n", "utf-8")
    recorded = run_in(config, tmp_path / "out")
    assert any("has changed" in event.get("message", "") for event in recorded)
    assert "note" not in [event["event"] for event in recorded]
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


def test_a_changed_adapter_is_merged_again(
    tiny: Path, tmp_path: Path, measuring: dict[str, Any]
) -> None:
    adapter = make_adapter(tiny, tmp_path / "adapter")
    config = nf4(tiny, adapter=str(adapter))
    measuring["after"] = RunError("killed")
    with pytest.raises(RunError):
        run_in(config, tmp_path / "out")
    with pytest.raises(RunError):
        run_in(config, tmp_path / "out")
    merged = tmp_path / "out" / "work" / "merged" / "model" / "model.safetensors"
    first = merged.stat().st_mtime_ns
    shutil.rmtree(adapter)
    make_adapter(tiny, adapter, seed=9)
    with pytest.raises(RunError):
        run_in(config, tmp_path / "out")
    assert merged.stat().st_mtime_ns != first
