"""Batches whose answers are scored as wholes, and their scores.

Shapes: S sequences, L lines, T tokens of a line, M scored tokens, B pairs. A strand is what must
stand together in a line: one sequence, or two that share the tokens they begin with. The shared
tokens stand once; both endings see them, and not each other (a mask of tree attention, as in
SpecInfer, arXiv:2305.09781), and count their positions from the same place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import ONE_LINE, PADDED, SHARED, balanced
from swiftbox.core.data.samples import IGNORED, Pair, Row
from swiftbox.core.losses.readout import Readout

SCORING = frozenset({"places", "targets", "owners", "scored"})
"""Keys of a batch that the model does not take; all have a value per learned token."""


@dataclass(frozen=True)
class Strand:
    """Sequences by number, and how many tokens at their start stand only once."""

    sequences: tuple[int, ...]
    shared: int = 0


class _Lines:
    """Lines of equal length that strands are written into."""

    def __init__(self, count: int, length: int) -> None:
        shape = (count, length)
        self.input_ids = np.zeros(shape, dtype=np.int64)  # (L, T)
        self.positions = np.tile(np.arange(length, dtype=np.int64), (count, 1))  # (L, T)
        self.strand_of = np.full(shape, -1, dtype=np.int32)  # (L, T); -1: of none
        self.ending_of = np.zeros(shape, dtype=np.int8)  # (L, T); 0: the shared start
        self.filled = [0] * count
        self.places: list[Any] = []
        self.targets: list[Any] = []
        self.owners: list[Any] = []

    def write(self, line: int, number: int, strand: Strand, rows: Sequence[Row]) -> None:
        """Write a strand behind what the line holds, and note the places that predict."""
        base = self.filled[line]
        at, first = base, line * self.input_ids.shape[1]
        for ending, sequence in enumerate(strand.sequences, 1):
            row = rows[sequence]
            skipped = strand.shared if ending > 1 else 0
            end = at + len(row) - skipped
            self.input_ids[line, at:end] = row.input_ids[skipped:]
            self.positions[line, at:end] = np.arange(skipped, len(row))
            self.strand_of[line, at:end] = number
            self.ending_of[line, at:end] = ending
            targets = 1 + np.flatnonzero(row.labels[1:] != IGNORED)  # of the row
            before = targets - 1  # the tokens that predict them
            inside = np.where(before < strand.shared, base + before, at + before - skipped)
            self.places.append(first + inside)
            self.targets.append(row.labels[targets])
            self.owners.append(np.full(len(targets), sequence))
            at = end
        self.ending_of[line, base : base + strand.shared] = 0
        self.filled[line] = at


def scored_batch(rows: Sequence[Row], strands: Sequence[Strand], layout: str) -> dict[str, Any]:
    """Lay sequences out in lines; every learned token gets the place that predicts it.

    Returns input_ids (L,T), position_ids (L,T) unless the layout is padded, attention_mask where
    the layout needs one, places (M,), targets (M,) and owners (M,), the number of the sequence.
    """
    lengths = [_length(rows, strand) for strand in strands]
    if layout == PADDED:
        lines = [[at] for at in range(len(strands))]
    elif layout == ONE_LINE:
        lines = [list(range(len(strands)))]
    else:
        lines = balanced(lengths)
    written = _Lines(len(lines), max(sum(lengths[at] for at in line) for line in lines))
    for number, line in enumerate(lines):
        for at in line:
            written.write(number, at, strands[at], rows)
        end = written.filled[number]
        written.positions[number, end:] -= end  # the rest is a row that nothing is learned of
    batch: dict[str, Any] = {
        key: torch.from_numpy(np.concatenate(values).astype(np.int64))
        for key, values in (
            ("places", written.places),
            ("targets", written.targets),
            ("owners", written.owners),
        )
    }
    batch["input_ids"] = torch.from_numpy(written.input_ids)
    if layout == PADDED:
        inside = written.strand_of >= 0
        return batch | {"attention_mask": torch.from_numpy(inside.astype(np.int64))}
    batch["position_ids"] = torch.from_numpy(written.positions)
    if layout == SHARED:
        mask = tree_mask(written.strand_of, written.ending_of)
        batch["attention_mask"] = torch.from_numpy(mask)
    return batch


def _length(rows: Sequence[Row], strand: Strand) -> int:
    whole = sum(len(rows[at]) for at in strand.sequences)
    return whole - strand.shared * (len(strand.sequences) - 1)


def tree_mask(strand_of: Any, ending_of: Any) -> Any:
    """Return which token (row) sees which (column): those before it on its own path.

    (L,T), (L,T) -> (L,1,T,T) bool.
    """
    length = strand_of.shape[1]
    causal = np.tril(np.ones((length, length), dtype=np.bool_))  # (T, T)
    same = strand_of[:, :, None] == strand_of[:, None, :]  # (L, T, T)
    path = (ending_of[:, None, :] == 0) | (ending_of[:, :, None] == ending_of[:, None, :])
    return (causal & same & path)[:, None]


def pair_batch(pairs: Sequence[Pair], layout: str) -> dict[str, Any]:
    """Join pairs to a batch: sequences 0..B-1 are the chosen ones, B..2B-1 the rejected ones."""
    count = len(pairs)
    rows = [_with_prompt(one) for one in pairs] + [one.rejected for one in pairs]
    if layout == SHARED:
        strands = [Strand((at, count + at), one.shared) for at, one in enumerate(pairs)]
    else:
        strands = [Strand((at,)) for at in range(2 * count)]
    batch = scored_batch(rows, strands, layout)
    if any(one.learns_prompt for one in pairs):
        answers = [one.chosen.trained for one in pairs] + [one.rejected.trained for one in pairs]
        batch["scored"] = _last_of_each(batch["owners"], answers)
    return batch


def _with_prompt(pair: Pair) -> Row:
    if not pair.learns_prompt:
        return pair.chosen
    start = pair.chosen.learned_from
    labels = np.concatenate([pair.chosen.input_ids[:start], pair.chosen.labels[start:]])
    return Row(pair.chosen.input_ids, labels)


def _last_of_each(owners: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Mark the last tokens of each sequence, as many as its answer has.  # (M,) bool"""
    marked = torch.zeros(len(owners), dtype=torch.bool)
    for sequence, count in enumerate(counts):
        own = (owners == sequence).nonzero()[:, 0]
        marked[own[len(own) - count :]] = True
    return marked


