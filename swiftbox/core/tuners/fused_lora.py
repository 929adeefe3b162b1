"""LoRA's branch as one operation: x W + s (x A) B with a single pass over the result.

peft casts the input to float32, keeps a copy of it for every layer that it feeds, and makes three
tensors as large as the result. Here autograd keeps the input itself, and one product adds the
branch to the result. Only plain LoRA takes this way: one adapter, not merged, without dropout,
bias or a variant such as DoRA. Shapes: N tokens, H inputs, M outputs, R rank.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

FUSED_NAMES = ("Linear", "Linear4bit", "Linear8bitLt")
"""peft's LoRA layers whose input goes to the base layer and to the branch unchanged."""


def fuse_adapters(network: Any) -> int:
    """Let LoRA layers compute their branch as one operation; return how many can."""
    layers = [module for module in network.modules() if _is_fusible(module)]
    for layer in layers:
        layer.__class__ = _fused_class(type(layer))  # type: ignore[arg-type]  # classes are hashable
    return len(layers)


def _is_fusible(module: Any) -> bool:
    kind = type(module)
    return kind.__name__ in FUSED_NAMES and kind.__module__.startswith("peft.tuners.lora.")


@cache
def _fused_class(kind: type) -> type:
    return type(f"Fused{kind.__name__}", (FusedForward, kind), {})


class FusedForward:
    """The forward pass of a fused layer, in front of peft's class."""

    def forward(self: Any, x: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
        """Return the layer's output.  # (..., H) -> (..., M)"""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else ""
        if keywords or arguments or not _is_plain(self, name):
            return super().forward(x, *arguments, **keywords)  # type: ignore[misc]  # peft's
        result = self.base_layer(x)  # (..., M)
        down, up = self.lora_A[name].weight, self.lora_B[name].weight  # (R, H), (M, R)
        return _LowRank.apply(result, x, down, up, float(self.scaling[name]))


def _is_plain(layer: Any, name: str) -> bool:
    """Whether a layer computes its one adapter without anything between the two products."""
    return (
        name in layer.lora_A
        and not layer.disable_adapters
        and not layer.merged
        and name not in layer.lora_variant
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and layer.lora_B[name].bias is None
    )


def _product_dtype(x: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    """Return the type of the products: autocast's where it is on, else the wider one."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return torch.promote_types(x.dtype, weight.dtype)


class _LowRank(torch.autograd.Function):
    """Adds s (x A) B to a result."""

    @staticmethod
    def forward(ctx: Any, result: torch.Tensor, x: torch.Tensor, *factors: Any) -> torch.Tensor:
        down, up, scaling = factors  # (R, H), (M, R)
        dtype = _product_dtype(x, down)
        with torch.autocast(x.device.type, enabled=False):
            inputs = x.to(dtype)  # the same tensor, unless the type differs
            low = _rows(inputs) @ down.to(dtype).T  # (N, R)
            total = torch.addmm(_rows(result).to(dtype), low, up.to(dtype).T, alpha=scaling)
        ctx.save_for_backward(inputs, low, down, up)
        ctx.scaling, ctx.input_dtype = scaling, x.dtype
        return total.to(result.dtype).view(result.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        inputs, low, down, up = ctx.saved_tensors
        _, with_x, with_down, with_up, _ = ctx.needs_input_grad
        gradient = _rows(gradients[0]).to(inputs.dtype)  # (N, M)
        low_gradient = (gradient @ up.to(inputs.dtype)).mul_(ctx.scaling)  # (N, R)
        x_gradient = down_gradient = up_gradient = None
        if with_x:
            x_gradient = (low_gradient @ down.to(inputs.dtype)).view(inputs.shape)
            x_gradient = x_gradient.to(ctx.input_dtype)
        if with_down:
            down_gradient = (low_gradient.T @ _rows(inputs)).to(down.dtype)
        if with_up:
            up_gradient = (gradient.T @ low).mul_(ctx.scaling).to(up.dtype)
        return gradients[0], x_gradient, down_gradient, up_gradient, None


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1, tensor.shape[-1])
