"""Quantize a model step by step; after a stop, finished steps are reused.

The folder `work/` in the run folder holds the result of each step: the merged model, the tokens,
the measurement before, and the quantized model. A step's folder gets its name when it is complete.
`work/` is deleted when the run is done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swiftbox.config.merge import Quantization
from swiftbox.config.quantize import CALIBRATED, QuantizeConfig
from swiftbox.data.files import dataset_hash
from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.engines.tool_runner import ToolRun, run_tool
from swiftbox.errors import ResultError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.merge_checks import FLOATS
from swiftbox.quantization import gguf, gguf_steps, tensors, verification
from swiftbox.quantization.job import QuantizationJob, complete_step
from swiftbox.quantization.processes import measure
from swiftbox.quantization.resolve import DEFAULT_BITS
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder

REPORT = "quantize.json"
"""In the run folder: sizes, perplexities, versions."""

ANSWER_TOKENS = 24
KEPT_SHARE = 0.6
"""Of the memory, for weights: the rest is for the layer that runs, activations and logits."""

PROMPT_TOKENS = 32
"""Tokens of the held-out text that the model continues."""

PACKAGES = (
    "torch transformers bitsandbytes gptqmodel optimum llmcompressor compressed-tensors gguf"
).split()

TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
    "*.tiktoken",
)
"""Patterns of a tokenizer's files. They are copied, not saved again: they stay byte for byte."""


def quantize(job: QuantizationJob) -> tuple[Path, dict[str, Any]]:
    """Quantize, verify and store the result; return its folder and the report.

    Raises ResultError, and deletes the result, if it is not the quantized model asked for.
    """
    job.work_folder.mkdir(parents=True, exist_ok=True)
    counts = _write_pieces(job)
    before = _measure_before(job)
    if job.config.method == "gguf":
        before = gguf_steps.measure_converted(job, before)
    quantized = complete_step(job, "quantized", lambda target: _quantize_into(job, target))
    final = job.folder / run_folder.MODEL
    with _deleted_if_wrong(quantized):
        job.emit(events.STAGE, name="verify", detail=str(final))
        config = job.config.model_copy(update={"dtype": job.saved_dtype})
        figures = verification.check_files(job.source, quantized, config)
        after = _measure_after(job, quantized)
        figures |= verification.check_measurements(before, after, job.config)
    report = _report(job, figures | counts, (before, after))
    write_json(job.folder / REPORT, report)
    shutil.rmtree(final, ignore_errors=True)
    quantized.rename(final)
    job.emit(events.QUANTIZED, **report)
    return final, report


@contextmanager
def _deleted_if_wrong(result: Path) -> Iterator[None]:
    """Delete the result if a check fails; keep it on external errors or Ctrl-C."""
    try:
        yield
    except ResultError:
        shutil.rmtree(result, ignore_errors=True)
        raise
    except RunError as error:
        raise type(error)(
            text(
                f"the quantized model could not be checked: {error.message}",
                f"量化后的模型未能完成检查：{error.message}",
            ),
            hint=text(
                "the model is kept: `swiftbox runs resume` checks it again, "
                "`swiftbox runs rerun` quantizes again",
                "结果已保留：`swiftbox runs resume` 重新检查，`swiftbox runs rerun` 重新量化",
            ),
        ) from error


def _write_pieces(job: QuantizationJob) -> dict[str, int]:
    """Write the tokens to calibrate with and to measure on; return their counts."""
    from swiftbox.quantization.calibration import load_pieces

    sources = job.calibration_sources
    built_in = text("built-in questions and Python's documentation", "内置问答与 Python 自带文档")
    name = ", ".join(source.path for source in sources) or built_in
    job.emit(events.STAGE, name="data", detail=name)
    pieces = load_pieces(job.config, sources, job.tokenizer())
    write_json(
        job.pieces_file,
        {"calibration": pieces.calibration, "held_out": pieces.held_out},
    )
    counts = pieces.counts()
    count, requested = counts["calibration_pieces"], job.config.calibration_samples
    if job.config.method in CALIBRATED and count < requested:
        message = text(
            f"calibration: the text is enough for {count} pieces; {requested} were requested",
            f"校准：要求 {requested} 段，文本只够 {count} 段",
        )
        job.emit(events.WARNING, key="calibration_samples", message=message)
    return counts


def _measure_before(job: QuantizationJob) -> Mapping[str, Any]:
    """Measure the unquantized model, unless that was done before a stop."""
    file = job.work_folder / "before.json"
    measurement = read_json(file)
    if not measurement:
        job.emit(events.STAGE, name="measure", detail=str(job.source))
        measurement = _measure(job, job.source, "before")
        write_json(file, measurement)
    if not measurement.get("perplexity"):
        raise RunError(
            text(
                f"the model has NaN or infinite logits before it is quantized: {job.source}",
                f"模型在量化之前就输出非有限的 logit：{job.source}",
            ),
            hint=text(
                "check the losses of its training for NaN or divergence",
                "请检查其训练损失是否出现 NaN 或发散",
            ),
        )
    return measurement


def _measure(job: QuantizationJob, model: Path, name: str) -> dict[str, Any]:
    """Measure a model in a fresh process of the method's environment."""
    pieces_file = job.pieces_file
    request = {
        "model": str(model),
        "pieces": str(pieces_file),
        "dtype": _measured_dtype(job, name),
        "device": job.device,
        "trust_remote_code": job.config.trust_remote_code,
        "prompt": read_json(pieces_file)["held_out"][0][:PROMPT_TOKENS],
        "answer_tokens": ANSWER_TOKENS,
        "packages": PACKAGES,
        **_stored_types(model),
        "kept_bytes": kept_bytes(job.machine, host.memory()[1]),
    }
    engine = "" if job.config.method == "gguf" else job.engine
    return measure(engine, request, job.work_folder / name, job.emit)


