"""Batches of sequences whose learned tokens are located when they are collated, and their scores.

Shapes: S sequences, L lines, T tokens of a line, M learned tokens, B pairs, G groups. A prefix
group is one sequence, or several that begin alike; it is never split over lines. What a sequence
shares with an earlier one is stored once. Both attend to it but not to each other (tree attention,
as in SpecInfer, arXiv:2305.09781), and positions count along each sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import (
    LINES,
    PADDED,
    RESTARTING_LINES,
    SEPARATE,
    SHARED,
    SHARED_LINE,
    WITH_BOUNDS,
    balanced_lines,
)
from swiftbox.core.data.samples import IGNORED, PreferencePair, SharedPrefix, TokenRow, TurnRows
from swiftbox.core.data.shared_prompts import (
    Branch,
    columns_of,
    first_tokens,
    shared_bounds,
    sharing_pays,
    tree_mask,
)
from swiftbox.core.losses.log_prob_reader import LogProbReader

NOTHING = SharedPrefix(0, 0)
"""What the first sequence of a group shares with earlier ones."""

SCORING_KEYS = frozenset({"indices", "targets", "sequence_ids", "scored"})
"""Keys of a batch that are not model inputs; each has a value per learned token."""


@dataclass(frozen=True)
class PrefixGroup:
    """Sequences by number, and what each after the first begins with."""

    sequences: tuple[int, ...]
    prefixes: tuple[SharedPrefix, ...] = ()


class _LineWriter:
    """Writes prefix groups into lines of equal length."""

    def __init__(self, count: int, length: int) -> None:
        shape = (count, length)
        self.input_ids = np.zeros(shape, dtype=np.int64)  # (L, T)
        self.positions = np.tile(np.arange(length, dtype=np.int64), (count, 1))  # (L, T)
        self.branches: list[list[Branch]] = [[] for _ in range(count)]
        self.indices: list[Any] = []
        self.targets: list[Any] = []
        self.sequence_ids: list[Any] = []
        self.weights: list[Any] = []

    def filled(self, line: int) -> int:
        """Return the number of tokens that were written into a line."""
        return self.branches[line][-1].end if self.branches[line] else 0

    def write(self, line: int, group: PrefixGroup, rows: Sequence[TokenRow]) -> None:
        """Append a group to a line, and record the indices that predict its learned tokens."""
        branches: list[Branch] = []
        for sequence, shared in zip(group.sequences, (NOTHING, *group.prefixes), strict=True):
            row, start = rows[sequence], self.filled(line)
            prefix = first_tokens(branches[shared.row].path, shared.tokens) if branches else ()
            branch = Branch(start, start + len(row) - shared.tokens, prefix)
            self.input_ids[line, branch.start : branch.end] = row.input_ids[shared.tokens :]
            self.positions[line, branch.start : branch.end] = np.arange(shared.tokens, len(row))
            targets = 1 + np.flatnonzero(row.labels[1:] != IGNORED)  # of the row
            columns = columns_of(branch.path)[targets - 1]  # of the tokens that predict them
            self.indices.append(line * self.input_ids.shape[1] + columns)
            self.targets.append(row.labels[targets])
            self.sequence_ids.append(np.full(len(targets), sequence))
            self.weights.append(None if row.weights is None else row.weights[targets])
            branches.append(branch)
            self.branches[line].append(branch)

    def learned(self) -> dict[str, Any]:
        """Return what was recorded of the learned tokens: tensors of (M,)."""
        parts = {
            "indices": self.indices,
            "targets": self.targets,
            "sequence_ids": self.sequence_ids,
        }
        learned = {
            key: torch.from_numpy(np.concatenate(values).astype(np.int64))
            for key, values in parts.items()
        }
        if any(weights is not None for weights in self.weights):
            weights = [
                np.ones(len(targets), np.float32) if weights is None else weights
                for weights, targets in zip(self.weights, self.targets, strict=True)
            ]
            learned["weights"] = torch.from_numpy(np.concatenate(weights))
        return learned


def scored_batch(
    rows: Sequence[TokenRow], groups: Sequence[PrefixGroup], layout: str
) -> dict[str, Any]:
    """Arrange sequences in lines and locate the token that predicts each learned token.

    Returns input_ids (L,T), position_ids (L,T) unless the layout is padded, the attention_mask or
    the bounds of rows that the layout needs, and for the learned tokens indices (M,), targets (M,),
    sequence_ids (M,), and weights (M,) if any row has some.
    """
    lengths = [_length(rows, group) for group in groups]
    lines = lines_of(lengths, layout)
    longest = max(sum(lengths[number] for number in line) for line in lines)
    writer = _LineWriter(len(lines), longest)
    for line_number, line in enumerate(lines):
        for number in line:
            writer.write(line_number, groups[number], rows)
    batch = writer.learned() | {"input_ids": torch.from_numpy(writer.input_ids)}
    if layout == PADDED:
        filled = np.array([writer.filled(line) for line in range(len(lines))])  # (L,)
        mask = (np.arange(longest) < filled[:, None]).astype(np.int64)  # (L, T)
        return batch | {"attention_mask": torch.from_numpy(mask)}
    restarts = layout == RESTARTING_LINES or any(len(line) > 1 for line in lines)
    if restarts:  # otherwise the rest of a line continues its row
        for line_number in range(len(lines)):
            end = writer.filled(line_number)
            writer.positions[line_number, end:] -= end  # a row without labels
    batch["position_ids"] = torch.from_numpy(writer.positions)
    if layout == SHARED:
        batch["attention_mask"] = torch.from_numpy(tree_mask(writer.branches, longest))
    if layout in WITH_BOUNDS:
        batch |= shared_bounds(writer.branches[0])
    return batch


def lines_of(lengths: Sequence[int], layout: str) -> list[list[int]]:
    """Distribute groups over lines, by number."""
    if layout == PADDED:
        return [[number] for number in range(len(lengths))]
    if layout in WITH_BOUNDS:
        return [list(range(len(lengths)))]
    return balanced_lines(lengths)


def _length(rows: Sequence[TokenRow], group: PrefixGroup) -> int:
    total = sum(len(rows[number]) for number in group.sequences)
    return total - sum(prefix.tokens for prefix in group.prefixes)


def rows_batch(samples: Sequence[TokenRow | TurnRows], layout: str) -> dict[str, Any] | None:
    """Collate samples of which some have rows that begin alike, in a layout that shares them.

    None if nothing is shared, or if a mask costs more than computing it repeatedly.
    """
    if layout not in SEPARATE or not any(sample.prefixes for sample in samples):
        return None
    if layout == SHARED and not sharing_pays(samples):
        return None
    rows: list[TokenRow] = []
    groups: list[PrefixGroup] = []
    for sample in samples:
        numbers = range(len(rows), len(rows) + len(sample.rows))
        groups.append(PrefixGroup(tuple(numbers), sample.prefixes))
        rows += sample.rows
    batch = scored_batch(rows, groups, layout)
    del batch["sequence_ids"]
    return batch


def pair_batch(pairs: Sequence[PreferencePair], layout: str) -> dict[str, Any]:
    """Collate pairs: sequences 0..B-1 are the chosen answers, B..2B-1 the rejected ones.

    Prompts are shared by a mask only where that costs less than computing them twice.
    """
    count = len(pairs)
    if layout == SHARED and not sharing_pays(pairs):
        layout = LINES
    rows = [_with_prompt(pair) for pair in pairs] + [pair.rejected for pair in pairs]
    if layout in (SHARED, SHARED_LINE):
        groups = [
            PrefixGroup((number, count + number), pair.prefixes)
            for number, pair in enumerate(pairs)
        ]
    else:
        groups = [PrefixGroup((number,)) for number in range(2 * count)]
    batch = scored_batch(rows, groups, layout)
    if any(pair.learns_prompt for pair in pairs):
        lengths = [pair.chosen.trained for pair in pairs]
        lengths += [pair.rejected.trained for pair in pairs]
        batch["scored"] = _answer_tokens(batch["sequence_ids"], lengths)
    return batch


def _with_prompt(pair: PreferencePair) -> TokenRow:
    if not pair.learns_prompt:
        return pair.chosen
    start = pair.chosen.learned_from
    labels = np.concatenate([pair.chosen.input_ids[:start], pair.chosen.labels[start:]])
    return TokenRow(pair.chosen.input_ids, labels)


def _answer_tokens(sequence_ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Mark the tokens of the answers: the last `length` of each sequence.  # (M,) bool"""
    marked = torch.zeros(len(sequence_ids), dtype=torch.bool)
    for sequence, length in enumerate(lengths):
        tokens = (sequence_ids == sequence).nonzero()[:, 0]
        marked[tokens[len(tokens) - length :]] = True
    return marked


