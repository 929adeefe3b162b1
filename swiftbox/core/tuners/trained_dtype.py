"""Keep what is trained in float32 on a base of 16 bits, as peft does for its own adapters only.

In bfloat16 an update below 2**-9 of a weight is lost; in float16 the gradient scaler refuses
gradients of 16 bits. Layers that are trained in full beside an adapter (a score head,
modules_to_save) compute in float32 or in autocast's type, and pass on the type of the base.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft.utils.other import ModulesToSaveWrapper

HALF = (torch.bfloat16, torch.float16)


def train_in_float32(network: Any) -> bool:
    """Cast every trained weight of 16 bits to float32; return whether there was one."""
    narrow = [weight for weight in network.parameters() if weight.requires_grad and _half(weight)]
    for module in network.modules():
        if isinstance(module, ModulesToSaveWrapper):
            for copy in module.modules_to_save.values():
                _keep_types(copy)
    for weight in narrow:
        weight.data = weight.data.float()
    return bool(narrow)


def _half(tensor: torch.Tensor) -> bool:
    return tensor.dtype in HALF


def _keep_types(module: Any) -> None:
    """Let a module that becomes float32 take and return the 16 bits of the layers around it."""
    types = {weight.dtype for weight in module.parameters() if weight.requires_grad}
    for dtype in types.intersection(HALF):
        module.register_forward_pre_hook(_widen, with_kwargs=True)
        module.register_forward_hook(partial(_narrow, dtype=dtype))


def _widen(
    _module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (
        tuple(_widened(value) for value in arguments),
        {name: _widened(value) for name, value in keywords.items()},
    )


def _widened(value: Any) -> Any:
    """Cast a tensor of 16 bits to float32, unless autocast casts it where it is used."""
    if not isinstance(value, torch.Tensor) or not _half(value):
        return value
    return value if torch.is_autocast_enabled(value.device.type) else value.float()


def _narrow(_module: Any, _arguments: Any, output: Any, *, dtype: torch.dtype) -> Any:
    if isinstance(output, tuple):
        return tuple(_narrow(_module, _arguments, part, dtype=dtype) for part in output)
    is_wide = isinstance(output, torch.Tensor) and output.dtype == torch.float32
    return output.to(dtype) if is_wide else output
