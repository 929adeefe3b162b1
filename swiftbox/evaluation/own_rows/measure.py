"""A child that chooses the user's rows, and measures the loss of models on them.

Usage: `python -m swiftbox.evaluation.own_rows.measure REQUEST.json`; the request is that of
measuring.py. Rows are split, encoded and cut as by the training that their config describes, and
the loss is computed by its trainer. Prompts are the tokens of that encoding: what a server gets is
what the model was trained on. Each result is a file, so that a later start continues.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.example import Example
from swiftbox.data.files import dataset_hash
from swiftbox.data.source import RowSource
from swiftbox.errors import DataError, UserError
from swiftbox.evaluation.own_rows.row_files import ChosenRow, as_plain, conversation_of
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.runs import events
from swiftbox.runs.heavy_imports import heavy_imports

if TYPE_CHECKING:  # importing them takes seconds
    from swiftbox.core.data.samples import Sample

Request = Mapping[str, Any]

LEFT_OUT = ("bad", "dropped", "nothing_to_learn")
"""Counts of rows that a training does not take either."""

PASSED_ON = (events.STAGE, events.MEASURING, events.WARNING)


def main() -> int:
    """Choose rows, and measure what the request names."""
    request = read_json(Path(sys.argv[1]))
    result: dict[str, Any] = {"done": True}
    try:
        with heavy_imports():
            import swiftbox.core.training.measured_rows  # noqa: F401 - as every run imports torch
        measure(request, emit_line)
    except UserError as error:
        result = {"error": error.message, "hint": error.hint}
    write_json(Path(request["result"]), result)
    return 0


def emit_line(event: str, **fields: Any) -> None:
    """Write an event as a line of JSON; what a training notes of its settings is left out."""
    if event not in PASSED_ON:
        return
    print(json.dumps({"event": event, **fields}), flush=True)  # noqa: T201 - the child's protocol


def measure(request: Request, emit: Any) -> None:
    """Do what a request asks for and no earlier start has done."""
    training = config_of(request["training"])
    rows_file = Path(request["rows"])
    if "rows" not in read_json(rows_file):
        write_json(rows_file, chosen_rows(training, request))
    chosen = read_json(rows_file)
    measured = config_of(request["measured"])
    rows = EncodedRows.of(measured, chosen, Path(request["model"]))
    write_json(Path(request["prompts"]), {"prompts": rows.prompts})
    for candidate in request["candidates"]:
        result = Path(candidate["losses"])
        if "loss" not in read_json(result):
            emit(events.STAGE, name="loss", detail=candidate["name"])
            write_json(result, losses_of(rows, candidate, request, emit))


def config_of(plain: Mapping[str, Any]) -> TrainConfig:
    """Return the training config that was written as plain data."""
    config: TrainConfig = METHODS[plain["stage"]].config.model_validate(plain)
    return config


def sources_of(plain: Sequence[Mapping[str, Any]]) -> tuple[RowSource, ...]:
    """Return the sources that were written as plain data, with local paths."""
    return tuple(
        RowSource(
            source["path"],
            source["subset"],
            source["split"],
            source["num_samples"],
            tuple((key, value) for key, value in source["columns"]),
            tuple(source["renamed"]),
            tuple((key, value) for key, value in source["tags"]),
            source["weight"],
        )
        for source in plain
    )


# ---- which rows


def chosen_rows(training: TrainConfig, request: Request) -> dict[str, Any]:
    """Return the rows to measure as plain data, split and cut as the training does."""
    from swiftbox.core.data.cache import ExampleEncoder, examples_at
    from swiftbox.core.data.prepare import load_tokenizer, prepare_rows
    from swiftbox.core.data.rows import SingleUnits, UnitDataset
    from swiftbox.core.weights.vocabulary import add_tokens

    method = METHODS[training.model_dump()["stage"]]
    tokenizer = load_tokenizer(Path(request["deciding_model"]), training)
    add_tokens(tokenizer, training)
    encoder = ExampleEncoder.of(method, tokenizer, training)
    sources, validation = sources_of(request["sources"]), sources_of(request["validation"])
    counts: dict[str, Any] = {}
    data_hash = dataset_hash(sources)

    def keep_counts(event: str, **fields: Any) -> None:
        counts.update(fields if event == events.DATA else {})

    parts = prepare_rows(encoder, sources, keep_counts, data_hash=data_hash, validation=validation)
    rows: Any = parts.held_out if request["held_out"] else parts.training
    if not len(rows):
        raise _no_rows()
    if not method.needs_template:
        chosen = [_text_row(index, rows[index]) for index in range(len(rows))]
    else:
        places = examples_at(validation or sources, encoder, rows.indices.tolist())
        examples = [(_learned(example), f"{file}:{line}") for example, (file, line) in places]
        answered = [(example, place) for example, place in examples if example is not None]
        if not answered:
            raise _no_rows()
        encode = ExampleEncoder.of(METHODS["sft"], tokenizer, config_of(request["measured"]))
        chosen = _conversation_rows(answered, encode, tokenizer)
    return {
        "rows": chosen,
        "longest": UnitDataset(SingleUnits(parts.training)).longest(),
        "cut": sum(len(rows.samples[int(index)]) > training.max_length for index in rows.indices),
        "left_out": sum(counts.get(key, 0) for key in LEFT_OUT) + len(rows) - len(chosen),
        "tokenizer": _fingerprint(tokenizer),
    }


def _no_rows() -> DataError:
    return DataError(
        text("test_dataset: no row to measure", "test_dataset：没有可测量的数据"),
        hint=text("give other rows, or raise max_length", "请换用其他数据，或增大 max_length"),
    )


def _bad_row(place: str, reason: str) -> DataError:
    return DataError(
        f"test_dataset: {place} {reason}",
        hint=text("correct or remove this row", "请修正或删除这一行"),
    )


def _learned(example: Example) -> Example | None:
    """Return the conversation whose last answer is the right one; None for a bad answer."""
    if example.label is False:
        return None
    return Example(example.messages, example.tools)


def _text_row(number: int, sample: Any) -> dict[str, Any]:
    row = ChosenRow(f"text {number + 1}", "")
    return {**asdict(row), "ids": sample.input_ids.tolist()}


def _conversation_rows(
    examples: Sequence[tuple[Example, str]], encode: Any, tokenizer: Any
) -> list[dict[str, Any]]:
    """Return conversations with their last answers as texts."""
    rows = []
    encoded = encode([example for example, _ in examples])
    seen: dict[str, int] = {}
    for (example, place), result in zip(examples, encoded, strict=True):
        if result.error is not None:
            raise _bad_row(place, result.error.reason)
        _, answer = prompt_and_answer(result.samples[0])
        expected = tokenizer.decode(answer, skip_special_tokens=True).strip()
        seen[place] = seen.get(place, 0) + 1
        name = place if seen[place] == 1 else f"{place} #{seen[place]}"
        messages = tuple(turn.to_dict() for turn in _before_answer(example))
        row = ChosenRow(name, expected, messages, example.tools)
        rows.append({**asdict(row), "conversation": as_plain(example)})
    return rows


def _before_answer(example: Example) -> Sequence[Any]:
    """Return the turns before the last answer."""
    turns = example.messages
    last = max(index for index, turn in enumerate(turns) if turn.role == "assistant")
    return turns[:last]


def prompt_and_answer(sample: Any) -> tuple[list[int], list[int]]:
    """Return the tokens before the last learned answer, and those of the answer."""
    row = sample.rows[-1]
    prompt = row.last_prompt
    return prompt.tolist(), row.input_ids[len(prompt) :].tolist()


def _fingerprint(tokenizer: Any) -> str:
    from hashlib import sha256

    return sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


# ---- the rows as a model sees them


@dataclass(frozen=True)
class EncodedRows:
    """The rows in the tokens of a model, with their prompts."""

    config: TrainConfig
    tokenizer: Any
    samples: Sequence[Sample]
    prompts: Sequence[Sequence[int]]
    longest: int

    @staticmethod
    def of(config: TrainConfig, chosen: Mapping[str, Any], model: Path) -> EncodedRows:
        """Encode rows with the tokenizer and the template of a model."""
        from swiftbox.core.data.prepare import load_tokenizer
        from swiftbox.core.data.samples import TokenRow

        tokenizer = load_tokenizer(model, config)
        rows = chosen["rows"]
        if "ids" in rows[0]:
            _require_tokenizer(tokenizer, chosen, model)
            import numpy as np

            arrays = [np.asarray(row["ids"], np.int32) for row in rows]
            samples: list[Any] = [TokenRow(ids, ids) for ids in arrays]
            return EncodedRows(config, tokenizer, samples, (), chosen["longest"])
        examples = [conversation_of(row["conversation"]) for row in rows]
        samples = _encoded(examples, tokenizer, config, rows)
        answering = config.model_copy(update={"train_on_prompt": False})
        answered = samples
        if config.train_on_prompt:
            answered = _encoded(examples, tokenizer, answering, rows)
        prompts = [prompt_and_answer(sample)[0] for sample in answered]
        short = [sample.truncated(config.max_length) for sample in samples]
        return EncodedRows(config, tokenizer, short, prompts, chosen["longest"])


def _encoded(
    examples: Sequence[Example], tokenizer: Any, config: TrainConfig, rows: Sequence[Any]
) -> list[Any]:
    results = METHODS["sft"].encode(examples, tokenizer, config)
    for row, result in zip(rows, results, strict=True):
        if result.error is not None:
            raise _bad_row(row["id"], result.error.reason)
    return [result.samples[0] for result in results]


def _require_tokenizer(tokenizer: Any, chosen: Mapping[str, Any], model: Path) -> None:
    """Raise DataError for texts that were split into tokens of another tokenizer."""
    if _fingerprint(tokenizer) != chosen["tokenizer"]:
        raise DataError(
            text(
                f"test_dataset: {model} has another tokenizer, so its loss per token cannot be "
                "compared",
                f"test_dataset：{model} 的分词器不同，每个 token 的损失无法比较",
            ),
            hint=text("leave it out of compare", "请将其从 compare 中去掉"),
        )


# ---- losses


def losses_of(
    rows: EncodedRows, candidate: Mapping[str, Any], request: Request, emit: Any
) -> dict[str, Any]:
    """Return the loss of a candidate, and its sums by row, as plain data."""
    from swiftbox.core.training.measured_rows import MeasuredWeights, measure_rows

    adapter = candidate["adapter"]
    weights = MeasuredWeights(Path(request["model"]), Path(adapter) if adapter else None)
    method = METHODS[rows.config.model_dump()["stage"]]
    measured = measure_rows(
        (rows.config, method, rows.tokenizer),
        weights,
        (rows.samples, rows.longest),
        Path(request["work"]),
        emit,
    )
    counts = [sample.trained for sample in rows.samples]
    return {**asdict(measured), "counts": counts, "smoothing": rows.config.smoothing}


if __name__ == "__main__":
    sys.exit(main())