@dataclass(frozen=True)
class SequenceScores:
    """The log-probabilities of the sequences of a batch under a model."""

    sums: torch.Tensor
    """Log-probability of each answer.  # (S,)"""
    lengths: torch.Tensor
    """Number of tokens of each answer.  # (S,)"""
    likelihood: torch.Tensor
    """Log-probability of the learned tokens of each sequence, including the prompt's.  # (S,)"""
    learned: torch.Tensor
    """Number of those tokens.  # (S,)"""

    @property
    def means(self) -> torch.Tensor:
        """Return the log-probability per token of each answer.  # (S,)"""
        return self.sums / self.lengths


def scores(
    model: Any, batch: Mapping[str, Any], reader: LogProbReader, *, sequences: int
) -> SequenceScores:
    """Score the sequences of a batch."""
    inputs = {key: value for key, value in batch.items() if key not in SCORING_KEYS}
    log_probs = reader.log_probs(model, inputs, batch["indices"], batch["targets"])  # (M,)
    sequence_ids = batch["sequence_ids"]  # (M,)

    def per_sequence(values: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(sequences, device=values.device, dtype=values.dtype)
        return zeros.index_add(0, sequence_ids, values)  # (S,)

    likelihood, learned = per_sequence(log_probs), per_sequence(torch.ones_like(log_probs))
    scored = batch.get("scored")
    if scored is None:
        return SequenceScores(likelihood, learned, likelihood, learned)
    sums = per_sequence(log_probs.masked_fill(~scored, 0.0))
    return SequenceScores(sums, per_sequence(scored.to(log_probs.dtype)), likelihood, learned)