def _measure_after(job: QuantizationJob, quantized: Path) -> dict[str, Any]:
    if job.config.method == "gguf":
        return gguf_steps.measure(job, quantized / gguf.FILE, "after")
    return _measure(job, quantized, "after")


def _stored_types(model: Path) -> dict[str, Any]:
    """Return the number types of a model's floating-point weights; it may have masks besides."""
    files = weights.read_weights(model)
    types = {
        name: FLOATS[dtype] for name, (dtype, _shape) in files.tensors.items() if dtype in FLOATS
    }
    return {"stored_dtype": FLOATS.get(files.main_dtype or "", "float32"), "stored_dtypes": types}


def kept_bytes(machine: Machine, free_host_bytes: int) -> int:
    """Return the bytes of weights that stay on the device between passes of a measurement."""
    if not machine.devices or BACKENDS[machine.backend].shares_memory:
        return round(KEPT_SHARE * free_host_bytes)
    return round(KEPT_SHARE * min(device.memory_bytes for device in machine.devices))


def _measured_dtype(job: QuantizationJob, name: str) -> str:
    """Return the number type to measure in: float32 without an accelerator."""
    if job.config.method == "awq" and name == "after":
        return "float16"
    return job.dtype if job.machine.devices else "float32"


def _quantize_into(job: QuantizationJob, target: Path) -> None:
    """Write the quantized model and the files that belong to it."""
    job.emit(events.STAGE, name="quantize", detail=description(job.config))
    if job.config.method == "bnb":
        _run_bitsandbytes(job, target)
    elif job.config.method == "gguf":
        gguf_steps.write_quantized(job, target)
    else:
        tool_folder = job.work_folder / "tool"
        tool_folder.mkdir(exist_ok=True)
        request = _engine_request(job, target)
        run_tool(ToolRun(job.engine, job.engine, tool_folder), request, job.emit)
    _copy_companions(job, target)


def description(config: QuantizeConfig) -> str:
    """Return the method with its numbers, such as "GPTQ, 4 bits, groups of 128"."""
    if config.method == "bnb":
        return config.bnb_4bit_quant_type.upper() if config.bits == 4 else "INT8"
    if config.method in ("gptq", "awq"):
        return text(
            f"{config.method.upper()}, {config.bits} bits, groups of {config.group_size}",
            f"{config.method.upper()}，{config.bits} 位，每组 {config.group_size}",
        )
    if config.method == "gguf":
        return f"GGUF {gguf.TYPES[config.bits or DEFAULT_BITS]}"
    return config.method.upper()


def _engine_request(job: QuantizationJob, target: Path) -> dict[str, Any]:
    scratch = job.work_folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    headers = tensors.read_headers(job.source)
    return {
        "method": job.config.method,
        "bits": job.config.bits,
        "group_size": job.config.group_size,
        "model": str(job.source),
        "output": str(target),
        "pieces": str(job.pieces_file),
        "scratch": str(scratch),
        "dtype": job.saved_dtype,
        "device": job.device,
        "parameters": sum(tensor.element_count for tensor in headers.values()),
        "layers": read_json(job.source / "config.json").get("num_hidden_layers") or 0,
        "trust_remote_code": job.config.trust_remote_code,
    }


def _run_bitsandbytes(job: QuantizationJob, target: Path) -> None:
    from swiftbox.core.weights.quantize import quantize_and_save

    quantization = Quantization(
        quant_bits=job.config.bits or DEFAULT_BITS,
        bnb_4bit_quant_type=job.config.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=job.config.bnb_4bit_use_double_quant,
        dtype=job.dtype,
    )
    quantize_and_save(
        job.source,
        target,
        quantization,
        device=job.device,
        trust_remote_code=job.config.trust_remote_code,
    )


def _copy_companions(job: QuantizationJob, target: Path) -> None:
    """Copy what quantizing does not change: tokenizer, template, generation config, code.

    The parity record is copied without its answers: a quantized model answers differently.
    """
    from swiftbox.core.generation import parity
    from swiftbox.core.weights.cast import copy_companions

    for pattern in TOKENIZER_FILES:
        for source in job.source.glob(pattern):
            if source.is_file():
                shutil.copyfile(source, target / source.name)
    copy_companions(job.source, target, code=job.config.trust_remote_code)
    parity.copy_record(job.source, target, dtype=job.saved_dtype, answers=False)


def _report(
    job: QuantizationJob,
    figures: Mapping[str, Any],
    measurements: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> dict[str, Any]:
    before, after = measurements
    config, sources = job.config, job.calibration_sources
    return {
        "method": config.method,
        "bits": config.bits,
        "group_size": config.group_size,
        "dtype": job.saved_dtype,
        "described": description(config),
        **figures,
        "share": round(figures["bytes_after"] / figures["bytes_before"], 4),
        "calibration_sha256": dataset_hash(sources) if sources else None,
        "answer_before": _decode(job, before["answer"]),
        "answer_after": _decode(job, after["answer"]),
        "engine": job.engine or None,
        "versions": after["versions"],
        "ended": round(time.time()),
    }


def _decode(job: QuantizationJob, ids: Sequence[int]) -> str:
    return str(job.tokenizer().decode(ids))
