"""What is known to go wrong before anything is fetched, merged or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.quantize import GROUP_SIZES, GROUPED, QuantizeConfig
from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, MachineError
from swiftbox.files import free_bytes, read_json
from swiftbox.fit.serving import quantizing
from swiftbox.fit.source import find_shape
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.quantization import layers
from swiftbox.quantization.resolve import ENGINES

SPARE_BYTES = 64 * 2**20
"""For the tokenizer, the calibration's tokens, and what else writes to the disk meanwhile."""

PACKED = 32
"""gptqmodel packs so many outputs, and inputs, at a time; qlinear/__init__.py of 7.6.0."""

CLIPPED = 64
"""AWQ searches its clipping over so many outputs at a time; awq_processor.py of 7.6.0."""

OTHER_SENSES = ("vision_config", "audio_config", "thinker_config")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class Room:
    """Bytes that a quantization needs at once."""

    host: float
    device: float
    disk: float


def require_quantizable(folder: Path, config: QuantizeConfig) -> None:
    """Raise ConfigError for a model whose kind, or whose sizes, the method cannot quantize."""
    said = read_json(folder / "config.json")
    _require_plain(folder, said)
    _require_kind(folder, said, config)
    tensors = layers.tensors_of(folder)
    if not layers.linears(tensors):
        raise ConfigError(
            text(
                f"model: {folder} has no decoder layers that are known here",
                f"model：{folder} 中没有可识别的解码器层",
            ),
            hint=text(
                "quantize a language model with safetensors weights",
                "请使用 safetensors 格式的语言模型",
            ),
        )
    if config.method in GROUPED:
        _require_divisible(tensors, config)


def _require_plain(folder: Path, said: Mapping[str, Any]) -> None:
    own = said.get("quantization_config")
    if isinstance(own, dict):
        raise ConfigError(
            text(
                f"model: {folder} is quantized already ({own.get('quant_method', '?')})",
                f"model：{folder} 已经量化（{own.get('quant_method', '?')}）",
            ),
            hint=text("give the unquantized model", "请给出未量化的模型"),
        )


def _require_kind(folder: Path, said: Mapping[str, Any], config: QuantizeConfig) -> None:
    senses = [name for name in OTHER_SENSES if said.get(name)]
    if senses:
        raise ConfigError(
            text(
                f"model: {folder} sees or hears ({', '.join(senses)}); only language models are "
                "quantized here",
                f"model：{folder} 是多模态模型（{', '.join(senses)}）；此处只量化语言模型",
            ),
            hint=text("take one that its publisher has quantized", "请使用发布者已量化的版本"),
        )
    if config.method == "bnb" and any(said.get(name) for name in EXPERTS):
        raise ConfigError(
            text(
                f"method: bnb quantizes linear layers; the experts of {folder} are none, and "
                "would silently stay as they are",
                f"method: bnb 只量化线性层；{folder} 的专家权重不是线性层，会原样保留",
            ),
            hint=text("set method: gptq", "设 method: gptq"),
        )


def _require_divisible(tensors: layers.Tensors, config: QuantizeConfig) -> None:
    group = config.group_size or 128
    if odd := layers.indivisible(tensors, group):
        name, inside = next(iter(odd.items()))
        able = [one for one in GROUP_SIZES if one > 0 and not layers.indivisible(tensors, one)]
        cure = max(able) if able else -1
        raise ConfigError(
            text(
                f"group_size: {group} does not divide the {inside} inputs of {len(odd)} layers "
                f"({name} ...)",
                f"group_size：{group} 无法整除 {len(odd)} 层的输入维度 {inside}（{name} ...）",
            ),
            hint=text(f"set group_size: {cure}", f"设 group_size: {cure}"),
        )
    step = CLIPPED if config.method == "awq" else PACKED
    for name, one in layers.linears(tensors).items():
        outside, inside = one.shape
        if outside % step or inside % PACKED:
            raise ConfigError(
                text(
                    f"method: {config.method} wants multiples of {step} outputs and {PACKED} "
                    f"inputs; {name} has {outside} x {inside}",
                    f"method：{config.method} 要求输出为 {step} 的倍数、输入为 {PACKED} 的倍数；"
                    f"{name} 为 {outside} x {inside}",
                ),
                hint=text(
                    "set method: gptq or bnb" if config.method == "awq" else "set method: bnb",
                    "设 method: gptq 或 bnb" if config.method == "awq" else "设 method: bnb",
                ),
            )


def room_of(folder: Path, config: QuantizeConfig) -> Room:
    """Return the bytes that a quantization of a local model needs at once."""
    tensors = layers.tensors_of(folder)
    plain = layers.plain_bytes(tensors)
    numbers = sum(one.numbers for one in tensors.values())
    result = layers.expected_bytes(tensors, config)
    merged = plain if config.adapter is not None else 0
    whole = 4.0 * numbers  # measured in float32, and merged so
    found = find_shape(str(folder))
    if found is not None and config.method in ENGINES:
        need = quantizing(
            found.shape, samples=config.calibration_samples, length=config.calibration_length
        )
        return Room(max(whole, need.host), need.device, 2 * result + merged + SPARE_BYTES)
    return Room(max(whole, plain + result), plain, result + merged + SPARE_BYTES)


def require_room(folder: Path, into: Path, config: QuantizeConfig) -> None:
    """Raise MachineError, with both numbers, where disk or memory cannot hold what is needed."""
    need = room_of(folder, config)
    free = free_bytes(into)
    if need.disk > free:
        raise MachineError(
            text(
                f"quantizing: {size(int(need.disk))} to write, {size(free)} free at {into}; "
                "nothing was written",
                f"量化：需写入 {size(int(need.disk))}，{into} 仅剩 {size(free)}；未写入任何内容",
            ),
            hint=text(
                "free some room, or set output_dir on another disk",
                "请清理磁盘，或将 output_dir 设到其他磁盘",
            ),
        )
    there = host.memory()[0]
    if need.host > there:
        raise MachineError(
            text(
                f"quantizing takes {size(int(need.host))} of memory, this machine has "
                f"{size(there)}",
                f"量化需要 {size(int(need.host))} 内存，本机有 {size(there)}",
            ),
            hint=text("quantize on a machine with more memory", "请在内存更大的机器上量化"),
        )


def require_device_room(folder: Path, config: QuantizeConfig, machine: Machine) -> None:
    """Raise MachineError where no device holds what the method keeps on one."""
    if not machine.devices or BACKENDS[machine.backend].shares_memory:
        return
    need = room_of(folder, config).device
    largest = max(one.memory_bytes for one in machine.devices)
    if need > largest:
        raise MachineError(
            text(
                f"quantizing takes {size(int(need))} on a device, the largest has {size(largest)}",
                f"量化需要单设备 {size(int(need))}，最大的设备有 {size(largest)}",
            ),
            hint=text(
                "set method: gptq, which keeps one layer there", "设 method: gptq（只需一层）"
            ),
        )
