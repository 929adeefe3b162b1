"""A GGUF file is written in steps: a toy engine converts, and what is not the model is deleted."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter
from gguf.quants import quantize
from made_up import made_up
from transformers import AutoTokenizer

from swiftbox import engines
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.engines.state import MARKER, engine_state
from swiftbox.engines.tool_runner import ToolRun
from swiftbox.engines.tools import gguf as converter
from swiftbox.errors import ConfigError, ResultError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.quantization import conversion_trial, gguf_steps
from swiftbox.quantization import run as quantization_run
from swiftbox.quantization.conversion_trial import conversion_refusal
from swiftbox.runs import folder as run_folder
from swiftbox.runs.asked_child import ChildQuestion
from swiftbox.tasks.quantize import run

CONVERTER = Path(__file__).with_name("toy_converter.py")
MEASURED = {"perplexity": 10.0, "finite": True, "tokens": 99, "versions": {}}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine that looks installed; its converter is the toy."""
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "engines" / "llama_cpp"
    packages = folder / "lib" / "python3.11" / "site-packages"
    converter = packages / "llama_cpp" / "converter" / "convert_hf_to_gguf.py"
    converter.parent.mkdir(parents=True)
    shutil.copyfile(CONVERTER, converter)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    requested = list(engines.ENGINES["llama_cpp"].requested("cpu"))
    marker = {"backend": "cpu", "folder": str(folder), "wanted": requested, "versions": {}}
    write_json(folder / MARKER, marker)
    assert engine_state("llama_cpp").status == "installed"
    return folder