@dataclass(frozen=True)
class Scores:
    """What a model says of the sequences of a batch."""

    sums: torch.Tensor
    """Log-probability of each answer.  # (S,)"""
    lengths: torch.Tensor
    """Tokens of each answer.  # (S,)"""
    likelihood: torch.Tensor
    """Log-probability of each sequence's learned tokens, the prompt's among them.  # (S,)"""
    learned: torch.Tensor
    """Count of those tokens.  # (S,)"""

    @property
    def means(self) -> torch.Tensor:
        """Return the log-probability per token of each answer.  # (S,)"""
        return self.sums / self.lengths


def scores(model: Any, batch: Mapping[str, Any], readout: Readout, *, sequences: int) -> Scores:
    """Score the sequences of a batch."""
    inputs = {key: value for key, value in batch.items() if key not in SCORING}
    found = readout.log_probs(model, inputs, batch["places"], batch["targets"])  # (M,)
    owners = batch["owners"]

    def per_sequence(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(sequences, device=found.device).index_add(0, owners, values)  # (S,)

    likelihood, learned = per_sequence(found), per_sequence(torch.ones_like(found))
    scored = batch.get("scored")
    if scored is None:
        return Scores(likelihood, learned, likelihood, learned)
    sums = per_sequence(torch.where(scored, found, 0.0))
    return Scores(sums, per_sequence(scored.float()), likelihood, learned)
