"""An adapter as its files describe it, before any weights are loaded: kind, layers, base model.

Shapes: R rank, I inputs and O outputs of a layer, V vocabulary, H hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.config.merge import Quantization
from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.runs import folder as run_folder
from swiftbox.security.paths import revision

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

MERGEABLE = ("LORA", "ADALORA", "IA3", "OFT", "VERA")
"""Kinds that change the base model's weights; DoRA and rsLoRA are of the kind LORA."""

ADAPTER_TENSOR = re.compile(
    r"^base_model\.model\.(?P<layer>.+?)\."
    r"(?P<part>lora_(?:A|B|E|embedding_A|embedding_B|magnitude_vector)|ranknum"
    r"|ia3_l|oft_R|vera_lambda_[bd]|token_adapter\..+)(?:\.weight)?$"
)
"""The tensors of an adapter that belong to a layer of the base model."""


@dataclass(frozen=True)
class TrainingRecord:
    """What an adapter's training run recorded about its base model."""

    model: str
    hub: str
    revision: str | None
    folder: str | None
    """Where the base model was on the machine that trained."""
    quantization: Quantization | None


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder: its config, the shapes of its tensors, its training run's record."""

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    training: TrainingRecord | None
    layers: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    """The shapes of the adapter's tensors, by adapted layer of the base model."""
    full_weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Complete weights that replace the base model's: modules_to_save, resized embeddings."""

    @property
    def kind(self) -> str:
        """Return peft's name of the adapter's kind, such as LORA."""
        return str(self.config.get("peft_type", ""))

    @property
    def has_tokenizer(self) -> bool:
        """Return whether a tokenizer was saved with it."""
        return (self.folder / "tokenizer_config.json").is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's folder; raise ConfigError for an adapter that cannot be merged."""
    if not (folder / ADAPTER_CONFIG).is_file():
        raise _no_adapter(folder)
    config = read_json(folder / ADAPTER_CONFIG)
    _require_kind(folder, config)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(
            text(
                f"adapter: {folder} has no {ADAPTER_WEIGHTS}",
                f"adapter：{folder} 中没有 {ADAPTER_WEIGHTS}",
            ),
            hint=text(
                "pickled .bin weights can run code and are not loaded; save it as safetensors",
                ".bin 权重可能执行代码，不会加载；请另存为 safetensors",
            ),
        )
    try:
        tensors, expected_bytes = weights.read_header(folder / ADAPTER_WEIGHTS)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise _incomplete(folder, str(error)) from None
    stored_bytes = (folder / ADAPTER_WEIGHTS).stat().st_size
    if stored_bytes != expected_bytes:
        raise _incomplete(folder, f"{stored_bytes:,} of {expected_bytes:,} bytes")
    shapes = {name: tuple(tensor["shape"]) for name, tensor in tensors.items()}
    layers, full_weights = _sorted(shapes)
    return Adapter(folder, config, shapes, training_record(folder), layers, full_weights)


