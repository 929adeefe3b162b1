"""Carry a quantization out, part by part; each finished part is found again after a stop.

In the run folder stands `work/`: the merged model, the tokens, the measurement before, and what
the method made, each renamed to its name only when it is whole. It is gone when the run is done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.merge import Quantization
from swiftbox.config.quantize import CALIBRATED, QuantizeConfig
from swiftbox.data.check import dataset_hash
from swiftbox.data.source import RowSource
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.errors import ResultError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.merge_checks import FLOATS
from swiftbox.quantization import checks, gguf, layers
from swiftbox.quantization.resolve import ENGINES
from swiftbox.quantization.tools import tool
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit

WORK = "work"
RECORD = "quantize.json"
"""In the run folder: sizes, perplexities, versions."""

ANSWER_TOKENS = 24
PROMPT_TOKENS = 32
"""Of the held-out text, what the answer is asked of."""

PACKAGES = (
    "torch transformers bitsandbytes gptqmodel optimum llmcompressor compressed-tensors gguf"
).split()

TOKENIZER = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
    "*.tiktoken",
)
"""Files of a tokenizer, by pattern: copied as they are, so that what was trained is served."""


@dataclass(frozen=True)
class Work:
    """What to quantize, for which machine, and where the run is recorded."""

    config: QuantizeConfig
    source: Path
    """The unquantized model, whole: fetched, or merged."""
    sources: tuple[RowSource, ...]
    """The user's calibration rows; none for the built-in ones."""
    folder: Path
    machine: Machine
    emit: Emit

    @property
    def engine(self) -> str:
        """Return the engine of the method; empty for our own environment."""
        return ENGINES.get(self.config.method, "")

    @property
    def device(self) -> str:
        """Return torch's name of the device."""
        return BACKENDS[self.machine.backend].torch_device

    @property
    def place(self) -> Path:
        """Return the folder of unfinished parts."""
        return self.folder / WORK


def quantize(work: Work) -> tuple[Path, dict[str, Any]]:
    """Quantize, check and name the result; return its folder and the figures.

    Raises ResultError, and leaves no result, when it is not what was asked for.
    """
    work.place.mkdir(parents=True, exist_ok=True)
    settled = work.config.model_copy(update={"dtype": _in_engine(work)})
    counted = _tokens(work)
    before = _before(work)
    made = _part(work, "quantized", lambda into: _made(work, into))
    with _gone_unless_sound(made):
        work.emit(events.STAGE, name="verify", detail=str(work.folder / run_folder.MODEL))
        figures = checks.files(work.source, made, settled)
        after = _measured(work, made, "after")
        figures |= checks.words(before, after, work.config)
    report = _report(work, figures, counted, (before, after))
    write_json(work.folder / RECORD, report)
    final = work.folder / run_folder.MODEL
    shutil.rmtree(final, ignore_errors=True)
    made.rename(final)
    work.emit(events.QUANTIZED, **report)
    return final, report


@contextmanager
def _gone_unless_sound(made: Path) -> Iterator[None]:
    """Remove what does not stand its checks; what comes from outside, and a stop, leave it."""
    try:
        yield
    except ResultError:
        shutil.rmtree(made, ignore_errors=True)
        raise
    except RunError as error:
        raise RunError(
            text(
                f"what was written could not be checked: {error.message}",
                f"写出的模型未能完成检查：{error.message}",
            ),
            hint=text(
                "it is kept: `swiftbox runs resume` checks it again, `runs rerun` makes it anew",
                "结果已保留：`swiftbox runs resume` 再次检查，`runs rerun` 重新制作",
            ),
        ) from error


def _part(work: Work, name: str, make: Callable[[Path], None]) -> Path:
    """Make a part of the work in a folder of its own, unless an earlier run has finished it."""
    done = work.place / name
    if done.is_dir():
        message = text(f"{name}: found from before the stop", f"{name}：沿用中断前的结果")
        work.emit(events.NOTE, key=name, message=message)
        return done
    aside = work.place / f".{name}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    make(aside)
    aside.rename(done)
    return done


