"""Reasons to refuse a quantization before a model is fetched, merged or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.architectures.choice import CAUSAL, ClassPurpose, ModelClass, find_class
from swiftbox.architectures.separate_experts import METHODS, SEPARABLE
from swiftbox.config.quantize import GROUP_SIZES, GROUPED, QuantizeConfig
from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, MachineError
from swiftbox.files import SPARE_BYTES, read_json, require_room
from swiftbox.fit.profile import profile_model
from swiftbox.fit.serving import quantizing
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.models.config_keys import language_part
from swiftbox.quantization import gguf, tensors
from swiftbox.quantization.resolve import DEFAULT_BITS, ENGINES

PACKED_WIDTH = 32
"""gptqmodel packs outputs and inputs in multiples of this; qlinear/__init__.py of 7.6.0."""

AWQ_CLIP_WIDTH = 64
"""AWQ searches its clipping over this many outputs at a time; awq_processor.py of 7.6.0."""

MULTIMODAL_KEYS = ("vision_config", "audio_config", "thinker_config")
EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class QuantizationNeeds:
    """Bytes that a quantization needs at the same time."""

    host: float
    device: float
    disk: float


def require_quantizable(folder: Path, config: QuantizeConfig) -> None:
    """Raise ConfigError for a model that the method cannot quantize."""
    stored = read_json(folder / "config.json")
    _require_unquantized(folder, stored)
    _require_language_model(folder, stored, config)
    headers = tensors.read_headers(folder)
    _require_quantized_experts(folder, stored, headers, config)
    if not tensors.linear_layers(headers):
        raise ConfigError(
            text(
                f"model: {folder} has no known decoder layers",
                f"model：{folder} 中没有可识别的解码器层",
            ),
            hint=text(
                "quantize a language model with safetensors weights",
                "请使用 safetensors 格式的语言模型",
            ),
        )
    if config.method in GROUPED:
        _require_divisible(headers, config)
        _require_packable(headers, config)


def _require_unquantized(folder: Path, stored: Mapping[str, Any]) -> None:
    quantization = stored.get("quantization_config")
    if not isinstance(quantization, dict):
        return
    method = quantization.get("quant_method", "?")
    raise ConfigError(
        text(
            f"model: {folder} is already quantized ({method})",
            f"model：{folder} 已经量化（{method}）",
        ),
        hint=text("set model to the unquantized model", "请将 model 设为未量化的模型"),
    )


def _require_language_model(
    folder: Path, stored: Mapping[str, Any], config: QuantizeConfig
) -> None:
    """Refuse models with other modalities, but for bnb, which leaves their towers as they are."""
    choice = find_class(stored, ClassPurpose(trusted=config.trust_remote_code))
    is_text = isinstance(choice, ModelClass) and choice.loader == CAUSAL
    keys = ", ".join(key for key in MULTIMODAL_KEYS if stored.get(key))
    if config.method == "bnb" or (is_text and not keys):
        return
    described = keys or (choice.name if isinstance(choice, ModelClass) else choice.reason)
    raise ConfigError(
        text(
            f"method: {config.method} quantizes language models only; {folder} is multimodal "
            f"({described})",
            f"method: {config.method} 只量化语言模型；{folder} 是多模态模型（{described}）",
        ),
        hint=text(
            "set method: bnb, or use a version quantized by its publisher",
            "设 method: bnb，或使用发布者已量化的版本",
        ),
    )


def _require_quantized_experts(
    folder: Path, stored: Mapping[str, Any], headers: tensors.TensorHeaders, config: QuantizeConfig
) -> None:
    """Refuse methods that leave experts as they are, or write a form that no class of ours has."""
    model_type = str(stored.get("model_type"))
    has_experts = any(language_part(stored).get(key) for key in EXPERT_KEYS)
    is_stacked = any("experts" in name and len(row.shape) == 3 for name, row in headers.items())
    if config.method == "gguf" or not (has_experts or is_stacked):
        return
    if config.method == "bnb":
        reason = text(
            f"method: bnb quantizes linear layers only; the experts of {folder} would stay "
            "unquantized",
            f"method: bnb 只量化线性层；{folder} 的专家权重不是线性层，会原样保留",
        )
    elif is_stacked:
        reason = text(
            f"method: {config.method} splits the experts, which {folder} stores in one tensor for "
            "each layer",
            f"method: {config.method} 会拆分专家，而 {folder} 每层以一个张量存储全部专家",
        )
    elif config.method in METHODS and model_type not in SEPARABLE:
        reason = text(
            f"method: {config.method} quantizes experts one by one, and transformers' class of "
            f"{model_type} has them in one tensor: nothing here could load the result",
            f"method: {config.method} 逐个量化专家，而 transformers 中 {model_type} 的类将它们合为"
            "一个张量：本机无法加载其结果",
        )
    else:
        return
    if is_stacked or model_type not in SEPARABLE:
        raise ConfigError(reason, hint=text("set method: gguf", "设 method: gguf"))
    raise ConfigError(reason, hint=text("set method: gptq or gguf", "设 method: gptq 或 gguf"))


def _require_divisible(headers: tensors.TensorHeaders, config: QuantizeConfig) -> None:
    group_size = config.group_size or 128
    layers = tensors.indivisible_layers(headers, group_size)
    if not layers:
        return
    module, inputs = next(iter(layers.items()))
    usable = [
        group
        for group in GROUP_SIZES
        if group > 0 and not tensors.indivisible_layers(headers, group)
    ]
    suggestion = max(usable, default=-1)
    raise ConfigError(
        text(
            f"group_size: {group_size} does not divide the {inputs} inputs of {len(layers)} "
            f"layers ({module} ...)",
            f"group_size：{group_size} 无法整除 {len(layers)} 层的输入维度 {inputs}"
            f"（{module} ...）",
        ),
        hint=text(f"set group_size: {suggestion}", f"设 group_size: {suggestion}"),
    )


def _require_packable(headers: tensors.TensorHeaders, config: QuantizeConfig) -> None:
    is_awq = config.method == "awq"
    output_step = AWQ_CLIP_WIDTH if is_awq else PACKED_WIDTH
    for module, header in tensors.linear_layers(headers).items():
        outputs, inputs = header.shape
        if outputs % output_step == 0 and inputs % PACKED_WIDTH == 0:
            continue
        raise ConfigError(
            text(
                f"method: {config.method} requires outputs in multiples of {output_step} and "
                f"inputs in multiples of {PACKED_WIDTH}; {module} has {outputs} x {inputs}",
                f"method：{config.method} 要求输出为 {output_step} 的倍数、"
                f"输入为 {PACKED_WIDTH} 的倍数；{module} 为 {outputs} x {inputs}",
            ),
            hint=text(
                "set method: gptq, bnb or gguf" if is_awq else "set method: bnb or gguf",
                "设 method: gptq、bnb 或 gguf" if is_awq else "设 method: bnb 或 gguf",
            ),
        )


def needs_of(folder: Path, config: QuantizeConfig) -> QuantizationNeeds:
    """Return the bytes that the quantization of a local model needs at the same time."""
    headers = tensors.read_headers(folder)
    stored = tensors.total_bytes(headers)
    if config.method == "gguf":
        return _needs_of_gguf(headers, config)
    result = tensors.expected_bytes(headers, config)
    merged = stored if config.adapter is not None else 0
    in_float32 = 4.0 * sum(header.element_count for header in headers.values())
    source = profile_model(str(folder))
    if source is not None and config.method in ENGINES:
        needs = quantizing(
            source.shape, samples=config.calibration_samples, length=config.calibration_length
        )
        disk = 2 * result + merged + SPARE_BYTES
        return QuantizationNeeds(max(in_float32, needs.host), needs.device, disk)
    part, largest = tensors.largest_part(headers)
    if config.method == "bnb":  # measured layer by layer, quantized matrix by matrix
        host_bytes, device_bytes = max(2 * part, result + 2 * largest), max(part, result + largest)
    else:
        host_bytes, device_bytes = max(in_float32, stored + result), part
    return QuantizationNeeds(host_bytes, device_bytes, result + merged + SPARE_BYTES)


def _needs_of_gguf(headers: tensors.TensorHeaders, config: QuantizeConfig) -> QuantizationNeeds:
    """Return the needs of writing a file twice, unquantized and quantized.

    The model is measured layer by layer, and llama.cpp reads the unquantized file from the disk as
    it needs it; the result should fit in the memory.
    """
    stored = tensors.total_bytes(headers)
    shapes = [header.shape for header in headers.values()]
    bits = config.bits or DEFAULT_BITS
    result = gguf.estimated_bytes(shapes, bits)
    merged = stored if config.adapter is not None else 0
    converted = 0 if bits == 16 else stored
    part, _largest = tensors.largest_part(headers)
    disk = converted + result + merged + SPARE_BYTES
    return QuantizationNeeds(max(2 * part, result), part, disk)


def require_resources(folder: Path, target: Path, config: QuantizeConfig) -> None:
    """Raise MachineError, with both sizes, if the disk or the memory is too small."""
    needs = needs_of(folder, config)

    def refusal(needed: int, free: int) -> MachineError:
        return MachineError(
            text(
                f"quantizing takes {size(needed)} with a reserve of {size(SPARE_BYTES)}, but "
                f"{target} has {size(free)} free; nothing was written",
                f"量化连同预留的 {size(SPARE_BYTES)} 共需 {size(needed)}，"
                f"{target} 仅剩 {size(free)}；未写入任何内容",
            ),
            hint=text(
                "free disk space, or set output_dir on another disk",
                "请清理磁盘，或将 output_dir 设到其他磁盘",
            ),
        )

    require_room(target, int(needs.disk), refusal)
    memory = host.memory()[0]
    if needs.host > memory:
        required = size(int(needs.host))
        raise MachineError(
            text(
                f"quantizing takes {required} of memory; this machine has {size(memory)}",
                f"量化需要 {required} 内存，本机有 {size(memory)}",
            ),
            hint=text("quantize on a machine with more memory", "请在内存更大的机器上量化"),
        )


def require_device_room(folder: Path, config: QuantizeConfig, machine: Machine) -> None:
    """Raise MachineError if no device has the memory that the method takes on one."""
    if not machine.devices or BACKENDS[machine.backend].shares_memory:
        return
    required = needs_of(folder, config).device
    largest = max(device.memory_bytes for device in machine.devices)
    if required > largest:
        raise MachineError(
            text(
                f"quantizing takes {size(int(required))} on one device; the largest has "
                f"{size(largest)}",
                f"量化需要单个设备有 {size(int(required))} 显存，最大的设备有 {size(largest)}",
            ),
            hint=_with_less_on_the_device(config.method),
        )


def _with_less_on_the_device(method: str) -> str:
    """Return the methods that keep less on the device than this one."""
    if method == "gguf":  # its measurement keeps one layer there, as every other method does
        return text("quantize on another machine", "请换一台机器量化")
    if method == "bnb":
        return text(
            "set method: gptq or gguf, which keep one layer on the device at a time",
            "设 method: gptq 或 gguf（设备上一次只放一层）",
        )
    return text(
        "set method: gguf, which needs the device for its measurement only",
        "设 method: gguf（仅在测量时使用设备）",
    )
