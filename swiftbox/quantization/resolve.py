"""What empty and `auto` settings of a quantization mean on a machine, and whether it can run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swiftbox.config.quantize import BITS, GROUPED, QuantizeConfig
from swiftbox.devices import choices
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.language import text

CAPABILITIES: Mapping[str, str] = {"gptq": "gptq_infer", "awq": "awq", "fp8": "dtype_fp8"}
"""The column of backends.csv that says whether a backend runs the method's result."""

ENGINES: Mapping[str, str] = {
    **{"gptq": "gptq", "awq": "gptq", "fp8": "compress", "w8a8": "compress", "gguf": "llama_cpp"}
}
"""The engine of each method; bnb needs none."""

DEFAULT_BITS = 4

SMALL = 1e9
"""Parameters below which 4 bits without calibration cost more than MAX_RATIOS allows: NF4 keeps
64 weights at one scale whatever they do, and a small model has no weights to spare."""

SMALL_BITS = 8
DEFAULT_GROUP_SIZE = 128

MAX_RATIOS: Mapping[int, float] = {2: 3.0, 3: 1.6, 4: 1.25, 5: 1.1, 6: 1.05, 8: 1.05, 16: 1.01}
"""Perplexity ratio by bits. Published models of 1B and more lose 1 to 10 % at 4 bits in groups of
128 (arXiv:2210.17323 table 3, arXiv:2306.00978 table 4, arXiv:2305.14314 table 2), small models
twice that, and all well below 1 % at 8 bits. More than this is damage, not rounding."""


@dataclass(frozen=True)
class ResolvedSetting:
    """A setting that was left open: its value, and the reason for it."""

    key: str
    value: Any
    why: str


def require_backend(config: QuantizeConfig, machine: Machine) -> None:
    """Raise MachineError if the backend, or a device of it, lacks the method's number type."""
    capability = required_capability(config)
    if not capability:
        return
    # FP8 models are often made for other cards: a backend without the type is refused, a device
    # that is one generation too old is not.
    backend = BACKENDS[machine.backend]
    if config.method == "fp8":
        reason = "" if backend.can(capability) else backend.refusal(capability)
    else:
        reason = choices.lacks(machine, capability)
    if reason:
        methods = " | ".join(
            method for method in BITS if method != config.method and _can_run(method, machine)
        )
        raise MachineError(
            f"method: {config.method}: {reason}",
            hint=text(
                f"set method: {methods}, or quantize on another machine",
                f"设 method: {methods}，或换一台机器量化",
            ),
        )


def required_capability(config: QuantizeConfig) -> str:
    """Return the column of backends.csv that a method needs; empty if it needs none."""
    if config.method == "bnb":
        return "bnb_int8" if config.bits == 8 else "bnb_nf4"
    return CAPABILITIES.get(config.method, "")


def _can_run(method: str, machine: Machine) -> bool:
    capability = "bnb_nf4" if method == "bnb" else CAPABILITIES.get(method, "")
    return not capability or not choices.lacks(machine, capability)


def resolve_settings(
    config: QuantizeConfig, machine: Machine, parameters: float | None = None
) -> Iterator[ResolvedSetting]:
    """Yield the settings that were left open, each with its reason.

    `parameters` is the number of those of the model, None if it is not known.
    """
    is_small = parameters is not None and parameters < SMALL
    small = is_small and config.method == "bnb" and not choices.lacks(machine, "bnb_int8")
    bits = config.bits or (SMALL_BITS if small else _default_bits(config.method))
    if config.bits is None:
        why = _why_small(parameters or 0) if small else _why_bits(config.method)
        yield ResolvedSetting("bits", bits, why)
    if config.method in GROUPED and config.group_size is None:
        why = text(
            "the usual size: scales take 0.15 to 0.2 bits per weight; smaller groups are more "
            "accurate and larger on disk",
            "常用值：缩放系数约占每权重 0.15 至 0.2 位；更小则更精确，文件也更大",
        )
        yield ResolvedSetting("group_size", DEFAULT_GROUP_SIZE, why)
    if config.dtype == "auto":
        yield _dtype(config.method)
    if config.max_perplexity_ratio is None:
        why = text(
            f"a correctly quantized model stays well below this at {bits} bits",
            f"正确量化的模型在 {bits} 位时远低于此值",
        )
        yield ResolvedSetting("max_perplexity_ratio", MAX_RATIOS[bits], why)
    if config.method == "bnb":
        reason = BACKENDS[machine.backend].cell(required_capability(config)).reason()
        if reason:
            yield ResolvedSetting("method", config.method, reason)


def _default_bits(method: str) -> int:
    supported = BITS[method]
    return DEFAULT_BITS if DEFAULT_BITS in supported else supported[0]


def _why_small(parameters: float) -> str:
    millions = round(parameters / 1e6)
    return text(
        f"the model has {millions}M parameters: below 1B, 4 bits without calibration lose too much",
        f"模型有 {millions}M 参数：不足 1B 时，未经校准的 4 位损失过大",
    )


def _why_bits(method: str) -> str:
    if method == "gguf":
        return text("Q4_K_M, the usual type for CPUs and Macs", "Q4_K_M，CPU 与 Mac 上的常用类型")
    if len(BITS[method]) == 1:
        return text(f"the only width of {method}", f"{method} 仅支持此位数")
    return text(
        "a quarter of 16 bits; costs a few percent of perplexity",
        "16 位的四分之一，困惑度略升百分之几",
    )


def _dtype(method: str) -> ResolvedSetting:
    if method == "awq":
        why = text("awq kernels compute in float16", "awq 内核以 float16 计算")
        return ResolvedSetting("dtype", "float16", why)
    return ResolvedSetting("dtype", "stored", text("as stored in the model", "与模型相同"))
