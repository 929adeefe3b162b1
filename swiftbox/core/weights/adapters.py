"""Load a trained adapter onto its base, so that none of its weights is lost without an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from swiftbox.core.weights.score_head import PREFIX, Shapes
from swiftbox.core.weights.vocabulary import grow, language_head
from swiftbox.data.classes import CLASSES_FILE
from swiftbox.errors import RunError
from swiftbox.files import read_json
from swiftbox.language import text

PLAIN_STARTS = ("gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base as it is."""


def adapter_shapes(folder: Path) -> Shapes:
    """Return the shapes of an adapter's tensors."""
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def name_outputs(model: Any, folder: Path) -> None:
    """Write into a classifier's config what its outputs mean, as the file beside an adapter says.

    Nothing is changed if there is none, or if it does not name each output.
    """
    settings = read_json(folder / CLASSES_FILE)
    names, pad = settings.get("id2label"), settings.get("pad_token_id")
    if settings.get("problem_type"):
        model.config.problem_type = str(settings["problem_type"])
    if isinstance(pad, int):
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad
    numbers = [str(number) for number in range(model.config.num_labels)]
    if isinstance(names, dict) and sorted(names) == sorted(numbers):
        model.config.id2label = {int(number): str(names[number]) for number in numbers}
        model.config.label2id = {name: number for number, name in model.config.id2label.items()}


def attach_adapter(model: Any, folder: Path, shapes: Shapes) -> Any:
    """Put an adapter on its base, after resizing and untying embeddings as it needs.

    The adapter is in float32, and so is what it changes of the base by itself; the other weights
    of the base keep their types. Raises RunError if a tensor of the adapter has no place in the
    model, or the reverse.
    """
    config = read_json(folder / "adapter_config.json")
    vocabulary = _trained_vocabulary(model, shapes)
    if vocabulary is not None and vocabulary != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(vocabulary, mean_resizing=False)  # the adapter has the rows
    make_room(model, folder)
    if _changes_embeddings(model, config, shapes) and not config.get("ensure_weight_tying"):
        untie_embeddings(model)
    with (
        warnings.catch_warnings(record=True) as caught,
        in_float32(model, shapes, changes_base=_initialization_changes_base(config)),
    ):
        warnings.simplefilter("always")
        network = PeftModel.from_pretrained(model, str(folder), torch_device="cpu").eval()
    require_all_loaded(network, folder, shapes, [str(warning.message) for warning in caught])
    return network


def make_room(model: Any, folder: Path) -> int:
    """Give a base the rows that an adapter trains beyond its own; return how many it has then.

    New tokens continue the vocabulary, so the rows beyond it have no gap: a number far away, which
    would take any amount of memory, is refused with a RunError.
    """
    config = read_json(folder / "adapter_config.json")
    rows = config.get("trainable_token_indices") or []
    lists = list(rows.values()) if isinstance(rows, dict) else [rows]
    size = int(model.get_input_embeddings().weight.shape[0])
    numbers = {row for group in lists if isinstance(group, list) for row in group}
    beyond = {row for row in numbers if not isinstance(row, int) or not 0 <= row < size}
    if beyond != set(range(size, size + len(beyond))):
        raise _no_such_rows(folder, size)
    return grow(model, size + len(beyond))


def _no_such_rows(folder: Path, size: int) -> RunError:
    return RunError(
        text(
            f"{folder} trains rows of the embeddings that do not continue the {size:,} of the base",
            f"{folder} 训练的词嵌入行与基座的 {size:,} 行不相接",
        ),
        hint=text(
            "set model to the base that the adapter was trained on; if its embeddings were resized "
            "before the training, to the resized model",
            "请将 model 设为其训练基座；若训练前扩展过词嵌入，请给出扩展后的模型",
        ),
    )


def _initialization_changes_base(config: Mapping[str, Any]) -> bool:
    """Return whether peft changes the base when it creates the layers of an adapter."""
    return config.get("init_lora_weights", True) not in (True, False, None, *PLAIN_STARTS)


