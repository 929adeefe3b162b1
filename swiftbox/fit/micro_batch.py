"""The tokens of a micro-batch in the layout of a settled config, and the mask it needs.

Letters: S sequences of a micro-batch, T their tokens with padding, W tokens of a line.
"""

from __future__ import annotations

from dataclasses import dataclass

from swiftbox.config.train import TrainConfig
from swiftbox.fit.row_sizes import RowSizes

SHORT_LINE = 512
"""The length of lines in the core's joined batches; a test compares the two."""

UNEVEN_LINES = 1.03
"""The longest of several lines relative to their mean."""

MASKLESS = ("flash_attention_2", "flash_attention_3", "varlen")
"""Attention that takes a joined batch as one line, without a mask."""

SHARING = ("varlen", "sdpa")
"""Attention that lets two answers share a prompt."""

BLOCK_MASKED = ("flex_attention",)
"""Attention that skips the blocks that its mask hides."""


@dataclass(frozen=True)
class BatchShape:
    """The tokens of a micro-batch in its layout."""

    tokens: float
    """With padding."""
    line: float
    """Tokens of a line, which every one of them may attend to."""
    has_mask: bool
    """Whether attention needs a dense mask, and computes what it hides."""

    @property
    def mask_entries(self) -> float:
        """Return the entries of the mask: W for each token."""
        return self.tokens * self.line if self.has_mask else 0.0


def typical_micro_batch(config: TrainConfig, sizes: RowSizes) -> BatchShape:
    """Return the micro-batch that takes the usual time."""
    rows = config.micro_batch
    padded_length = sizes.padded_length(rows)
    if config.padding_free == "false":
        return _padded(config, rows * sizes.per_row, padded_length)
    tokens = sizes.typical(rows)
    if _shares_prompts(config):
        tokens -= rows * sizes.shared
    return _joined(config, rows * sizes.per_row, tokens, padded_length)


def worst_micro_batch(config: TrainConfig, sizes: RowSizes) -> BatchShape:
    """Return the micro-batch that needs the most memory: all rows as long as the longest."""
    rows = config.micro_batch
    if config.padding_free == "false":
        return _padded(config, rows * sizes.per_row, sizes.longest)
    return _joined(config, rows * sizes.per_row, sizes.worst(rows), sizes.longest)


def _padded(config: TrainConfig, sequences: int, length: float) -> BatchShape:
    is_dense = config.attn_implementation not in (*MASKLESS, *BLOCK_MASKED)
    return BatchShape(sequences * length, length, is_dense)


def _joined(config: TrainConfig, sequences: int, tokens: float, longest: float) -> BatchShape:
    if config.attn_implementation in MASKLESS:
        return BatchShape(tokens, tokens / sequences, has_mask=False)
    shares = _shares_prompts(config)
    units = sequences // 2 if shares else sequences  # the two answers of a prompt stay together
    line = max(float(SHORT_LINE), tokens / units, longest)
    count = max(1, min(units, round(tokens / line)))
    tokens *= UNEVEN_LINES if 1 < count < units else 1.0
    is_dense = config.attn_implementation not in BLOCK_MASKED
    return BatchShape(tokens, tokens / count, is_dense and (shares or count < units))


def _shares_prompts(config: TrainConfig) -> bool:
    if config.padding_free == "false" or config.attn_implementation not in SHARING:
        return False
    return getattr(config, "prefix_sharing", "false") != "false"
