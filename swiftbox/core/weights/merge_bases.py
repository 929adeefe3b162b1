"""The base of a merge: the stored weights, or the dequantized ones of QLoRA.

Its weights keep the number types of its files, from which they are mapped: they take no memory of
the process. `streamed` computes with them in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open

from swiftbox.config.merge import Quantization
from swiftbox.core.weights.cast import Keep, WeightTypes
from swiftbox.core.weights.load import load_pretrained
from swiftbox.core.weights.quantized_bases import bitsandbytes_config
from swiftbox.files import read_json

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class BaseFiles:
    """A folder with a model, and how it is loaded."""

    folder: Path
    types: WeightTypes
    """The number types of its weights."""
    labels: int | None = None
    """The outputs of a score head; None for a language model."""
    trust_remote_code: bool = False

    def load(self, **arguments: Any) -> Any:
        """Load the model; the arguments are those of `load_pretrained`."""
        return load_pretrained(
            self.folder,
            labels=self.labels,
            trust_remote_code=self.trust_remote_code,
            **arguments,
        )


def load_merge_base(files: BaseFiles) -> Any:
    """Load a base with the number types of its files; its buffers are those of a float32 model."""
    model = files.load(dtype=getattr(torch, files.types.default))
    rounded = _rounded_names(files.types)
    if rounded and not _restore_weights(model, files.folder, rounded):
        model = files.load(dtype=torch.float32)  # stored under other names than the model's
    _restore_buffers(model)
    return model.eval()


def _rounded_names(types: WeightTypes) -> set[str]:
    """Return the weights that the model's main number type cannot hold exactly."""
    if types.default == "float32":
        return set()
    return {name for name, dtype in types.exceptions.items() if dtype != types.default}


def _restore_weights(model: Any, folder: Path, names: set[str]) -> bool:
    """Read weights again as they are stored; return whether the model has them by these names."""
    owners = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if not names <= owners.keys():
        return False
    index = read_json(folder / INDEX).get("weight_map") or {}
    files = set(index.values()) or {"model.safetensors"}
    for path in folder.glob("*.safetensors"):
        if path.name not in files:
            continue
        with safe_open(path, framework="pt") as file:
            for name in names & set(file.keys()):
                owners[name].data = file.get_tensor(name)
    return True


def _restore_buffers(model: Any) -> None:
    """Give a model of 16 bits the buffers of a float32 one; some are constants, rounded in it."""
    if all(
        buffer.dtype == torch.float32 for buffer in model.buffers() if buffer.is_floating_point()
    ):
        return
    config = copy.deepcopy(model.config)
    with init_empty_weights(include_buffers=False):
        exact = dict(type(model)._from_config(config, dtype=torch.float32).named_buffers())
    saved = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.float() if name in saved else exact[name]


def dequantize(model: Any, files: BaseFiles, quantization: Quantization, keep: Keep) -> None:
    """Give a base the weights that a training on a quantized one computed with, one at a time."""
    quantized = files.load(
        dtype=getattr(torch, quantization.dtype),
        quantization_config=bitsandbytes_config(quantization),
    )
    _replace_weights(model, _dequantized_weights(quantized), keep)


def _dequantized_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a quantized model's weights by name, one at a time to save memory."""
    # Only an adapter of a quantized base needs this package, which not every machine has.
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    quantized_layers = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, Linear4bit | Linear8bitLt)
    }
    for name, value in model.named_parameters():
        if name in quantized_layers:
            yield name, _dequantized(quantized_layers[name])
        elif value.is_floating_point():
            yield name, value.detach()


def _dequantized(module: Any) -> torch.Tensor:
    """Return a layer's weights as a forward pass has them."""
    from bitsandbytes import functional
    from bitsandbytes.nn import Linear4bit

    weight = module.weight
    if isinstance(module, Linear4bit):
        dequantized = functional.dequantize_4bit(weight.data, weight.quant_state)
    else:
        scales = weight.SCB if weight.SCB is not None else module.state.SCB
        dequantized = functional.int8_vectorwise_dequant(weight.data, scales).float()
    return torch.as_tensor(dequantized)


def _replace_weights(model: Any, weights: Iterable[tuple[str, torch.Tensor]], keep: Keep) -> None:
    missing = dict(model.named_parameters())
    for name, weight in weights:
        if name in missing:
            parameter = missing.pop(name)
            parameter.data = keep(weight.view_as(parameter))
    if missing:
        raise KeyError(f"no weights for {', '.join(missing)}")
