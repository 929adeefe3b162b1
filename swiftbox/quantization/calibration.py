"""The text that a quantization calibrates on, and the text that its result is measured on."""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.data.example import Example, RowError
from swiftbox.data.files import files_of, rows_of
from swiftbox.data.formats import read_row
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import DataError
from swiftbox.formatting import counted
from swiftbox.language import text

if TYPE_CHECKING:
    from swiftbox.templates.template import ConversationTemplate

BUILT_IN = Path(__file__).with_name("built_in")
"""Questions and answers in a dozen languages, written for swiftbox; one file for each purpose."""

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
"""Modules of the standard library: their docstrings are on every machine with Python."""

STAGES = ("sft", "pt", "dpo", "kto", "grpo")
"""The stages whose formats a calibration row may have; the first that fits is used."""

HELD_OUT_EVERY = 5
"""Every fifth of the user's rows is held out: measured on, never calibrated on."""

MAX_HELD_OUT_PIECES = 16
"""In pieces of 512, 8,192 tokens: enough to measure a perplexity ratio to about 0.01."""

MIN_ROWS = 10
MAX_LISTED_ROWS = 5


@dataclass(frozen=True)
class Pieces:
    """Token sequences of equal length: to calibrate on, and others to measure on."""

    calibration: list[list[int]]
    held_out: list[list[int]]

    def counts(self) -> dict[str, int]:
        """Return the number of pieces and tokens of both."""
        return {
            "calibration_pieces": len(self.calibration),
            "calibration_tokens": sum(map(len, self.calibration)),
            "held_out_pieces": len(self.held_out),
            "held_out_tokens": sum(map(len, self.held_out)),
        }


def calibration_sources(config: QuantizeConfig) -> tuple[RowSource, ...]:
    """Return the sources that calibration_dataset names; none if it is empty."""
    if config.calibration_dataset is None:
        return ()
    entries = [
        entry.model_dump() if isinstance(entry, DatasetSource) else entry
        for entry in as_list(config.calibration_dataset)
    ]
    return parse_sources(entries, columns=config.columns)


def read_examples(sources: Iterable[RowSource]) -> list[Example]:
    """Read the user's rows in any known format; raise DataError for bad rows, or too few."""
    examples: list[Example] = []
    errors: list[str] = []
    for source in sources:
        rows = list(rows_of(source, files_of(source)))
        if source.num_samples is not None and source.num_samples < len(rows):
            rows = random.Random(0).sample(rows, source.num_samples)
        for file, line, row in rows:
            try:
                examples.append(_read_example(row))
            except RowError as error:
                errors.append(f"{file}:{line}: {error.reason}")
    if errors:
        listed = "\n".join(errors[:MAX_LISTED_ROWS])
        if len(errors) > MAX_LISTED_ROWS:
            listed += text(f"\n... {len(errors)} in total", f"\n…… 共 {len(errors)} 行")
        raise DataError(
            f"calibration_dataset: {listed}",
            hint=text("fix or remove these rows", "请修正或删除这些行"),
        )
    if len(examples) < MIN_ROWS:
        raise DataError(
            text(
                f"calibration_dataset: {counted(len(examples), 'row')}; "
                f"at least {MIN_ROWS} are required",
                f"calibration_dataset：只有 {len(examples)} 行，至少需要 {MIN_ROWS} 行",
            ),
            hint=text(
                "add rows (a fifth is held out to measure on), or leave it empty for the "
                "built-in data",
                "请增加数据（其中五分之一留作测量），或留空以使用内置数据",
            ),
        )
    return examples


def _read_example(row: Any) -> Example:
    if isinstance(row, RowError):
        raise row
    first_error: RowError | None = None
    for stage in STAGES:
        try:
            return read_row(row, stage)[1]
        except RowError as error:
            first_error = first_error or error
    raise first_error or RowError("columns", "no known format", "无法识别的格式")