def _tokens(work: Work) -> dict[str, int]:
    """Write the tokens to calibrate with and to measure on; return their counts."""
    from transformers import AutoTokenizer

    from swiftbox.quantization.texts import pieces_of

    work.emit(events.STAGE, name="data", detail=_data_name(work))
    code = work.config.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(
        str(work.source), trust_remote_code=code, local_files_only=True
    )
    pieces = pieces_of(work.config, work.sources, tokenizer)
    write_json(
        work.place / "pieces.json",
        {"calibration": pieces.calibration, "held_out": pieces.held_out},
    )
    counted = pieces.figures()
    if work.config.method in CALIBRATED and counted["calibration_pieces"] < _wanted(work):
        message = text(
            f"calibration: {counted['calibration_pieces']} pieces of {_wanted(work)} asked for; "
            "there is no more text",
            f"校准：要求 {_wanted(work)} 段，文本只够 {counted['calibration_pieces']} 段",
        )
        work.emit(events.WARNING, key="calibration_samples", message=message)
    return counted


def _wanted(work: Work) -> int:
    return work.config.calibration_samples


def _data_name(work: Work) -> str:
    if work.sources:
        return ", ".join(one.path for one in work.sources)
    return text("built-in questions, and Python's own documentation", "内置问答与 Python 自带文档")


def _before(work: Work) -> Mapping[str, Any]:
    """Measure the model as it is, unless that was done before a stop."""
    kept = work.place / "before.json"
    found = read_json(kept)
    if not found:
        work.emit(events.STAGE, name="measure", detail=str(work.source))
        found = _measured(work, work.source, "before")
        write_json(kept, found)
    if not found.get("perplexity"):
        raise RunError(
            text(
                f"the model itself, before quantizing, gives no finite logits: {work.source}",
                f"模型在量化之前就没有有限的 logit：{work.source}",
            ),
            hint=text("was its training sound? look at its losses", "请检查其训练损失是否正常"),
        )
    return found


def _measured(work: Work, model: Path, name: str) -> dict[str, Any]:
    """Measure a model in a fresh process of the environment that its method has."""
    pieces = read_json(work.place / "pieces.json")
    is_gguf = work.config.method == "gguf" and name == "after"
    more: dict[str, Any] = {}
    if is_gguf:
        more = {"gguf_file": gguf.FILE, "paths": list(gguf.require().paths)}
    return tool(
        work.engine,
        "measure",
        {
            "model": str(model),
            "pieces": str(work.place / "pieces.json"),
            "dtype": _measured_in(work, name),
            "device": work.device,
            "trust_remote_code": work.config.trust_remote_code,
            "prompt": pieces["held_out"][0][:PROMPT_TOKENS],
            "answer_tokens": ANSWER_TOKENS,
            "packages": PACKAGES,
            **more,
        },
        work.place / name,
        work.emit,
    )


def _measured_in(work: Work, name: str) -> str:
    """Return the number type of a measurement: exact where there is no accelerator."""
    if work.config.method == "awq" and name == "after":
        return "float16"
    if not work.machine.devices:
        return "float32"
    return _dtype(work)


def _dtype(work: Work) -> str:
    """Return the number type of what stays unquantized."""
    if work.config.dtype != "stored":
        return work.config.dtype
    return FLOATS[weights.look(work.source).main_dtype or "F32"]


def _made(work: Work, into: Path) -> None:
    """Let the method write its result, and put beside it what goes with a model."""
    work.emit(events.STAGE, name="quantize", detail=described(work.config))
    if work.config.method == "bnb":
        _packed(work, into)
    elif work.config.method == "gguf":
        _converted(work, into)
    else:
        tool(work.engine, work.engine, _request(work, into), work.place / "tool", work.emit)
    _along(work, into)


