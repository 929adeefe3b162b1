"""Compute with a model whose weights are stored elsewhere, or in fewer bits: part by part.

The weights stay where they are: mapped from their files, or in the host's memory. While a part of
the model runs, its weights are copies on the device and in the number type of the computation; its
hooks make them before its forward pass and drop them after it. A part is a layer of the decoder,
or a module outside of the layers. Parts keep their copies as long as these fit a limit.

Every operation is that of the model loaded there as a whole, so the outputs are equal bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn


@dataclass(frozen=True)
class ComputePlace:
    """Where and in which number type a streamed model computes."""

    device: torch.device
    dtype: torch.dtype | None = torch.float32
    """None: each weight keeps its type."""
    kept_bytes: int = 0
    """Bytes of copies that stay between passes."""


@contextmanager
def streamed(model: nn.Module, place: ComputePlace) -> Iterator[nn.Module]:
    """Let a model compute at a place; afterwards its weights are the stored ones again."""
    parts, loose = parts_of(model)
    with ExitStack() as stack:
        entrance = _Part([*loose, *_first_weights(model)], place)
        entrance.load()  # transformers takes the first weight's device for the model's
        stack.callback(entrance.drop)
        left = max(0, place.kept_bytes - entrance.bytes)
        for module in parts:
            part = _Part(_tensors(module), place)
            keeps = part.bytes <= left
            left -= part.bytes if keeps else 0
            for handle in part.hook(module, keeps=keeps):
                stack.callback(handle.remove)
            stack.callback(part.drop)
        yield model


def parts_of(model: nn.Module) -> tuple[Sequence[nn.Module], Sequence[torch.Tensor]]:
    """Return the modules that are loaded as a whole, and the weights outside of them.

    What an adapter wraps belongs together: its layer reads the weights of the one inside. So does
    a decoder layer, some of whose modules are read without being called.
    """
    parts: list[nn.Module] = []
    loose: list[torch.Tensor] = []
    _collect(model, parts, loose)
    return parts, loose


def _collect(module: nn.Module, parts: list[nn.Module], loose: list[torch.Tensor]) -> None:
    children = list(module.children())
    is_wrapper = isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)
    if is_wrapper or not children:
        parts.append(module)
    elif isinstance(module, nn.ModuleList):
        parts.extend(children)
    else:
        loose.extend(module._parameters[name] for name in module._parameters)
        loose.extend(module._buffers[name] for name in module._buffers)
        for child in children:
            _collect(child, parts, loose)


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def _first_weights(model: nn.Module) -> list[torch.Tensor]:
    return list(model.parameters())[:1]


@dataclass
class _Part:
    """The weights of one part, and what they are while it does not run."""

    tensors: Sequence[torch.Tensor | None]
    place: ComputePlace
    stored: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Return the bytes of the copies that the place needs."""
        return sum(
            tensor.numel() * self._type_of(tensor).itemsize
            for tensor in self.tensors
            if tensor is not None and self._differs(tensor)
        )

    def _type_of(self, tensor: torch.Tensor) -> torch.dtype:
        return self.place.dtype or tensor.dtype if tensor.is_floating_point() else tensor.dtype

    def _differs(self, tensor: torch.Tensor) -> bool:
        return (tensor.device, tensor.dtype) != (self.place.device, self._type_of(tensor))

    def load(self) -> None:
        """Replace the weights by copies at the place of the computation."""
        for tensor in self.tensors:
            if tensor is None or not self._differs(tensor):
                continue
            self.stored.append((tensor, tensor.data))
            tensor.data = tensor.data.to(self.place.device, self._type_of(tensor))

    def drop(self) -> None:
        """Put the stored weights back."""
        while self.stored:
            tensor, data = self.stored.pop()
            tensor.data = data

    def hook(self, module: nn.Module, *, keeps: bool) -> list[Any]:
        """Load before the module's forward pass; unless the part `keeps` its copies, drop after."""
        handles = [module.register_forward_pre_hook(lambda *_: self.load())]
        if not keeps:
            after = module.register_forward_hook(lambda *_: self.drop(), always_call=True)
            handles.append(after)
        return handles
