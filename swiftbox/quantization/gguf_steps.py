"""Convert a model to GGUF, measure the file with llama.cpp, and quantize it.

The file is written twice: unquantized in `work/converted`, which tells whether the conversion keeps
the model as it is, and then in the type of the result.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.engines.tool_runner import ToolRun, run_tool
from swiftbox.errors import ResultError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.quantization import gguf, gguf_verification, tensors
from swiftbox.quantization.job import QuantizationJob, complete_step
from swiftbox.quantization.llama_cpp import converter_request, refusal
from swiftbox.quantization.modelfile import write_modelfile
from swiftbox.quantization.processes import convert
from swiftbox.quantization.resolve import DEFAULT_BITS
from swiftbox.runs import events
from swiftbox.templates.closing import GENERATION_FILE, KEY, end_ids

CONVERTED = "converted"
"""The step whose folder holds the unquantized file."""

NAMES = "names.json"
"""Beside the unquantized file: the name in it of each tensor of the model."""

ANSWER_TOKENS = 24
PROMPT_TOKENS = 32
"""Tokens of the held-out text that the model continues."""

TEXTS = 40
"""Texts whose tokens are compared; they have a dozen languages, code and the chat template."""


def measure_converted(job: QuantizationJob, original: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the model without quantizing; return the measurement of that file.

    `original` is the measurement of the model itself. Raises ResultError if llama.cpp computes
    another model from the file, or cuts texts into other tokens; ConfigError for a model that
    cannot be converted.
    """
    folder = complete_step(job, CONVERTED, lambda target: _convert_into(job, target))
    file = folder / gguf.FILE
    try:
        gguf_verification.check_conversion(job.source, file, read_json(folder / NAMES))
        gguf_verification.check_template(file, job.tokenizer())
        measurement = _measured(job, file)
        gguf_verification.check_same_model(original, measurement)
    except ResultError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return {**measurement, "perplexity_original": original["perplexity"]}


def _measured(job: QuantizationJob, file: Path) -> dict[str, Any]:
    """Return the measurement of the unquantized file, that from before a stop if there is one."""
    record = file.with_name("measured.json")
    measurement = read_json(record)
    if not measurement:
        job.emit(events.STAGE, name="measure", detail=f"{file.name} ({stored_type(job).upper()})")
        measurement = measure(job, file, CONVERTED)
        write_json(record, measurement)
    return measurement


def stored_type(job: QuantizationJob) -> str:
    """Return the converter's type of the unquantized file: F16 if asked for, else the model's."""
    if job.config.bits == 16:
        return "f16"
    return {"bfloat16": "bf16", "float16": "f16"}.get(job.dtype, "f32")


def _convert_into(job: QuantizationJob, target: Path) -> None:
    job.emit(events.STAGE, name="convert", detail=stored_type(job).upper())
    headers = tensors.read_headers(job.source)
    request = {
        **converter_request(job.source, target / gguf.FILE, trusted=job.config.trust_remote_code),
        "type": stored_type(job),
        "tensors": sorted(headers),
        "bytes": tensors.total_bytes(headers),
    }
    result = convert(Path(sys.executable), request, job.work_folder / "tool", job.emit)
    if error := refusal(job.source, result):
        raise error
    write_json(target / NAMES, result["names"])


def write_quantized(job: QuantizationJob, target: Path) -> None:
    """Write the file of the result from the unquantized one, and the Modelfile for Ollama."""
    converted = job.work_folder / CONVERTED / gguf.FILE
    result = target / gguf.FILE
    name = gguf.TYPES[job.config.bits or DEFAULT_BITS]
    if name == "F16":
        with contextlib.suppress(OSError):  # a file system without links
            os.link(converted, result)
        if not result.exists():
            shutil.copyfile(converted, result)
    else:
        request = {"input": str(converted), "output": str(result), "ftype": gguf.FTYPES[name]}
        run_tool(ToolRun(job.engine, "gguf_quantize", _tool_folder(job)), request, job.emit)
    tokenizer, generation = job.tokenizer(), read_json(job.source / GENERATION_FILE)
    write_modelfile(target, tokenizer, {**generation, KEY: _ends(job, tokenizer)})


def measure(job: QuantizationJob, file: Path, name: str) -> dict[str, Any]:
    """Measure a file in llama.cpp; raise ResultError if it cuts texts into other tokens."""
    tokenizer = job.tokenizer()
    texts = _texts(tokenizer)
    request = {
        "model": str(file),
        "pieces": str(job.pieces_file),
        "prompts": [read_json(job.pieces_file)["held_out"][0][:PROMPT_TOKENS]],
        "answer_tokens": ANSWER_TOKENS,
        "ends": _ends(job, tokenizer),
        "texts": texts,
    }
    folder = job.work_folder / name
    folder.mkdir(exist_ok=True)
    measurement = run_tool(ToolRun(job.engine, "gguf_measure", folder), request, job.emit)
    gguf_verification.check_tokens(texts, measurement["tokenized"], tokenizer)
    _warn_of_ends(job, measurement["not_ends"], tokenizer)
    figures = {key: measurement[key] for key in ("perplexity", "tokens", "finite", "versions")}
    return {**figures, "answer": measurement["answers"][0]["ids"]}


def _tool_folder(job: QuantizationJob) -> Path:
    folder = job.work_folder / "tool"
    folder.mkdir(exist_ok=True)
    return folder


def _texts(tokenizer: Any) -> list[str]:
    """Return texts to tokenize: held-out conversations, as the chat template writes them."""
    from swiftbox.quantization.calibration import held_out_texts

    return held_out_texts(tokenizer, TEXTS)


def _ends(job: QuantizationJob, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the generation config's and the tokenizer's."""
    ids = (*end_ids(job.source), tokenizer.eos_token_id)
    return list(dict.fromkeys(int(number) for number in ids if number is not None))


def _warn_of_ends(job: QuantizationJob, ids: Sequence[int], tokenizer: Any) -> None:
    if not ids:
        return
    names = ", ".join(map(str, tokenizer.convert_ids_to_tokens(list(ids))))
    message = text(
        f"llama.cpp does not end an answer at {names}, as the model's own settings do: "
        f"clients should set it as `stop`",
        f"按模型自身的设置，回答在 {names} 处结束，但 llama.cpp 不会：请求中应将其设为 stop",
    )
    job.emit(events.WARNING, message=message)
