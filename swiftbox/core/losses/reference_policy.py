"""The reference policy of DPO and KTO: the policy that training starts from.

Shapes: S sequences of a batch. There is never a second model on the device. With a new adapter the
reference is the model with the adapter disabled. In all other cases (a continued adapter, an
adapter whose initialization changed the base, full tuning) the starting weights are copied and
swapped in while the reference is scored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.scoring import scores


class ReferencePolicy:
    """Scores sequences under the starting policy, without gradients and dropout."""

    def __init__(self, network: Any, *, adapter_off: bool, copies_start: bool = True) -> None:
        """Prepare the reference; call this before the first update.

        With `adapter_off` the bare base model is the reference. Otherwise the trained weights are
        copied, unless `copies_start` is false because all log-probabilities are precomputed.
        """
        self.adapter_off = adapter_off
        self.start_weights: list[tuple[Any, torch.Tensor]] | None = None
        if not adapter_off and copies_start:
            trained = [weight for weight in network.parameters() if weight.requires_grad]
            self.start_weights = [(weight, weight.detach().clone()) for weight in trained]

    def sums(
        self,
        model: Any,
        known: Mapping[str, Any],
        batch: Mapping[str, Any],
        reader: LogProbReader,
        sequences: int,
    ) -> torch.Tensor:
        """Return the log-probability of every answer, from `known["reference"]` if given.  # (S,)

        Call this before the policy's forward pass, whose graph holds references to the weights.
        """
        if "reference" in known:
            return known["reference"]
        with torch.no_grad(), self.active(model):
            return scores(model, batch, reader, sequences=sequences).sums

    @contextlib.contextmanager
    def active(self, model: Any) -> Iterator[None]:
        """Turn the model into the reference policy inside the context."""
        was_training = model.training
        model.eval()
        try:
            if self.adapter_off:
                with getattr(model, "module", model).disable_adapter():
                    yield
            else:
                self._swap()
                try:
                    yield
                finally:
                    self._swap()
        finally:
            model.train(was_training)

    def _swap(self) -> None:
        if self.start_weights is None:
            raise RuntimeError("the starting weights were not copied: all pairs were precomputed")
        self.start_weights = [
            (weight, _exchange(weight, start)) for weight, start in self.start_weights
        ]


def _exchange(parameter: Any, replacement: torch.Tensor) -> torch.Tensor:
    current: torch.Tensor = parameter.data
    parameter.data = replacement
    return current
