"""What a quantization looks at and is measured on: the user's rows, or a set made on the spot."""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.data.example import Example, RowError
from swiftbox.data.files import files_of, rows_of
from swiftbox.data.formats import read_row
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import DataError
from swiftbox.language import text

BUILT_IN = Path(__file__).with_name("built_in")
"""Questions and answers of our own writing in a dozen languages, apart for the two purposes."""

CALIBRATION_MODULES = (
    "argparse asyncio collections concurrent configparser contextlib csv ctypes datetime decimal "
    "difflib doctest email enum functools gzip hashlib heapq html http imaplib inspect ipaddress "
    "itertools json logging mailbox multiprocessing optparse os pathlib pdb pickle platform "
    "pprint queue random re sched selectors shelve shutil smtplib socket sqlite3 ssl string "
    "subprocess tarfile tempfile threading timeit tkinter tokenize traceback turtle types typing "
    "unittest urllib uuid venv wave weakref webbrowser wsgiref xml zipfile"
).split()
HELD_OUT_MODULES = (
    "statistics textwrap fractions calendar bisect base64 codecs copy gettext".split()
)
"""Of the standard library, whose documentation is everywhere where Python is."""

STAGES = ("sft", "pt", "dpo", "kto", "grpo")
"""The stages whose formats a calibration row may have, the first that fits."""

HELD_OUT_EVERY = 5
"""Of the user's rows every fifth is measured on and never calibrated on."""

MOST_HELD_OUT = 16
"""Pieces that are measured: 8,192 tokens of 512 tell ratios apart to about a hundredth."""

FEWEST_ROWS = 10
MOST_NAMED = 5


@dataclass(frozen=True)
class Pieces:
    """Rows of tokens of one length: to calibrate with, and apart from these to measure on."""

    calibration: list[list[int]]
    held_out: list[list[int]]

    def figures(self) -> dict[str, int]:
        """Return the counts of both."""
        return {
            "calibration_pieces": len(self.calibration),
            "calibration_tokens": sum(map(len, self.calibration)),
            "held_out_pieces": len(self.held_out),
            "held_out_tokens": sum(map(len, self.held_out)),
        }


def sources_of(config: QuantizeConfig) -> tuple[RowSource, ...]:
    """Return what calibration_dataset names; nothing where it is empty."""
    if config.calibration_dataset is None:
        return ()
    named = [
        one.model_dump() if isinstance(one, DatasetSource) else one
        for one in as_list(config.calibration_dataset)
    ]
    return parse_sources(named, columns=config.columns)


def examples_of(sources: Iterable[RowSource]) -> list[Example]:
    """Read the user's rows, in any format; raise DataError for bad ones, and for too few."""
    found, bad = [], []
    for source in sources:
        rows = list(rows_of(source, files_of(source)))
        if source.num_samples is not None and source.num_samples < len(rows):
            rows = random.Random(0).sample(rows, source.num_samples)
        for file, line, row in rows:
            try:
                found.append(_read(row))
            except RowError as error:
                bad.append(f"{file}:{line}: {error.reason}")
    if bad:
        more = text(f"\n... {len(bad)} in all", f"\n…… 共 {len(bad)} 行")
        listed = "\n".join(bad[:MOST_NAMED]) + (more if len(bad) > MOST_NAMED else "")
        raise DataError(
            f"calibration_dataset: {listed}",
            hint=text("mend or remove these rows", "请修正或删除这些行"),
        )
    if len(found) < FEWEST_ROWS:
        raise DataError(
            text(
                f"calibration_dataset: {len(found)} rows; {FEWEST_ROWS} are the fewest",
                f"calibration_dataset：只有 {len(found)} 行，至少需要 {FEWEST_ROWS} 行",
            ),
            hint=text(
                "a fifth is held out to measure on; or leave it empty for the built-in set",
                "其中五分之一用于测量；留空则使用内置数据",
            ),
        )
    return found


def _read(row: Any) -> Example:
    if isinstance(row, RowError):
        raise row
    first: RowError | None = None
    for stage in STAGES:
        try:
            return read_row(row, stage)[1]
        except RowError as error:
            first = first or error
    raise first or RowError("columns", "no known format", "无法识别的格式")


def pieces_of(config: QuantizeConfig, sources: Sequence[RowSource], tokenizer: Any) -> Pieces:
    """Return the tokens to calibrate with and to measure on; what a template renders is rendered.

    Raises DataError where the rows do not fill a single piece to measure on.
    """
    if sources:
        examples = examples_of(sources)
        held = [one for at, one in enumerate(examples) if at % HELD_OUT_EVERY == 0]
        given = [one for at, one in enumerate(examples) if at % HELD_OUT_EVERY]
        known = {written(one, tokenizer) for one in given}
        held_out: Iterable[str] = (written(one, tokenizer) for one in held)
        held_out = [one for one in held_out if one not in known]  # rows that repeat are no test
        calibration: Iterable[str] = (written(one, tokenizer) for one in given)
    else:
        calibration = _built_in("calibration", CALIBRATION_MODULES, tokenizer)
        held_out = _built_in("held_out", HELD_OUT_MODULES, tokenizer)
    length = config.calibration_length
    found = Pieces(
        list(islice(cut(calibration, tokenizer, length), config.calibration_samples)),
        list(islice(cut(held_out, tokenizer, length), MOST_HELD_OUT)),
    )
    if not found.held_out or not found.calibration:
        raise DataError(
            text(
                f"calibration_dataset: its rows do not fill one piece of {length} tokens to "
                "calibrate with and one to measure on",
                f"calibration_dataset：数据不足以各凑成一段 {length} 个 token 用于校准与测量",
            ),
            hint=text(
                "give more rows, or set calibration_length: 128",
                "请增加数据，或减小 calibration_length",
            ),
        )
    return found


def _built_in(name: str, modules: Sequence[str], tokenizer: Any) -> Iterator[str]:
    source = RowSource(str(BUILT_IN / f"{name}.jsonl"))
    for _, _, row in rows_of(source, files_of(source)):
        yield written(_read(row), tokenizer)
    yield from documentation(modules)


def documentation(modules: Sequence[str]) -> Iterator[str]:
    """Yield what modules of the standard library say of themselves, without running any."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for name in modules:
        single = root / f"{name}.py"
        files = [single] if single.is_file() else sorted((root / name).glob("*.py"))
        for file in files:
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError, OSError):
                continue
            yield from filter(None, map(_docstring, ast.walk(tree)))


def _docstring(node: ast.AST) -> str:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    said = ast.get_docstring(node) or ""
    if isinstance(node, ast.Module) or not said:
        return said
    return f"{node.name}\n\n{said}"


def written(example: Example, tokenizer: Any) -> str:
    """Return an example as the model meets it: by the chat template where there is one."""
    if example.text is not None:
        return example.text
    messages = [one.to_dict() for one in example.messages]
    if not tokenizer.chat_template:
        return "\n\n".join(str(one["content"]) for one in messages)
    tools = list(example.tools) or None
    found: str = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    return found


def cut(texts: Iterable[str], tokenizer: Any, length: int) -> Iterator[list[int]]:
    """Yield the tokens of all texts, one after the other, in pieces of that length."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    waiting: list[int] = []
    for one in texts:
        waiting += tokenizer(one, add_special_tokens=False)["input_ids"] + end
        while len(waiting) >= length:
            yield waiting[:length]
            waiting = waiting[length:]