@contextmanager
def in_float32(model: Any, shapes: Shapes, *, changes_base: bool) -> Iterator[None]:
    """Make a base of 16 bits look like a float32 one while an adapter is put on it.

    peft creates its weights in the base's number type, and would round those of the adapter. It
    reads shapes and types of the base, not its matrices: these are zeros that take no memory, and
    get their values back at the end. Small weights, and those that the adapter itself has, are
    converted; so are all of them if the adapter's initialization `changes_base`.
    """
    weights = {
        name: weight
        for name, weight in model.named_parameters(remove_duplicate=False)
        if weight.is_floating_point() and weight.dtype != torch.float32
    }
    in_adapter = {name.removeprefix(PREFIX).replace(".base_layer.", ".") for name in shapes}
    converted = {
        id(weight)
        for name, weight in weights.items()
        if changes_base or weight.dim() < 2 or name in in_adapter
    }
    stored = {id(weight): (weight, weight.data) for weight in weights.values()}
    for key, (weight, data) in stored.items():
        zeros = torch.from_numpy(numpy.zeros(data.shape, numpy.float32))
        weight.data = data.float() if key in converted else zeros
    try:
        yield
    finally:
        for key, (weight, data) in stored.items():
            if key not in converted:
                weight.data = data


def _embedding_names(model: Any) -> list[str]:
    """Return the module names of the input embeddings and of the head."""
    embeddings = model.get_input_embeddings()
    head = language_head(model)
    names = {id(module): name for name, module in model.named_modules()}
    modules = [module for module in (embeddings, head) if module is not None]
    return [names[id(module)] for module in modules if names.get(id(module))]


def _trained_vocabulary(model: Any, shapes: Shapes) -> int | None:
    """Return the size of the vocabulary in training; None if the adapter does not hold it."""
    for name in _embedding_names(model):
        for suffix, axis in (
            (".weight", 0),
            (".base_layer.weight", 0),
            (".token_adapter.base_layer.weight", 0),
            (".lora_embedding_A", 1),
            (".lora_B.weight", 0),
        ):
            tensor = f"{PREFIX}{name}{suffix}"
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
        if any(tensor.startswith(f"{PREFIX}{name}.lora_") for tensor in shapes):
            return True
    return False


def untie_embeddings(model: Any) -> bool:
    """Give the head a copy of the embeddings that it shares; return whether it shared them."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embeddings.weight:
        return False
    head.weight = torch.nn.Parameter(embeddings.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    model.config.get_text_config().tie_word_embeddings = False
    return True


def _rows_of_tied_heads(network: Any, folder: Path, names: Sequence[str]) -> set[str]:
    """Return the rows that peft saves once more for a head that shares the embeddings.

    Those with other values than the rows of the embeddings are left out.
    """
    rows = [name for name in names if ".token_adapter." in name]
    if not rows:
        return set()
    modules = {id(module): name for name, module in network.named_modules()}
    embeddings = modules[id(network.get_input_embeddings())]
    same = set()
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        for name in rows:
            source = f"{embeddings}.token_adapter.{name.partition('.token_adapter.')[2]}"
            if source in file.keys() and torch.equal(  # noqa: SIM118 - no mapping
                file.get_tensor(name), file.get_tensor(source)
            ):
                same.add(name)
    return same


def require_all_loaded(
    network: Any,
    folder: Path,
    shapes: Shapes,
    messages: Sequence[str],
    *,
    adapter: str = "default",
) -> None:
    """Raise RunError if adapter tensors were not loaded, or modules of the adapter got none.

    `messages` are the warnings of peft; `adapter` is its name in the network.
    """
    state = set(
        get_peft_model_state_dict(network, adapter_name=adapter, save_embedding_layers=False)
    )
    unused = sorted(set(shapes) - state - set(network.state_dict()))
    # peft saves embeddings twice when it saves them: by their plain name, which it reads, and
    # below modules_to_save.
    marker = ".modules_to_save."
    duplicates = {name for name in unused if name.replace(marker, ".") in shapes and marker in name}
    duplicates |= _rows_of_tied_heads(network, folder, unused)
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