def described(config: QuantizeConfig) -> str:
    """Name a method with its numbers, as people do."""
    if config.method == "bnb":
        return config.bnb_4bit_quant_type.upper() if config.bits == 4 else "INT8"
    if config.method in ("gptq", "awq"):
        group = text(f"groups of {config.group_size}", f"每组 {config.group_size}")
        return f"{config.method.upper()}, {config.bits} bits, {group}"
    if config.method == "gguf":
        return f"GGUF {gguf.OUT_TYPES[config.bits or 8].upper()}"
    return config.method.upper()


def _request(work: Work, into: Path) -> dict[str, Any]:
    tensors = layers.tensors_of(work.source)
    said = read_json(work.source / "config.json")
    scratch = work.place / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    return {
        "method": work.config.method,
        "bits": work.config.bits,
        "group_size": work.config.group_size,
        "model": str(work.source),
        "output": str(into),
        "pieces": str(work.place / "pieces.json"),
        "scratch": str(scratch),
        "dtype": _in_engine(work),
        "device": work.device,
        "parameters": sum(one.numbers for one in tensors.values()),
        "layers": said.get("num_hidden_layers") or 0,
        "trust_remote_code": work.config.trust_remote_code,
    }


def _in_engine(work: Work) -> str:
    """Return the number type for an engine: gptqmodel packs scales in float16 alone."""
    found = _dtype(work)
    return "float16" if work.engine == "gptq" and found == "float32" else found


def _packed(work: Work, into: Path) -> None:
    from swiftbox.core.weights.quantize import pack

    how = Quantization(
        quant_bits=work.config.bits or 4,
        bnb_4bit_quant_type=work.config.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=work.config.bnb_4bit_use_double_quant,
        dtype=_dtype(work),
    )
    code = work.config.trust_remote_code
    pack(work.source, into, how, device=work.device, trust_remote_code=code)


def _converted(work: Work, into: Path) -> None:
    found = gguf.require()
    kind = gguf.OUT_TYPES[work.config.bits or 8]
    request = {
        "script": found.script,
        "words": [str(work.source), "--outtype", kind, "--outfile", str(into / gguf.FILE)],
    }
    tool("", "gguf", request, work.place / "tool", work.emit, python=Path(found.python))


def _along(work: Work, into: Path) -> None:
    """Copy what quantizing does not change: tokenizer, template, generation config, code.

    The training's record as well: the tokens of its prompts; answers in few bits are others.
    """
    from swiftbox.core.generation import parity
    from swiftbox.core.weights.cast import write_along

    for pattern in TOKENIZER:
        for source in work.source.glob(pattern):
            if source.is_file():
                shutil.copyfile(source, into / source.name)
    write_along(work.source, into, code=work.config.trust_remote_code)
    parity.carry(work.source, into, dtype=_in_engine(work), answers=False)


def _report(
    work: Work,
    figures: Mapping[str, Any],
    counted: Mapping[str, int],
    measured: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> dict[str, Any]:
    before, after = measured
    config = work.config
    return {
        "method": config.method,
        "bits": config.bits,
        "group_size": config.group_size,
        "dtype": _in_engine(work),
        "described": described(config),
        **figures,
        "share": round(figures["bytes_after"] / figures["bytes_before"], 4),
        **counted,
        "calibration_sha256": dataset_hash(work.sources) if work.sources else None,
        "answer_before": _said(work, before["answer"]),
        "answer_after": _said(work, after["answer"]),
        "engine": work.engine or None,
        "versions": after["versions"],
        "ended": round(time.time()),
    }


def _said(work: Work, ids: Sequence[int]) -> str:
    from transformers import AutoTokenizer

    code = work.config.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(
        str(work.source), trust_remote_code=code, local_files_only=True
    )
    said: str = tokenizer.decode(ids)
    return said