def _sorted(
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[dict[str, dict[str, tuple[int, ...]]], dict[str, tuple[int, ...]]]:
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    full_weights: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if part := ADAPTER_TENSOR.match(name):
            layers.setdefault(part["layer"], {})[part["part"]] = shape
        elif name.startswith("base_model.model."):
            full_weights[name.removeprefix("base_model.model.")] = shape
    return layers, full_weights


def _no_adapter(folder: Path) -> ConfigError:
    if not folder.is_dir():
        return ConfigError(
            text(f"adapter: no folder {folder}", f"adapter：目录 {folder} 不存在"),
            hint=text(
                "the run has not finished, or the path is wrong (`swiftbox runs list`)",
                "该运行尚未完成，或路径有误（`swiftbox runs list`）",
            ),
        )
    is_model = (folder / "config.json").is_file()
    return ConfigError(
        text(
            f"adapter: {folder} has no {ADAPTER_CONFIG}",
            f"adapter：{folder} 中没有 {ADAPTER_CONFIG}",
        ),
        hint=text(
            "this is a complete model: there is nothing to merge"
            if is_model
            else "give a LoRA training run, or its model/ folder",
            "这是完整模型，无需合并" if is_model else "请给出 LoRA 训练的运行目录或其 model/ 目录",
        ),
    )


def _incomplete(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        text(
            f"adapter: {folder}/{ADAPTER_WEIGHTS} is incomplete: {reason}",
            f"adapter：{folder}/{ADAPTER_WEIGHTS} 不完整：{reason}",
        ),
        hint=text("copy or download it again", "请重新复制或下载"),
    )


def _require_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise ConfigError for an adapter that does not change the base model's weights."""
    kind, reason = str(config.get("peft_type", "")), ""
    if kind not in MERGEABLE:
        reason = text(
            f"{kind or '?'} does not change the base model's weights",
            f"{kind or '?'} 并非对基座权重的修改",
        )
    elif config.get("alora_invocation_tokens"):
        reason = text(
            "an activated LoRA applies to some tokens only", "activated LoRA 只作用于部分 token"
        )
    elif config.get("layer_replication"):
        reason = text("it repeats layers of the base model", "它会重复基座的层")
    if reason:
        raise ConfigError(
            text(
                f"adapter: {folder} cannot be merged: {reason}",
                f"adapter：{folder} 无法合并：{reason}",
            ),
            hint=text(
                f"mergeable kinds: {', '.join(MERGEABLE)} (LORA includes DoRA and rsLoRA); "
                "deploy this adapter with its base model instead",
                f"可合并的类型：{', '.join(MERGEABLE)}（LORA 含 DoRA、rsLoRA）；"
                "该适配器请与基座一起部署",
            ),
        )


def training_record(folder: Path) -> TrainingRecord | None:
    """Return what the run around a model/ folder recorded; None if there is no run."""
    import yaml

    run = folder.parent
    if folder.name.startswith("checkpoint-"):
        run = run.parent
    try:
        settled = yaml.safe_load((run / run_folder.SETTLED).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(settled, dict) or settled.get("task") != "train":
        return None
    inputs = read_json(run / run_folder.INPUTS)
    return TrainingRecord(
        model=str(settled["model"]),
        hub=str(settled.get("hub") or "modelscope"),
        revision=settled.get("revision") or inputs.get("revision"),
        folder=inputs.get("model"),
        quantization=_quantization(settled),
    )


def _quantization(settled: Mapping[str, Any]) -> Quantization | None:
    if settled.get("tuner_type") != "qlora" or settled.get("quant_method", "bnb") != "bnb":
        return None
    return Quantization(
        quant_bits=int(settled["quant_bits"]),
        bnb_4bit_quant_type=str(settled.get("bnb_4bit_quant_type", "nf4")),
        bnb_4bit_use_double_quant=bool(settled.get("bnb_4bit_use_double_quant", True)),
        dtype=str(settled["dtype"]),
    )


@dataclass(frozen=True)
class AdapterBase:
    """The base model of an adapter, and its hub."""

    name: str
    hub: str | None
    revision: str | None


def base_of(adapter: Adapter) -> AdapterBase:
    """Return the model that an adapter was trained on; raise ConfigError if it is not known.

    The run's record has the name as the user gave it; adapter_config.json has a local path.
    """
    record = adapter.training
    if record is not None:
        is_elsewhere = not Path(record.model).expanduser().is_dir() and record.model.startswith(
            ("/", "~")
        )
        if not is_elsewhere:
            settled = adapter.folder.parent / run_folder.SETTLED
            return AdapterBase(record.model, record.hub, _revision(record.revision, settled))
    name = (record.model if record else "") or str(
        adapter.config.get("base_model_name_or_path") or ""
    )
    if name and (Path(name).is_dir() or not name.startswith(("/", "~", "."))):
        described = adapter.folder / ADAPTER_CONFIG
        return AdapterBase(name, None, _revision(adapter.config.get("revision"), described))
    raise ConfigError(
        text(
            f"model: {adapter.folder} was trained on {name or '?'}, which is not on this machine",
            f"model：{adapter.folder} 的基座 {name or '?'} 不在本机",
        ),
        hint=text("give the path of its base model: model=...", "请给出其基座的路径：model=..."),
    )


def _revision(value: Any, file: Path) -> str | None:
    """Return the revision that an adapter's file names; raise ConfigError if it is not one."""
    if value is None or value == "":
        return None
    return revision(value, source=f"{file}: revision", error=ConfigError)
