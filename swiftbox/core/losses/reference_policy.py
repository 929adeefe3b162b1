"""The policy that training started from, which DPO and KTO hold the trained one against.

Shapes: S sequences of a batch. There is never a second model on the device: a new adapter is
switched off; an adapter that goes on, an adapter whose making changed the base, and full tuning
put the weights they started with in place while the reference is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from swiftbox.core.losses.readout import Readout
from swiftbox.core.losses.scoring import scores


class Reference:
    """Scores of the starting policy, without gradients and without dropout."""

    def __init__(self, network: Any, *, adapter_off: bool, keeps_start: bool = True) -> None:
        """Take the network before it is trained.

        `adapter_off`: the bare base is the start, as under a new adapter that adds nothing yet;
        else the trained weights are copied, unless all that is asked of them is known already.
        """
        self.adapter_off = adapter_off
        self.kept: list[tuple[Any, torch.Tensor]] | None = None
        if not adapter_off and keeps_start:
            trained = [one for one in network.parameters() if one.requires_grad]
            self.kept = [(one, one.detach().clone()) for one in trained]

    def sums(
        self,
        model: Any,
        known: Mapping[str, Any],
        batch: Mapping[str, Any],
        readout: Readout,
        sequences: int,
    ) -> torch.Tensor:
        """Return the log-probability of every answer; `known` may hold it as `reference`.  # (S,)

        Must stand before the policy's own forward pass, whose graph holds on to the weights.
        """
        if "reference" in known:
            return known["reference"]
        with torch.no_grad(), self.standing(model):
            return scores(model, batch, readout, sequences=sequences).sums

    @contextlib.contextmanager
    def standing(self, model: Any) -> Iterator[None]:
        """Let the model be the reference for a while."""
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
        if self.kept is None:
            raise RuntimeError("the reference's weights were not kept, all was to be precomputed")
        self.kept = [(one, _exchange(one, start)) for one, start in self.kept]


def _exchange(parameter: Any, other: torch.Tensor) -> torch.Tensor:
    mine: torch.Tensor = parameter.data
    parameter.data = other
    return mine
