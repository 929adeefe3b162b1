"""AdamW for bfloat16 weights: updates in float32, and stochastic rounding of the result.

Rounding to the nearest drops an update below 2**-9 of its weight; over a training that is most of
them. Here a value between two bfloat16 numbers becomes the upper one with a probability equal to
its distance from the lower one, so its expectation is exact (arXiv:1502.02551, arXiv:2010.06192).

The random bits depend on the seed, the update and the position of a weight alone: a resumed run
draws the same ones, and so do the processes of a data-parallel run, whose weights stay equal.
Weights are updated in pieces, which bounds the temporary memory. With 8-bit states the moments are
dequantized and quantized again, 256 numbers to a scale (arXiv:2110.02861). N weights of a piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch.optim.adamw import adamw

PIECE = 2**22
"""Weights that are updated at once: 16 MiB for each of about six float32 tensors."""

BLOCK = 256
SMALLEST_8_BIT = 4096
"""As in bitsandbytes: smaller weights, such as norms, keep float32 states."""

MOMENTS = ("mean", "square")


@dataclass(frozen=True)
class RoundingOptions:
    """How the optimizer rounds and stores."""

    seed: int
    states_8_bit: bool = False
    fused: bool = False
    """Whether the float32 update is torch's fused kernel."""


class RoundingAdamW(torch.optim.Optimizer):
    """AdamW for bfloat16 weights. All its state is in `state_dict`, with the types it has."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        options: RoundingOptions,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "updates": 0}
        super().__init__(groups, defaults)
        self.options = options
        self.codes: dict[str, torch.Tensor] = _codes() if options.states_8_bit else {}

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all weights once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["updates"] += 1
        for position, (group, weight) in enumerate(self._weights()):
            if weight.grad is not None:
                self._update(weight, group, position)
        return loss

    def _weights(self) -> Iterator[tuple[dict[str, Any], Any]]:
        return ((group, weight) for group in self.param_groups for weight in group["params"])

    def _update(self, weight: Any, group: dict[str, Any], position: int) -> None:
        if not weight.is_contiguous():
            weight.data = weight.data.contiguous()
        state = self.state[weight]
        if not state:
            state.update(self._new_state(weight))
        generator = torch.Generator(device=weight.device)
        generator.manual_seed(_seed(self.options.seed, group["updates"], position))
        values, gradients = weight.view(-1), weight.grad.reshape(-1)
        for start in range(0, weight.numel(), PIECE):
            part = slice(start, min(start + PIECE, weight.numel()))
            updated = values[part].float()  # (N,)
            moments = [self._read(state, name, part) for name in MOMENTS]
            self._adamw(updated, gradients[part].float(), moments, group)
            for name, moment in zip(MOMENTS, moments, strict=True):
                self._write(state, name, part, moment)
            if weight.dtype == torch.bfloat16:
                round_stochastically(updated, generator)
            values[part] = updated.to(weight.dtype)

    def _adamw(
        self,
        values: torch.Tensor,
        gradient: torch.Tensor,
        moments: list[torch.Tensor],
        group: Mapping[str, Any],
    ) -> None:
        """Update float32 values and their moments in place.  # all (N,)"""
        device = values.device if self.options.fused else "cpu"
        updates = torch.full((), float(group["updates"] - 1), device=device)  # torch adds one
        adamw(
            [values],
            [gradient],
            [moments[0]],
            [moments[1]],
            [],
            [updates],
            foreach=False,
            fused=self.options.fused,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    # ---- states

    def _new_state(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        count, device = weight.numel(), weight.device
        if not self.options.states_8_bit or count < SMALLEST_8_BIT:
            return {name: torch.zeros(count, device=device) for name in MOMENTS}
        state = {}
        for name in MOMENTS:
            zero = int((self.codes[name] == 0).nonzero()[0])  # the code of 0
            state[name] = torch.full((count,), zero, dtype=torch.uint8, device=device)
            state[f"{name}_scales"] = torch.zeros(-(-count // BLOCK), device=device)
        return state

    def _read(self, state: Mapping[str, Any], name: str, part: slice) -> torch.Tensor:
        """Return a piece of a moment in float32: a view if it is stored so.  # (N,)"""
        stored: torch.Tensor = state[name][part]
        if stored.dtype != torch.uint8:
            return stored
        from bitsandbytes.functional import dequantize_blockwise

        code, scales = self._code(name, stored.device), state[f"{name}_scales"][_blocks(part)]
        values: torch.Tensor = dequantize_blockwise(
            stored, absmax=scales, code=code, blocksize=BLOCK
        )
        return values

    def _code(self, name: str, device: torch.device) -> torch.Tensor:
        """Return the numbers of the codes, which stay on the device: a copy would wait for it."""
        self.codes[name] = self.codes[name].to(device)
        return self.codes[name]

    def _write(self, state: Mapping[str, Any], name: str, part: slice, moment: Any) -> None:
        stored: torch.Tensor = state[name][part]
        if stored.dtype != torch.uint8:
            return
        from bitsandbytes.functional import quantize_blockwise

        code = self._code(name, stored.device)
        quantized, quantization = quantize_blockwise(moment, code=code, blocksize=BLOCK)
        stored.copy_(quantized)
        state[f"{name}_scales"][_blocks(part)] = quantization.absmax

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states with their types; torch casts them to the type of the weights."""
        super().load_state_dict(state_dict)
        for position, (_, weight) in enumerate(self._weights()):
            for name, tensor in state_dict["state"].get(position, {}).items():
                self.state[weight][name] = tensor.to(weight.device, copy=True)


def round_stochastically(values: torch.Tensor, generator: torch.Generator) -> None:
    """Round float32 values in place to ones that bfloat16 holds.  # (N,)

    A bfloat16 is the upper half of a float32: random bits are added to the lower half, whose carry
    rounds up, and the lower half is cleared. That of infinities and NaN is zero, so they stay.
    """
    bits = values.view(torch.int32)
    noise = torch.empty_like(bits).random_(0, 2**16, generator=generator)
    bits.add_(noise).bitwise_and_(-(2**16))


def _seed(*numbers: int) -> int:
    """Mix numbers into 32 bits, all that torch's generator on a CPU takes of a seed."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=4).digest(), "big")


def _blocks(part: slice) -> slice:
    return slice(part.start // BLOCK, -(-part.stop // BLOCK))


def _codes() -> dict[str, torch.Tensor]:
    """Return the numbers that the 8-bit codes stand for: signed means, unsigned squares."""
    from bitsandbytes.functional import create_dynamic_map

    signed = zip(MOMENTS, (True, False), strict=True)
    return {name: create_dynamic_map(signed=is_signed) for name, is_signed in signed}
