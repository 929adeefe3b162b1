"""liger-kernel's fused norms, MLPs and rotary embeddings (arXiv:2410.10989), if they are equal.

The package changes classes of transformers and the modules of a model. Logits and gradients of a
short row are compared once before training; if they differ, or a kernel fails, everything that was
changed is restored. Its losses are not used: ours computes the logits of learned tokens only.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from swiftbox.core.losses.log_prob_reader import unwrapped
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

PROBE_TOKENS = 32
COMPARED_PER_WEIGHT = 4096
"""Gradients of a model take as much memory as its weights; the first ones of each are compared."""

TOLERANCES: Mapping[torch.dtype, float] = {torch.float32: 1e-3}
"""Of the largest logit, and of the norm of the gradients. Float32 kernels add in another order, and
differ by about 1e-5; a wrong kernel moves both by tens of percent."""
HALF_TOLERANCE = 0.1
"""16-bit types round to 2**-9 at every operation, which a deep model amplifies."""

Apply = Callable[..., None]


def use_liger_kernels(network: Any, dtype: torch.dtype, emit: Emit) -> bool:
    """Switch the kernels on and return True, or warn why not and leave the network as it was."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    return use_kernels(network, dtype, emit, _apply_liger_kernel_to_instance)


def use_kernels(network: Any, dtype: torch.dtype, emit: Emit, apply: Apply) -> bool:
    """Switch kernels on by `apply`, if logits and gradients stay the same."""
    model = unwrapped(network)
    snapshot = _Snapshot.of(model)
    before = _outputs(network, dtype)
    try:
        apply(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
        if not snapshot.changed():
            emit(events.WARNING, message=_unsupported(model))
            return False
        difference = before.difference(_outputs(network, dtype))
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises, training works without it
        snapshot.restore()
        emit(events.WARNING, message=_failed(error))
        return False
    if difference > TOLERANCES.get(dtype, HALF_TOLERANCE):
        snapshot.restore()
        emit(events.WARNING, message=_different(difference))
        return False
    emit(events.NOTE, key="use_liger_kernel", message=_equal(difference))
    return True


@dataclass(frozen=True)
class _Outputs:
    logits: torch.Tensor
    """(1, T, V), or (1, 1) of a score head."""
    gradients: torch.Tensor
    """The first numbers of each trained weight's gradient, in one vector."""

    def difference(self, other: _Outputs) -> float:
        """Return the larger of both relative differences; infinity for what is not finite."""
        logits = (self.logits - other.logits).abs().max() / self.logits.abs().max()
        gradients = (self.gradients - other.gradients).norm() / self.gradients.norm()
        largest = float(torch.stack([logits, gradients]).max())
        return float("inf") if math.isnan(largest) else largest


def _outputs(network: Any, dtype: torch.dtype) -> _Outputs:
    """Return the logits and gradients of a fixed row, without dropout."""
    table = network.get_input_embeddings().weight
    ids = (torch.arange(PROBE_TOKENS, device=table.device) * 7 % table.shape[0])[None]  # (1, T)
    was_training = network.training
    network.eval()
    with torch.autocast(table.device.type, dtype, enabled=dtype != torch.float32):
        logits = network(input_ids=ids, use_cache=False).logits.float()
    network.train(was_training)
    logits.logsumexp(-1).sum().backward()
    gradients = []
    for weight in network.parameters():
        if weight.grad is not None:
            gradients.append(weight.grad.reshape(-1)[:COMPARED_PER_WEIGHT].float().clone())
            weight.grad = None
    return _Outputs(logits.detach(), torch.cat(gradients))


@dataclass(frozen=True)
class _Snapshot:
    """The attributes of a model's modules, and the names in the files that define their classes."""

    attributes: tuple[tuple[dict[str, Any], dict[str, Any]], ...]
    """Each dictionary, and a copy of it."""

    @classmethod
    def of(cls, model: Any) -> _Snapshot:
        """Copy what a package may change."""
        files = {type(module).__module__ for module in model.modules()}
        dictionaries = [vars(module) for module in model.modules()]
        dictionaries += [vars(sys.modules[name]) for name in sorted(files) if _is_model(name)]
        return cls(tuple((attributes, dict(attributes)) for attributes in dictionaries))

    def changed(self) -> bool:
        """Return whether anything was replaced or added."""
        return any(
            attributes.keys() != copy.keys()
            or any(attributes[name] is not copy[name] for name in copy)
            for attributes, copy in self.attributes
        )

    def restore(self) -> None:
        """Undo all changes."""
        for attributes, copy in self.attributes:
            for name in attributes.keys() - copy.keys():
                del attributes[name]
            attributes.update(copy)


def _is_model(name: str) -> bool:
    return name.startswith("transformers.models.")


def _unsupported(model: Any) -> str:
    name = type(model).__name__
    return text(
        f"use_liger_kernel: liger-kernel has no kernels for {name}; training without them",
        f"use_liger_kernel：liger-kernel 没有适用于 {name} 的内核；不使用它们继续训练",
    )


def _failed(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}"
    return text(
        f"use_liger_kernel: a kernel fails on this machine ({reason}); training without them",
        f"use_liger_kernel：内核在本机运行失败（{reason}）；不使用它们继续训练",
    )


def _different(difference: float) -> str:
    return text(
        f"use_liger_kernel: logits or gradients of this model differ by {difference:.1%}; "
        "training without these kernels",
        f"use_liger_kernel：此模型的 logit 或梯度相差 {difference:.1%}；不使用这些内核继续训练",
    )


def _equal(difference: float) -> str:
    return text(
        f"liger-kernel is in use: logits and gradients differ by at most {difference:.2g}",
        f"已启用 liger-kernel：logit 与梯度最多相差 {difference:.2g}",
    )