def load_pieces(config: QuantizeConfig, sources: Sequence[RowSource], tokenizer: Any) -> Pieces:
    """Return the tokens to calibrate on and to measure on.

    Raises DataError if the rows are too short for one piece of each.
    """
    calibration, held_out = _split(sources, tokenizer) if sources else _built_in_texts(tokenizer)
    length = config.calibration_length
    pieces = Pieces(
        list(islice(cut(calibration, tokenizer, length), config.calibration_samples)),
        list(islice(cut(held_out, tokenizer, length), MAX_HELD_OUT_PIECES)),
    )
    if not pieces.held_out or not pieces.calibration:
        raise DataError(
            text(
                f"calibration_dataset: the rows are too short for one piece of {length} tokens "
                "to calibrate on and one to measure on",
                f"calibration_dataset：数据不足以各凑成一段 {length} 个 token 用于校准与测量",
            ),
            hint=text(
                "add rows, or set calibration_length: 128",
                "请增加数据，或设 calibration_length: 128",
            ),
        )
    return pieces


def _split(sources: Sequence[RowSource], tokenizer: Any) -> tuple[Iterable[str], Iterable[str]]:
    """Return the user's texts to calibrate on and to measure on, without texts in both."""
    examples = read_examples(sources)
    calibration = [
        render(example, tokenizer)
        for index, example in enumerate(examples)
        if index % HELD_OUT_EVERY
    ]
    known = set(calibration)
    held_out = [render(example, tokenizer) for example in examples[::HELD_OUT_EVERY]]
    return calibration, [document for document in held_out if document not in known]


def _built_in_texts(tokenizer: Any) -> tuple[Iterable[str], Iterable[str]]:
    return (
        _built_in("calibration", CALIBRATION_MODULES, tokenizer),
        _built_in("held_out", HELD_OUT_MODULES, tokenizer),
    )


def held_out_texts(tokenizer: Any, count: int) -> list[str]:
    """Return the first of the built-in texts that are held out."""
    return list(islice(_built_in_texts(tokenizer)[1], count))


def _built_in(name: str, modules: Sequence[str], tokenizer: Any) -> Iterator[str]:
    source = RowSource(str(BUILT_IN / f"{name}.jsonl"))
    for _, _, row in rows_of(source, files_of(source)):
        yield render(_read_example(row), tokenizer)
    yield from docstrings(modules)


def docstrings(modules: Sequence[str]) -> Iterator[str]:
    """Yield the docstrings of modules of the standard library, without importing them."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for name in modules:
        module_file = root / f"{name}.py"
        files = [module_file] if module_file.is_file() else sorted((root / name).glob("*.py"))
        for file in files:
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError, OSError):
                continue
            yield from filter(None, map(_docstring, ast.walk(tree)))


def _docstring(node: ast.AST) -> str:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    docstring = ast.get_docstring(node) or ""
    if isinstance(node, ast.Module) or not docstring:
        return docstring
    return f"{node.name}\n\n{docstring}"


def render(example: Example, tokenizer: Any) -> str:
    """Return the text of an example, by the chat template if the tokenizer has one."""
    if example.text is not None:
        return example.text
    messages = [message.to_dict() for message in example.messages]
    if not tokenizer.chat_template:
        return "\n\n".join(str(message["content"]) for message in messages)
    from swiftbox.templates.template import ConversationTemplate, TemplateRefusal

    template = ConversationTemplate.of_tokenizer(tokenizer)
    try:
        return template.render(messages, example.tools)
    except TemplateRefusal:
        return _adapted_text(example, template)


def _adapted_text(example: Example, template: ConversationTemplate) -> str:
    """Return the text of an example with its system text and its turns moved as the template needs.

    Raises DataError if the template refuses it nevertheless.
    """
    from swiftbox.templates.options import CHANGES, RenderOptions
    from swiftbox.templates.renderings import render_example

    options = RenderOptions("last", "warn").with_changes(CHANGES)
    try:
        return render_example(template, options, example.messages, example.tools).renderings[0].text
    except RowError as error:
        raise DataError(
            text(
                f"calibration_dataset: a row cannot be rendered: {error.en}",
                f"calibration_dataset：有一行无法渲染：{error.zh}",
            ),
            hint=text(
                'remove such rows, or give texts: {"text": ...}',
                '请去掉这样的行，或改为纯文本：{"text": ...}',
            ),
        ) from None


def cut(texts: Iterable[str], tokenizer: Any, length: int) -> Iterator[list[int]]:
    """Yield the tokens of all texts, joined, in pieces of that length; the rest is dropped."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    tokens: list[int] = []
    for document in texts:
        tokens += tokenizer(document, add_special_tokens=False)["input_ids"] + end
        while len(tokens) >= length:
            yield tokens[:length]
            tokens = tokens[length:]
