"""Load a trained adapter onto its base, so that none of its weights is lost without an error."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from swiftbox.errors import RunError
from swiftbox.files import read_json
from swiftbox.language import text

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of an adapter's tensors by name."""


def adapter_shapes(folder: Path) -> Shapes:
    """Return the shapes of an adapter's tensors."""
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def score_labels(adapters: Sequence[Shapes]) -> int | None:
    """Return the number of outputs of the adapters' score head; None without one."""
    for shapes in adapters:
        for name, shape in shapes.items():
            if name.endswith((".score.weight", ".classifier.weight")):
                return shape[0]
    return None


def attach_adapter(model: Any, folder: Path, shapes: Shapes) -> Any:
    """Put an adapter on its float32 base, after resizing and untying embeddings as it needs.

    Raises RunError if a tensor of the adapter has no place in the model, or the reverse.
    """
    vocabulary = _trained_vocabulary(model, shapes)
    if vocabulary is not None and vocabulary != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(vocabulary, mean_resizing=False)  # the adapter has the rows
    config = read_json(folder / "adapter_config.json")
    if _changes_embeddings(model, config, shapes) and not config.get("ensure_weight_tying"):
        # A training imports this file too, and one without quantization hides bitsandbytes.
        from swiftbox.core.weights.merge_bases import untie_embeddings

        untie_embeddings(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = PeftModel.from_pretrained(model, str(folder), torch_device="cpu").eval()
    require_all_loaded(network, folder, shapes, [str(warning.message) for warning in caught])
    return network


def _embedding_names(model: Any) -> list[str]:
    """Return the module names of the input embeddings and of the head."""
    embeddings = model.get_input_embeddings()
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    names = {id(module): name for name, module in model.named_modules()}
    modules = [module for module in (embeddings, head) if module is not None]
    return [names[id(module)] for module in modules if names.get(id(module))]


def _trained_vocabulary(model: Any, shapes: Shapes) -> int | None:
    """Return the size of the vocabulary in training; None if the adapter does not hold it."""
    for name in _embedding_names(model):
        for suffix, axis in (
            (".weight", 0),
            (".base_layer.weight", 0),
            (".lora_embedding_A", 1),
            (".lora_B.weight", 0),
        ):
            tensor = f"base_model.model.{name}{suffix}"
            if tensor in shapes:
                return shapes[tensor][axis]
    return None


def _changes_embeddings(model: Any, config: Mapping[str, Any], shapes: Shapes) -> bool:
    """Return whether an adapter changes embeddings or head separately, which unties them.

    Rows that are trained alone (trainable_token_indices) stay tied: peft changes both.
    """
    saved = config.get("modules_to_save") or []
    for name in _embedding_names(model):
        if any(name == module or name.endswith(f".{module}") for module in saved):
            return True
        if any(tensor.startswith(f"base_model.model.{name}.lora_") for tensor in shapes):
            return True
    return False


def require_all_loaded(network: Any, folder: Path, shapes: Shapes, messages: Sequence[str]) -> None:
    """Raise RunError if adapter tensors were not loaded, or modules of the adapter got none.

    `messages` are the warnings of peft.
    """
    state = set(get_peft_model_state_dict(network, save_embedding_layers=False))
    unused = sorted(set(shapes) - state - set(network.state_dict()))
    # peft saves embeddings twice when it saves them: by their plain name, which it reads, and
    # below modules_to_save.
    marker = ".modules_to_save."
    duplicates = {name for name in unused if name.replace(marker, ".") in shapes and marker in name}
    lost = [name for name in unused if ".base_layer." not in name and name not in duplicates]
    if any("missing adapter keys" in message for message in messages):
        lost = lost or sorted(state - set(shapes))
    elif not state <= set(shapes):
        return  # peft has translated the names, as for fused experts
    if not lost:
        return
    raise RunError(
        text(
            f"{len(lost)} of the weights of {folder} do not fit the model ({lost[0]} ...)",
            f"{folder} 中有 {len(lost)} 个权重与模型不匹配（{lost[0]} ...）",
        ),
        hint=text(
            "set model to the base that the adapter was trained on", "请将 model 设为其训练基座"
        ),
    )
