"""Turn dataset files into training rows; needs a tokenizer, but no model yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.cache import ExampleEncoder, encoded_samples
from swiftbox.core.data.rows import FittedRows, fit, hold_out, preview
from swiftbox.core.data.samples import Sample
from swiftbox.core.weights.load import read_tokenizer
from swiftbox.data.held_out_rows import KEY, errors_under
from swiftbox.data.source import RowSource
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.templates.account import Account
from swiftbox.templates.chatml import CHATML


def load_tokenizer(folder: Path, config: TrainConfig) -> Any:
    """Load the tokenizer with the chat template set by the config."""
    tokenizer = read_tokenizer(folder, trust_remote_code=config.trust_remote_code)
    if config.template == "chatml":
        tokenizer.chat_template = CHATML
    elif config.template != "auto":
        path = Path(config.template).expanduser()
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    return tokenizer


class PreparedRows(NamedTuple):
    """The rows of a training, and of a classifier the number of rows of each label."""

    training: Sequence[Sample]
    held_out: Sequence[Sample]
    labels: Mapping[str, int] = MappingProxyType({})

    @property
    def both(self) -> tuple[Sequence[Sample], Sequence[Sample]]:
        """Return the training and the held-out rows."""
        return self.training, self.held_out


def prepare_rows(
    encoder: ExampleEncoder,
    sources: Sequence[RowSource],
    emit: Emit,
    *,
    data_hash: str = "",
    validation: Sequence[RowSource] = (),
) -> PreparedRows:
    """Return the training and held-out rows: read, check, encode, truncate, split, report.

    `data_hash` is dataset_hash(sources) if the caller has computed it; it reads every byte. The
    rows of `validation` are held out, or else a part of `sources` as val_size says.
    """
    config = encoder.config
    samples, report = encoded_samples(sources, encoder, emit, data_hash=data_hash)
    fitted = fit(samples, max_length=config.max_length, truncation=config.truncation)
    training, held_out = _split(fitted, config)
    skipped, held_out_report = _skipped(fitted, report), None
    labels = Counter(_labels(report))
    if validation:
        held_out, more, held_out_report = _held_out_by_name(encoder, validation, emit)
        skipped.update(more)
        labels.update(_labels(held_out_report))
    emit(
        events.DATA,
        rows=len(training),
        held_out=len(held_out),
        held_out_from=[Path(source.path).name for source in validation],
        held_out_report=held_out_report,
        **skipped,
        tokens=fitted.tokens,
        trained_tokens=fitted.trained_tokens,
        percentiles=fitted.percentiles,
        max_length=config.max_length,
        preferences=report["preferences"],
        **_reported(report),
        turns=fitted.turns,
        preview=preview(fitted.rows, encoder.tokenizer),
    )
    return PreparedRows(training, held_out, labels)


def _split(fitted: FittedRows, config: TrainConfig) -> tuple[Sequence[Sample], Sequence[Sample]]:
    return hold_out(fitted.rows, config.val_size, config.seed)


def _labels(report: Mapping[str, Any]) -> dict[str, int]:
    return Account.of(report["account"] or {}).labels()


def _held_out_by_name(
    encoder: ExampleEncoder, sources: Sequence[RowSource], emit: Emit
) -> tuple[Sequence[Sample], Counter[str], dict[str, Any]]:
    """Return the rows of `val_dataset`, how many were skipped or cut, and what is said of them."""
    config = encoder.config
    with errors_under(KEY):
        samples, report = encoded_samples(sources, encoder, emit)
        fitted = fit(samples, max_length=config.max_length, truncation=config.truncation)
    return fitted.rows, _skipped(fitted, report), _reported(report)


def _reported(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("account", "unused", "cut_rows")}


def _skipped(fitted: FittedRows, report: Mapping[str, Any]) -> Counter[str]:
    return Counter(
        bad=report["bad"],
        cut=fitted.cut,
        dropped=fitted.dropped,
        nothing_to_learn=fitted.nothing_to_learn + report["unlearned"],
    )