class Tools:
    """llama.cpp's part: it quantizes with the package gguf, and measures what it is given."""

    def __init__(self, model: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.perplexities: dict[str, Any] = {"converted": 10.0, "after": 10.2}
        self.calls: list[str] = []
        self.cut = 0

    def run(self, call: ToolRun, request: Mapping[str, Any], _emit: Any) -> dict[str, Any]:
        self.calls.append(call.tool)
        if call.tool == "gguf_quantize":
            _quantize(Path(request["input"]), Path(request["output"]))
            return {}
        perplexity = self.perplexities[call.folder.name]
        if isinstance(perplexity, Exception):
            raise perplexity
        ids = [
            self.tokenizer(text, add_special_tokens=False).input_ids for text in request["texts"]
        ]
        return {
            **MEASURED,
            "perplexity": perplexity,
            "answers": [{"ids": [1, 2]}],
            "not_ends": request["ends"],
            "tokenized": [row[self.cut :] for row in ids],
        }


def _quantize(source: Path, target: Path) -> None:
    writer = GGUFWriter(target, "qwen3")
    for tensor in GGUFReader(source).tensors:
        data = np.array(tensor.data)
        kind = Type.Q8_0 if data.ndim > 1 else Type.F32
        writer.add_tensor(tensor.name, quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def tools(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    toy = Tools(tiny)
    monkeypatch.setattr(gguf_steps, "run_tool", toy.run)
    before = {**MEASURED, "answer": [1]}
    monkeypatch.setattr(quantization_run, "measure", lambda *_arguments: before)
    return toy


def run_in(model: Path, folder: Path, bits: int = 8) -> list[dict[str, Any]]:
    """Quantize in a folder; return the events."""
    config = QuantizeConfig(
        model=str(model), hub="local", method="gguf", bits=bits, dtype="stored",
        max_perplexity_ratio=1.05, calibration_length=32,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_json(folder / run_folder.MACHINE, made_up("cpu").to_dict())
    recorded: list[dict[str, Any]] = []
    run(config, folder, lambda event, **fields: recorded.append({"event": event, **fields}))
    return recorded


@pytest.mark.usefixtures("engine")
def test_the_result_has_the_file_its_tokenizer_and_a_modelfile(
    tiny: Path, tmp_path: Path, tools: Tools
) -> None:
    recorded = run_in(tiny, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert {"model.gguf", "Modelfile", "tokenizer.json", "chat_template.jinja"} <= names
    assert not {"config.json", "model.safetensors", "names.json"} & names
    assert not (tmp_path / "out" / "work").exists()
    report = read_json(tmp_path / "out" / "quantize.json")
    figures = ("perplexity_original", "perplexity_before", "perplexity_after", "described")
    assert [report[key] for key in figures] == [10.0, 10.0, 10.2, "GGUF Q8_0"]
    assert tools.calls == ["gguf_measure", "gguf_quantize", "gguf_measure"]
    (warning, *_) = [event["message"] for event in recorded if event["event"] == "warning"]
    assert "does not end an answer at <|im_end|>" in warning


@pytest.mark.usefixtures("engine")
def test_after_an_external_error_nothing_is_converted_or_quantized_again(
    tiny: Path, tmp_path: Path, tools: Tools
) -> None:
    tools.perplexities["after"] = RunError("killed")
    with pytest.raises(RunError, match="could not be checked: killed"):
        run_in(tiny, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
    tools.perplexities["after"], tools.calls = 10.1, []
    recorded = run_in(tiny, tmp_path / "out")
    assert tools.calls == ["gguf_measure"]
    reused = [event["key"] for event in recorded if event["event"] == "note"]
    assert reused == ["converted", "quantized"]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("measured", "problem"),
    [((11.0, 0), "computes another model"), ((10.0, 1), "cuts texts into other tokens")],
)
def test_a_converted_file_that_is_another_model_is_deleted(
    measured: tuple[float, int], problem: str, tiny: Path, tmp_path: Path, tools: Tools
) -> None:
    tools.perplexities["converted"], tools.cut = measured
    with pytest.raises(ResultError, match=problem):
        run_in(tiny, tmp_path / "out")
    assert "gguf_quantize" not in tools.calls
    assert not list((tmp_path / "out").rglob("*.gguf"))


@pytest.mark.usefixtures("engine", "tools")
@pytest.mark.parametrize(
    ("mark", "problem"),
    [
        ("odd-tokenizer", "does not know how its tokenizer splits texts"),
        ("odd-class", "refuses it: Model OddForCausalLM is not supported"),
    ],
)
def test_what_the_converter_refuses_is_refused_in_words(
    mark: str, problem: str, tiny: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    (model / mark).touch()
    with pytest.raises(ConfigError, match=problem) as caught:
        run_in(model, tmp_path / "out")
    assert caught.value.hint == "set method: bnb or gptq"
    assert not list((tmp_path / "out").rglob("*.gguf"))


@pytest.mark.usefixtures("engine")
def test_16_bits_are_converted_and_not_quantized(tiny: Path, tmp_path: Path, tools: Tools) -> None:
    with pytest.raises(ResultError, match="0 of 14 matrices are F16"):  # the toy writes F32
        run_in(tiny, tmp_path / "out", bits=16)
    assert tools.calls == ["gguf_measure"]


@pytest.mark.parametrize(("mark", "refused"), [("odd-tokenizer", True), ("a", False)])
def test_a_check_tries_the_conversion_where_the_engine_is_installed(
    mark: str, refused: bool, engine: Path, tiny: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    (model / mark).touch()
    assert engine.is_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChildQuestion, "_ask", lambda question: _asked_here(question, patch))
        error = conversion_refusal(model, trusted=False)
    assert (error is not None and "splits texts" in error.message) is refused
    assert (error is not None) is refused


def _asked_here(question: ChildQuestion, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Answer in this process, which has imported what a child would need seconds for."""
    output = io.StringIO()
    patch.setattr(sys, "argv", ["conversion_trial", *question.arguments])
    patch.setattr(sys, "path", list(sys.path))
    with contextlib.redirect_stdout(output):
        assert conversion_trial.main() == 0
    answer: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])
    return answer


def test_a_check_tries_nothing_without_the_engine(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "home"))
    assert conversion_refusal(tiny, trusted=False) is None


@pytest.mark.parametrize("trusted", [False, True])
def test_code_of_the_model_runs_only_if_it_is_allowed(
    trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[Any] = []
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **keys: options.append(keys))
    converter.limit_code(trusted=trusted)
    AutoTokenizer.from_pretrained("m", trust_remote_code=True)
    assert options == [{"trust_remote_code": trusted}]
