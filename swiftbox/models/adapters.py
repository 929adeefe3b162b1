"""An adapter as its files describe it, before any weights are loaded: kind, layers, base model.

Shapes: R rank, I inputs and O outputs of a layer, V vocabulary, H hidden.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.metadata import MetadataError, read_object, shown
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_record
from swiftbox.security.paths import revision
from swiftbox.security.regular import read_regular

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLED_WEIGHTS = "adapter_model.bin"

if TYPE_CHECKING:  # a check without an adapter needs no config of a merge
    from swiftbox.config.merge import Quantization

MERGEABLE = ("LORA", "ADALORA", "IA3", "OFT", "VERA")
"""Kinds that change the base model's weights; DoRA and rsLoRA are of the kind LORA."""

TRAININGS = ("train", "merge", "extract", "mix")
"""Tasks whose result has `model` as its base."""

MAX_RECORD_BYTES = 2**20
"""The record of a training has a few KB."""

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
    """Read an adapter's folder; raise ConfigError for one that cannot be served or merged."""
    adapter = read_trained(folder)
    _require_kind(folder, adapter.config)
    return adapter


def read_trained(folder: Path) -> Adapter:
    """Read the adapter of a training; raise ConfigError for one whose files do not fit together."""
    config = read_config(folder)
    if config.get("peft_type") not in MERGEABLE:
        _require_kind(folder, config)
    from swiftbox.models.adapter_checks import AdapterTensors, adapter_problems  # adapters alone

    try:
        tensors, expected_bytes = weights.read_header(folder / ADAPTER_WEIGHTS)
        stored_bytes = (folder / ADAPTER_WEIGHTS).stat().st_size
        if stored_bytes != expected_bytes:
            raise MetadataError(weights.wrong_length(stored_bytes, expected_bytes))
    except FileNotFoundError:
        raise _without_weights(folder) from None
    except ValueError as error:
        raise _incomplete(folder, str(error)) from None
    shapes = {name: tuple(tensor["shape"]) for name, tensor in tensors.items()}
    layers, full_weights = _sorted(shapes)
    dtypes = {name: tensor["dtype"] for name, tensor in tensors.items()}
    problems = list(adapter_problems(config, AdapterTensors(dtypes, layers, full_weights)))
    if problems:
        raise _invalid(folder, problems)
    return Adapter(folder, config, shapes, training_record(folder), layers, full_weights)


def read_config(folder: Path) -> Mapping[str, Any]:
    """Return the settings of an adapter; raise ConfigError for a folder without readable ones."""
    path = folder / ADAPTER_CONFIG
    try:
        return read_object(path)
    except FileNotFoundError:
        raise _no_adapter(folder) from None
    except MetadataError as error:
        raise ConfigError(
            text(
                f"adapter: {path} cannot be read ({error})", f"adapter：{path} 无法读取（{error}）"
            ),
            hint=_copy_again(),
        ) from None


def _without_weights(folder: Path) -> ConfigError:
    command = f"`swiftbox convert {shlex.quote(str(folder))}`"
    return ConfigError(
        text(
            f"adapter: {folder} has no {ADAPTER_WEIGHTS}",
            f"adapter：{folder} 中没有 {ADAPTER_WEIGHTS}",
        ),
        hint=text(
            f"pickled .bin weights can run code and are not loaded; {command} converts them safely",
            f".bin 权重可能执行代码，不会加载；{command} 可安全转换",
        )
        if (folder / PICKLED_WEIGHTS).is_file()
        else _copy_again(),
    )


def _invalid(folder: Path, problems: Sequence[str]) -> ConfigError:
    """Report what is wrong with the files of an adapter, all problems at once."""
    return ConfigError(
        "\n".join(
            text(f"adapter: {folder}: {problem}", f"adapter：{folder}：{problem}")
            for problem in problems
        ),
        hint=_copy_again(),
    )


def _copy_again() -> str:
    return text(
        "copy or download the adapter again, both files from the same training",
        "请重新复制或下载该适配器，两个文件须来自同一次训练",
    )


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
            "this is a complete model, so there is nothing to merge: give it as model"
            if is_model
            else "give a LoRA training run, or its model/ folder",
            "这是完整模型，无需合并：请以 model 给出"
            if is_model
            else "请给出 LoRA 训练的运行目录或其 model/ 目录",
        ),
    )


def _incomplete(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        text(
            f"adapter: {folder}/{ADAPTER_WEIGHTS} is incomplete: {reason}",
            f"adapter：{folder}/{ADAPTER_WEIGHTS} 不完整：{reason}",
        ),
        hint=_copy_again(),
    )


def _require_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise ConfigError for an adapter that does not change the base model's weights."""
    kind, reason = config.get("peft_type"), ""
    if kind not in MERGEABLE:
        reason = text(
            f"peft_type {shown(kind)} does not change the base model's weights",
            f"peft_type {shown(kind)} 并非对基座权重的修改",
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
                f"adapter: {folder} is not supported: {reason}",
                f"adapter：不支持 {folder}：{reason}",
            ),
            hint=text(
                f"supported kinds: {', '.join(MERGEABLE)} (LORA includes DoRA and rsLoRA)",
                f"支持的类型：{', '.join(MERGEABLE)}（LORA 含 DoRA、rsLoRA）",
            ),
        )


def training_record(folder: Path) -> TrainingRecord | None:
    """Return what the run around a model/ folder recorded; None if there is no run."""
    import yaml

    run = folder.parent
    if folder.name.startswith("checkpoint-"):
        run = run.parent
    try:
        settled = yaml.safe_load(read_regular(run / run_folder.SETTLED, MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    if not isinstance(settled, dict) or settled.get("task") not in TRAININGS:
        return None
    model, hub = settled.get("model"), settled.get("hub") or "modelscope"
    if not isinstance(model, str) or not isinstance(hub, str):
        return None  # a list may be an exponential number of aliases
    inputs = read_record(run / run_folder.INPUTS)
    try:
        return TrainingRecord(
            model=model,
            hub=hub,
            revision=_text_or_none(settled.get("revision") or inputs.get("revision")),
            folder=_text_or_none(inputs.get("model")),
            quantization=_quantization(settled),
        )
    except (KeyError, TypeError, ValueError):
        return None  # not the record of a training of ours


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _quantization(settled: Mapping[str, Any]) -> Quantization | None:
    if settled.get("tuner_type") != "qlora" or settled.get("quant_method", "bnb") != "bnb":
        return None
    from swiftbox.config.merge import Quantization

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
