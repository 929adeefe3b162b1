"""What an adapter's files say before any weights move: its kind, its layers, what it is made for.

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

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

MERGEABLE = ("LORA", "ADALORA", "IA3", "OFT", "VERA")
"""Kinds that are a change of the base's own weights; DoRA and rsLoRA are LORA here."""

OWN_PARTS = re.compile(
    r"^base_model\.model\.(?P<layer>.+?)\."
    r"(?P<part>lora_(?:A|B|E|embedding_A|embedding_B|magnitude_vector)|ranknum"
    r"|ia3_l|oft_R|vera_lambda_[bd]|token_adapter\..+)(?:\.weight)?$"
)
"""The tensors of an adapter that belong to a layer of the base."""


@dataclass(frozen=True)
class TrainingRecord:
    """What the run that made an adapter recorded of its base."""

    model: str
    hub: str
    revision: str | None
    folder: str | None
    """Where the base was on the machine that trained."""
    quantization: Quantization | None


@dataclass(frozen=True)
class Adapter:
    """A folder with an adapter: its config, the shapes of its tensors, its run's record if any."""

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    training: TrainingRecord | None
    layers: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    """Of each layer of the base that is adapted, the shapes of what adapts it."""
    full_weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Weights of the base that the adapter brings whole: modules_to_save, resized embeddings."""

    @property
    def kind(self) -> str:
        """Return peft's name of the kind, such as LORA."""
        return str(self.config.get("peft_type", ""))

    @property
    def has_tokenizer(self) -> bool:
        """Tell whether a tokenizer was saved beside it."""
        return (self.folder / "tokenizer_config.json").is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read what an adapter's folder says; raise ConfigError for one that cannot be merged."""
    if not (folder / ADAPTER_CONFIG).is_file():
        raise _none_in(folder)
    said = read_json(folder / ADAPTER_CONFIG)
    _require_kind(folder, said)
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
        tensors, size = weights.read_header(folder / ADAPTER_WEIGHTS)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise _torn(folder, str(error)) from None
    if size != (folder / ADAPTER_WEIGHTS).stat().st_size:
        raise _torn(folder, f"{(folder / ADAPTER_WEIGHTS).stat().st_size:,} / {size:,} B")
    shapes = {name: tuple(one["shape"]) for name, one in tensors.items()}
    layers, whole = _sorted(shapes)
    return Adapter(folder, said, shapes, training_record(folder), layers, whole)


def _sorted(
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[dict[str, dict[str, tuple[int, ...]]], dict[str, tuple[int, ...]]]:
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    whole: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if found := OWN_PARTS.match(name):
            layers.setdefault(found["layer"], {})[found["part"]] = shape
        elif name.startswith("base_model.model."):
            whole[name.removeprefix("base_model.model.")] = shape
    return layers, whole


def _none_in(folder: Path) -> ConfigError:
    if not folder.is_dir():
        return ConfigError(
            text(f"adapter: no folder {folder}", f"adapter：目录 {folder} 不存在"),
            hint=text(
                "the run has not finished, or the path is wrong (`swiftbox runs list`)",
                "该运行尚未完成，或路径有误（`swiftbox runs list`）",
            ),
        )
    whole = (folder / "config.json").is_file()
    return ConfigError(
        text(
            f"adapter: {folder} has no {ADAPTER_CONFIG}",
            f"adapter：{folder} 中没有 {ADAPTER_CONFIG}",
        ),
        hint=text(
            "it is a whole model: there is nothing to merge"
            if whole
            else "give the run, or the model/ folder, of a LoRA training",
            "这是完整模型，无需合并" if whole else "请给出 LoRA 训练的运行目录或其 model/ 目录",
        ),
    )


def _torn(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        text(
            f"adapter: {folder}/{ADAPTER_WEIGHTS} is not whole: {why}",
            f"adapter：{folder}/{ADAPTER_WEIGHTS} 不完整：{why}",
        ),
        hint=text("copy or download it again", "请重新复制或下载"),
    )


def _require_kind(folder: Path, said: Mapping[str, Any]) -> None:
    """Raise ConfigError for an adapter that is no change of the base's weights."""
    kind, lacking = str(said.get("peft_type", "")), ""
    if kind not in MERGEABLE:
        lacking = text(
            f"{kind or '?'} is no change of the base's weights",
            f"{kind or '?'} 并非对基座权重的修改",
        )
    elif said.get("alora_invocation_tokens"):
        lacking = text(
            "an activated LoRA works on some tokens only", "activated LoRA 只作用于部分 token"
        )
    elif said.get("layer_replication"):
        lacking = text("it repeats layers of the base", "它会重复基座的层")
    if lacking:
        raise ConfigError(
            text(
                f"adapter: {folder} cannot be merged: {lacking}",
                f"adapter：{folder} 无法合并：{lacking}",
            ),
            hint=text(
                f"kinds that merge: {', '.join(MERGEABLE)} (LORA with DoRA and rsLoRA); "
                "serve this one beside its base",
                f"可合并的类型：{', '.join(MERGEABLE)}（LORA 含 DoRA、rsLoRA）；"
                "该适配器请与基座一起部署",
            ),
        )


def training_record(folder: Path) -> TrainingRecord | None:
    """Return what the run around a model/ folder recorded; None where there is no run."""
    import yaml

    run = folder.parent
    if folder.name.startswith("checkpoint-"):
        run = run.parent
    try:
        found = yaml.safe_load((run / run_folder.SETTLED).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(found, dict) or found.get("task") != "train":
        return None
    inputs = read_json(run / run_folder.INPUTS)
    return TrainingRecord(
        model=str(found["model"]),
        hub=str(found.get("hub") or "modelscope"),
        revision=found.get("revision") or inputs.get("revision"),
        folder=inputs.get("model"),
        quantization=_quantization(found),
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
    """Which model an adapter was made for, and where it is."""

    name: str
    hub: str | None
    revision: str | None


def base_of(adapter: Adapter) -> AdapterBase:
    """Return the model that an adapter was trained on; raise ConfigError where it says none.

    The run's record names it as it was asked for; adapter_config.json as it was found.
    """
    made = adapter.training
    if made is not None:
        moved = not Path(made.model).expanduser().is_dir() and made.model.startswith(("/", "~"))
        if not moved:
            return AdapterBase(made.model, made.hub, made.revision)
    name = (made.model if made else "") or str(adapter.config.get("base_model_name_or_path") or "")
    if name and (Path(name).is_dir() or not name.startswith(("/", "~", "."))):
        return AdapterBase(name, None, adapter.config.get("revision"))
    raise ConfigError(
        text(
            f"model: {adapter.folder} was trained on {name or '?'}, which is not here",
            f"model：{adapter.folder} 的基座 {name or '?'} 不在本机",
        ),
        hint=text("say where its base is: model=...", "请说明其基座的位置：model=..."),
    )
