"""Penalties for repeated tokens, and biases: their state stays on the device.

Shapes: R rows of the batch, P rows with penalties or biases, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from swiftbox.core.generation.device_access import upload
from swiftbox.core.generation.sampling import TokenSampler


class Penalties:
    """What changes the logits of a batch before its tokens are sampled."""

    def __init__(self, rows: list[int], samplers: list[TokenSampler], device: Any) -> None:
        settings = [sampler.sampling for sampler in samplers]
        table = [
            [each.repetition_penalty, each.frequency_penalty, each.presence_penalty]
            for each in settings
        ]
        columns = upload(table, torch.float32, device).split(1, dim=1)
        self._repetition, self._frequency, self._presence = columns  # each (P, 1)
        self._rows = upload(rows, torch.long, device)
        self._seen = [sampler.seen for sampler in samplers]
        self._counted = [sampler.generated for sampler in samplers]
        self._biases = [each.logit_bias for each in settings]
        self._state: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, samplers: Sequence[TokenSampler], device: Any) -> Penalties | None:
        """Return the penalties of a batch; None without any."""
        rows = [row for row, sampler in enumerate(samplers) if sampler.adjusts]
        return cls(rows, [samplers[row] for row in rows], device) if rows else None

    def adjust(self, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (R, V) with the penalties applied."""
        if self._state is None:
            self._state = self._upload_state(scores.shape[1], scores.device)
        seen, counts, biases = self._state
        values = scores.index_select(0, self._rows)  # (P, V)
        penalty = self._repetition
        penalized = torch.where(values > 0, values / penalty, values * penalty)
        values = torch.where(seen, penalized, values)
        values = values - (self._frequency * counts + self._presence * (counts > 0)) + biases
        return scores.index_copy(0, self._rows, values)

    def record(self, tokens: torch.Tensor) -> None:
        """Count the tokens (R,) that were sampled."""
        assert self._state is not None
        seen, counts, _ = self._state
        chosen = tokens.index_select(0, self._rows).clamp(min=0)[:, None]  # (P, 1)
        seen.scatter_(1, chosen, torch.ones_like(chosen, dtype=torch.bool))
        counts.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=counts.dtype))

    def _upload_state(
        self, vocabulary: int, device: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what was seen, how often tokens were generated, and biases, each (P, V)."""
        seen = [((row, token), 1.0) for row, ids in enumerate(self._seen) for token in ids]
        tables = [seen, *(_entries(rows) for rows in (self._counted, self._biases))]
        states = []
        for table in tables:
            state = torch.zeros((len(self._rows), vocabulary), device=device)
            if table:
                indices = upload([index for index, _ in table], torch.long, device)  # (_, 2)
                values = upload([value for _, value in table], torch.float32, device)
                state[indices[:, 0], indices[:, 1]] = values
            states.append(state)
        return states[0].bool(), states[1], states[2]


def _entries(rows: Iterable[Any]) -> list[tuple[tuple[int, int], float]]:
    return [
        ((row, token), float(value))
        for row, values in enumerate(rows)
        for token, value in values.items()
    ]
