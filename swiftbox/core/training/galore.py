"""GaLore (arXiv:2403.03507): AdamW on gradients projected to their leading directions.

Shapes: M x N a weight, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch


class GaLoreAdamW(torch.optim.Optimizer):
    """AdamW; groups with a `rank` project the gradients of their matrices to that rank.

    The state consists of plain tensors, so a checkpoint contains all of it.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all weights once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: Any, group: dict[str, Any]) -> None:
        state = self.state[weight]
        low_rank = "rank" in group and weight.ndim == 2 and group["rank"] < min(weight.shape)
        step = state["step"] = state.get("step", 0) + 1
        gradient = weight.grad
        if low_rank:
            if (step - 1) % group["update_proj_gap"] == 0:
                state["basis"] = leading_directions(gradient, group["rank"])
            gradient = project(gradient, state["basis"])
        if step == 1:
            state["mean"] = torch.zeros_like(gradient)
            state["square"] = torch.zeros_like(gradient)
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        correction = math.sqrt(1 - second**step) / (1 - first**step)
        update = correction * state["mean"] / (state["square"].sqrt() + group["eps"])
        if low_rank:
            update = group["scale"] * project_back(update, state["basis"])
        if group["weight_decay"]:
            weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update.to(weight.dtype), alpha=-group["lr"])


def leading_directions(gradient: torch.Tensor, rank: int) -> torch.Tensor:
    """Return an orthonormal basis of the shorter side: (M, R) for a wide matrix, else (R, N)."""
    left, _, right = torch.linalg.svd(gradient.float(), full_matrices=False)
    rows, columns = gradient.shape
    basis = left[:, :rank] if rows <= columns else right[:rank]
    return basis.contiguous().to(gradient.dtype)


def project(gradient: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Project the gradient: (R, N) for a wide matrix, (M, R) for a tall one."""
    wide = gradient.shape[0] <= gradient.shape[1]
    return basis.T @ gradient if wide else gradient @ basis.T


def project_back(update: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Map a projected update back to the shape of the weight.  # (M, N)"""
    return basis @ update if basis.shape[1] == update.shape[0] else update @ basis
