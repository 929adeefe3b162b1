"""Whether the tensors of a folder and the weights of its class are the same, but for tied ones.

A weight that no file holds would start at random values, and a tensor that no module takes would
be lost in silence. What a class is known to leave out does not count: rotary frequencies of old
files, and layers that predict several tokens at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from swiftbox.architectures.choice import stored_head
from swiftbox.architectures.modalities import EXTRA
from swiftbox.architectures.stored_forms import (
    is_side_tensor,
    read_stored,
)
from swiftbox.architectures.stored_settings import StoredForm, settings_of
from swiftbox.core.weights.quantized_bases import stored_method
from swiftbox.core.weights.score_head import Shapes, head_parts, is_in_head, unsaved_weights
from swiftbox.errors import ConfigError, RunError
from swiftbox.files import read_json
from swiftbox.formatting import counted
from swiftbox.language import text

INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"

PREDICTOR_KEYS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")
"""Keys that say how many layers that predict several tokens follow the others."""

LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def require_all_placed(
    folder: Path, model: Any, report: Mapping[str, Any], *, score: bool = False
) -> None:
    """Raise ConfigError if loading left a weight without a tensor, or a tensor without a weight.

    Args:
        folder: The folder that was loaded.
        model: The loaded model.
        report: transformers' report on the loading.
        score: The model got a score head in place of the language model's.
    """
    missing, unexpected = faults_of(folder, model, report, score=score)
    if missing:
        raise _lacking(folder, missing)
    if unexpected:
        raise _unplaced(folder, unexpected, type(model).__name__)
    form = stored_form(folder)
    misshapen = read_stored(stored_tensors(folder), form).misshapen if form is not None else []
    if misshapen:
        raise _misshapen(folder, misshapen)


def faults_of(
    folder: Path, model: Any, report: Mapping[str, Any], *, score: bool
) -> tuple[list[str], list[str]]:
    """Return the names of weights without a tensor, and of tensors without a weight."""
    missing, unexpected = plain_faults(folder, model, report, score=score)
    if stored_method(folder):
        return _faults_of_quantized(folder, model, missing, unexpected)
    return missing, unexpected


def plain_faults(
    folder: Path, model: Any, report: Mapping[str, Any], *, score: bool
) -> tuple[list[str], list[str]]:
    """Return the same of a model whose modules are those of its class."""
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if score:
        has_head = stored_head(read_json(folder / "config.json")) == "score"
        parts = () if has_head else head_parts(model)  # else it starts at random values
        missing = [name for name in missing if not is_in_head(name, parts)]
        prefix = f"{model.base_model_prefix}."
        unexpected = [name for name in unexpected if name.startswith(prefix)]
    return missing, list(without_known_extras(unexpected, model.config))


def _faults_of_quantized(
    folder: Path, model: Any, missing: list[str], unexpected: list[str]
) -> tuple[list[str], list[str]]:
    """Compare what the tensors of quantized modules stand for; those of unknown forms by module."""
    form = stored_form(folder)
    if stored_method(folder) != "bitsandbytes":  # their modules hold other tensors
        modules = set(map(_module_of, tensor_files(folder)))
        missing = [
            name
            for name in missing
            if _module_of(name) not in modules or (form is not None and name.endswith(".bias"))
        ]
        names = {name for name, _module in model.named_modules()}
        unexpected = [
            name
            for name in unexpected
            if _module_of(name) not in names or (form is not None and not is_side_tensor(name))
        ]
    if form is not None:
        missing = sorted({*missing, *read_stored(stored_tensors(folder), form).lacking})
    return missing, unexpected


def require_head(model: Any, folder: Path, adapter: Path, shapes: Sequence[Shapes]) -> None:
    """Raise RunError if part of a classifier's head is in neither its folder nor its adapters.

    Args:
        model: The loaded base, without adapters.
        folder: Its folder.
        adapter: The folder of the last adapter.
        shapes: The tensors of all adapters.
    """
    if head_parts(model):
        lacking = unsaved_weights(model, tensor_files(folder), shapes)
        if lacking:
            raise _without_head(adapter, lacking)


def without_known_extras(names: Iterable[str], config: Any) -> Iterator[str]:
    """Yield the names that are neither constants nor layers that predict several tokens."""
    part = config.get_text_config()
    layers = getattr(part, "num_hidden_layers", None)
    extra_layers = any(getattr(part, key, 0) for key in PREDICTOR_KEYS)
    for name in names:
        number = LAYER.search(name)
        follows = number is not None and extra_layers and int(number[1][:9]) >= (layers or 0)
        if not (EXTRA.search(name) or follows):
            yield name


def tensor_files(folder: Path) -> Mapping[str, Path]:
    """Return the file of each tensor that transformers would load."""
    files = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            files.update(dict.fromkeys(file.keys(), path))
    return files


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers would load: those of the index, or the single one."""
    index = read_json(folder / INDEX).get("weight_map") or {}
    names: Collection[str] = set(index.values()) if index else {SINGLE_FILE}
    return [path for path in sorted(folder.glob("*.safetensors")) if path.name in names]


def stored_form(folder: Path) -> StoredForm | None:
    """Return how the weights of a folder are quantized; None if not, or in an unknown form."""
    return settings_of(read_json(folder / "config.json").get("quantization_config"))


def stored_tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the dtype and shape of each tensor of a folder, by headers that are known to be sound.

    safetensors would map the file, which may not fit.
    """
    return {
        name: (tensor["dtype"], tuple(tensor["shape"]))
        for path in weight_files(folder)
        for name, tensor in _header(path).items()
    }


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    content.pop("__metadata__", None)
    return dict(content)


def _module_of(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _lacking(folder: Path, names: list[str]) -> ConfigError:
    reason = text(
        f"its files lack {len(names)} of the model's weights ({names[0]} ...)",
        f"其文件缺少模型的 {len(names)} 个权重（{names[0]} ...）",
    )
    return _contradiction(folder, reason)


def _unplaced(folder: Path, names: list[str], class_name: str) -> ConfigError:
    count = counted(len(names), "weight")
    reason = text(
        f"its files hold {count} that {class_name} does not have ({names[0]} ...)",
        f"其文件中有 {len(names)} 个权重不属于 {class_name}（{names[0]} ...）",
    )
    return _contradiction(folder, reason)


def _misshapen(folder: Path, names: list[str]) -> ConfigError:
    count = counted(len(names), "tensor")
    reason = text(
        f"{count} of quantized modules do not have the shape that follows from the others "
        f"({names[0]} ...)",
        f"量化模块中有 {len(names)} 个张量的形状与其余张量不符（{names[0]} ...）",
    )
    return _contradiction(folder, reason)


def _contradiction(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        text(f"model: {folder} cannot be loaded: {reason}", f"model：{folder} 无法加载：{reason}"),
        hint=text(
            "restore the files of the original, or download it again",
            "请恢复其原有文件，或重新下载",
        ),
    )


def _without_head(adapter: Path, names: list[str]) -> RunError:
    return RunError(
        text(
            f"{adapter} and its base lack {counted(len(names), 'weight')} of the classifier's head "
            f"({names[0]} ...), which would be random",
            f"{adapter} 及其基座缺少分类头的 {len(names)} 个权重（{names[0]} ...），它们将是随机值",
        ),
        hint=text(
            "train it again: `stage: classification` saves the whole head with the adapter",
            "请重新训练：`stage: classification` 会将整个分类头随适配器保存",
        ),
    )
