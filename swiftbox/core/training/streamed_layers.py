"""Compute with weights that are kept in main memory: a layer is on the device while it runs.

For weights that will be sharded: whole, they may not fit any single device. Modules get copies of
their tensors, and the tensors themselves back; the copies are thrown away, since nothing changes
them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

Place = tuple[dict[str, Any], str]
"""A dictionary of a module, and a name in it: where the module looks for a tensor."""


@contextlib.contextmanager
def streamed_layers(network: Any, device: torch.device) -> Iterator[None]:
    """Copy everything but the layers to the device, and each layer for as long as it runs."""
    layers = decoder_layers(network)
    inside = {id(module) for layer in layers for module in layer.modules()}
    outside = [module for module in network.modules() if id(module) not in inside]
    originals: dict[int, list[tuple[Place, torch.Tensor]]] = {}
    hooks: list[Any] = []

    def enter(layer: Any, _arguments: Any) -> None:
        originals[id(layer)] = _replace(list(layer.modules()), device)

    def leave(layer: Any, _arguments: Any, _output: Any) -> None:
        _restore(originals.pop(id(layer), []))

    for layer in layers:
        hooks.append(layer.register_forward_pre_hook(enter))
        hooks.append(layer.register_forward_hook(leave, always_call=True))
    replaced = _replace(outside, device)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        _restore(replaced)


def decoder_layers(network: Any) -> list[Any]:
    """Return the layers of the longest stack of a model."""
    stacks = [module for module in network.modules() if isinstance(module, torch.nn.ModuleList)]
    return list(max(stacks, key=len, default=[]))


def _replace(modules: list[Any], device: torch.device) -> list[tuple[Place, torch.Tensor]]:
    """Give modules copies of their tensors, tied ones the same; return the originals."""
    originals, copies = [], {}
    for module in modules:
        for named in (module._parameters, module._buffers):
            for name, tensor in named.items():
                if tensor is None:
                    continue
                originals.append(((named, name), tensor))
                if id(tensor) not in copies:
                    copies[id(tensor)] = tensor.detach().to(device)
                named[name] = copies[id(tensor)]
    return originals


def _restore(originals: list[tuple[Place, torch.Tensor]]) -> None:
    for (named, name), tensor in originals:
        named[name] = tensor
