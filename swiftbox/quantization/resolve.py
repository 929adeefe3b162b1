"""What `empty` and `auto` of a quantization mean on a machine, and whether it can be done there."""

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
"""The column of backends.csv that tells whether what a method makes can be run where it is made."""

ENGINES: Mapping[str, str] = {"gptq": "gptq", "awq": "gptq", "fp8": "compress", "w8a8": "compress"}
"""The engine that each method needs; the others need none."""

USUAL_BITS = 4
USUAL_GROUP = 128

RATIOS: Mapping[int, float] = {2: 3.0, 3: 1.6, 4: 1.25, 8: 1.05, 16: 1.01}
"""By bits. Published models of 1B and more lose 1 to 10 % at 4 bits in groups of 128
(arXiv:2210.17323 table 3, arXiv:2306.00978 table 4, arXiv:2305.14314 table 2), small ones twice
that, and well below 1 % at 8 bits: what is above is damage, not rounding."""


@dataclass(frozen=True)
class Settled:
    """A key, its value and why."""

    key: str
    value: Any
    why: str


def require_backend(config: QuantizeConfig, machine: Machine) -> None:
    """Raise MachineError where the backend's row, or a device's, has no such weights."""
    capability = capability_of(config)
    if not capability:
        return
    # What is made in FP8 is made for another card as often as for this one: only a backend that
    # knows nothing of the type is refused, not a device that is a generation too old.
    backend = BACKENDS[machine.backend]
    if config.method == "fp8":
        lacking = "" if backend.can(capability) else backend.refusal(capability)
    else:
        lacking = choices.lacks(machine, capability)
    if lacking:
        able = [name for name in BITS if name != config.method and _can(name, machine)]
        raise MachineError(
            f"method: {config.method}: {lacking}",
            hint=text(
                f"set method: {' | '.join(able)}, or quantize on another machine",
                f"设 method: {' | '.join(able)}，或换一台机器量化",
            ),
        )


def capability_of(config: QuantizeConfig) -> str:
    """Return the column of backends.csv that a method needs; empty for one that needs none."""
    if config.method == "bnb":
        return "bnb_int8" if config.bits == 8 else "bnb_nf4"
    return CAPABILITIES.get(config.method, "")


def _can(method: str, machine: Machine) -> bool:
    capability = "bnb_nf4" if method == "bnb" else CAPABILITIES.get(method, "")
    return not capability or not choices.lacks(machine, capability)


def settle(config: QuantizeConfig, machine: Machine) -> Iterator[Settled]:
    """Yield what was left open, each with its reason."""
    bits = config.bits or _usual_bits(config.method)
    if config.bits is None:
        yield Settled("bits", bits, _why_bits(config.method))
    if config.method in GROUPED and config.group_size is None:
        why = text(
            "usual: 0.15 to 0.2 bits per weight for the scales; smaller is finer and larger",
            "常用值：缩放系数约占每权重 0.15 至 0.2 位；更小则更精细、更大",
        )
        yield Settled("group_size", USUAL_GROUP, why)
    if config.dtype == "auto":
        yield _dtype(config.method)
    if config.max_perplexity_ratio is None:
        why = text(
            f"at {bits} bits a sound model stays well below; what is above is damage",
            f"{bits} 位时正常的模型远低于此；超过说明已受损",
        )
        yield Settled("max_perplexity_ratio", RATIOS[bits], why)
    if config.method == "bnb":
        reason = BACKENDS[machine.backend].cell(capability_of(config)).reason()
        if reason:
            yield Settled("method", config.method, reason)


def _usual_bits(method: str) -> int:
    able = BITS[method]
    return USUAL_BITS if USUAL_BITS in able else able[0]


def _why_bits(method: str) -> str:
    if method == "gguf":
        return text("Q8_0, what the converter itself writes", "Q8_0，转换器可直接写出")
    if len(BITS[method]) == 1:
        return text(f"all that {method} has", f"{method} 仅此一种")
    return text("a quarter of 16 bits, for a few percent of perplexity", "16 位的四分之一")


def _dtype(method: str) -> Settled:
    if method == "awq":
        why = text("awq kernels compute in float16", "awq 内核以 float16 计算")
        return Settled("dtype", "float16", why)
    return Settled("dtype", "stored", text("as the model has it", "与模型相同"))
