"""Decisions that depend on the machine, each with its reason; pure functions of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swiftbox.devices.backends import ATTENTION, BACKENDS, DTYPES, OPTIMIZERS, STRATEGIES
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.language import text

BF16_CAPABILITY = 8.0
"""Ampere: the first NVIDIA generation with bfloat16 in hardware."""

BF16_AMD = ("gfx90a", "gfx942", "gfx950", "gfx11", "gfx12")
FP16_ONLY_ASCEND = ("910A", "910ProA", "910PremiumA", "310P")


@dataclass(frozen=True)
class Choice:
    """A value and why it was chosen."""

    value: str
    reason: str


def asked() -> str:
    """Return the reason of a value that the user gave."""
    return text("asked for", "按要求")


def choose_dtype(machine: Machine, wanted: str) -> Choice:
    """Choose the number type: bfloat16 where every device has it in hardware.

    Raises MachineError for a type that a device lacks.
    """
    missing = _lacks_bfloat16(machine)
    if wanted == "bfloat16" and missing and machine.devices:
        raise MachineError(
            f"dtype: bfloat16: {missing}",
            hint=text("set dtype: auto, or float16", "设 dtype: auto 或 float16"),
        )
    if wanted == "float16" and not machine.devices:
        raise MachineError(
            "dtype: float16: " + BACKENDS[machine.backend].refusal("dtype_fp16"),
            hint=text("set dtype: float32 or bfloat16", "设 dtype: float32 或 bfloat16"),
        )
    if wanted != "auto":
        return Choice(wanted, asked())
    backend = BACKENDS[machine.backend]
    if not machine.devices:
        return Choice(
            "float32",
            text(
                f"exact, and autocast gains little on {backend.name}",
                f"精确；在 {backend.name} 上自动混合精度收益很小",
            ),
        )
    names = ", ".join(sorted({one.capability or one.name for one in machine.devices}))
    if not missing:
        return Choice(
            "bfloat16",
            text(f"in hardware on {backend.name} {names}", f"{backend.name} {names} 硬件支持"),
        )
    return Choice("float16", missing)


def _lacks_bfloat16(machine: Machine) -> str:
    """Return which device has no bfloat16 and why; empty when all have it."""
    backend = BACKENDS[machine.backend]
    if not backend.can(DTYPES["bfloat16"]):
        return backend.refusal(DTYPES["bfloat16"])
    for one in machine.devices:
        if not _has_bfloat16(machine.backend, one.capability or one.name):
            return f"{one.name} ({one.capability}): {backend.refusal(DTYPES['bfloat16'])}"
    return ""


def _has_bfloat16(backend: str, capability: str) -> bool:
    if backend == "cuda":
        return float(capability or 0) >= BF16_CAPABILITY
    if backend == "rocm":
        return capability.startswith(BF16_AMD)
    if backend == "npu":
        return not any(name in capability for name in FP16_ONLY_ASCEND)
    return True


def choose_attention(machine: Machine, wanted: str, dtype: str) -> Choice:
    """Choose the attention kernel; flash attention where it is installed and the type allows.

    Raises MachineError for a kernel that cannot train there.
    """
    backend = BACKENDS[machine.backend]
    flash = "flash_attention_2"
    if wanted == "auto":
        brings = _brings_flash(machine)
        if brings and dtype != "float32" and backend.can(ATTENTION[flash]):
            return Choice(flash, text(f"{brings} is installed", f"已安装 {brings}"))
        why = text("torch's own kernel, exact and always there", "torch 自带，精确且总可用")
        return Choice("sdpa", why)
    if wanted in ATTENTION and not backend.can(ATTENTION[wanted]):
        raise MachineError(
            f"attn_implementation: {wanted}: {backend.refusal(ATTENTION[wanted])}",
            hint=text("set attn_implementation: auto", "设 attn_implementation: auto"),
        )
    if wanted.startswith("flash"):
        _require_flash(machine, wanted, dtype)
    return Choice(wanted, asked())


def _brings_flash(machine: Machine) -> str:
    plugin = BACKENDS[machine.backend].row.plugin
    for package in ("flash_attn", plugin):
        if package and package in machine.versions:
            return package
    return ""


def _require_flash(machine: Machine, wanted: str, dtype: str) -> None:
    backend = BACKENDS[machine.backend]
    if dtype == "float32":
        raise MachineError(
            text(
                f"attn_implementation: {wanted} needs bfloat16 or float16, not float32",
                f"attn_implementation：{wanted} 需要 bfloat16 或 float16，而不是 float32",
            ),
            hint=text(
                "set dtype: bfloat16, or attn_implementation: sdpa",
                "设 dtype: bfloat16 或 attn_implementation: sdpa",
            ),
        )
    package = "flash_attn_interface" if wanted.endswith("3") else _brings_flash(machine)
    if not package or package not in machine.versions:
        cell = backend.cells[ATTENTION[wanted]]
        raise MachineError(
            text(
                f"attn_implementation: {wanted} is not installed",
                f"attn_implementation：未安装 {wanted}",
            ),
            hint=text(f"install {cell.install}, or set sdpa", f"安装 {cell.install}，或设为 sdpa"),
        )


def choose_optimizer(machine: Machine, wanted: str) -> Choice:
    """Choose the optimizer: fused AdamW where the backend has it.

    Raises MachineError for an optimizer that the backend lacks.
    """
    backend = BACKENDS[machine.backend]
    fused = "adamw_torch_fused"
    if wanted == "auto":
        if backend.cells[OPTIMIZERS[fused]].supported == "yes":
            why = text("AdamW in one kernel per step", "每步一个内核的 AdamW")
            return Choice(fused, why)
        return Choice("adamw_torch", backend.refusal(OPTIMIZERS[fused]))
    if wanted in OPTIMIZERS and not backend.can(OPTIMIZERS[wanted]):
        raise MachineError(
            f"optim: {wanted}: {backend.refusal(OPTIMIZERS[wanted])}",
            hint=text("set optim: auto", "设 optim: auto"),
        )
    return Choice(wanted, asked())


def choose_distributed(machine: Machine, wanted: str, devices: int) -> Choice:
    """Choose how several devices work together; one device needs nothing.

    Raises MachineError for a strategy that the backend or one device cannot carry out.
    """
    backend = BACKENDS[machine.backend]
    if wanted == "auto":
        if devices > 1 and backend.can(STRATEGIES["ddp"]):
            why = text(
                f"{devices} devices, each with the whole model", f"{devices} 个设备，各持完整模型"
            )
            return Choice("ddp", why)
        return Choice("none", text("one device", "单个设备"))
    if wanted == "none":
        return Choice(wanted, asked())
    if not backend.can(STRATEGIES[wanted]):
        raise MachineError(
            f"distributed: {wanted}: {backend.refusal(STRATEGIES[wanted])}",
            hint=text("set distributed: none", "设 distributed: none"),
        )
    if devices < 2:
        raise MachineError(
            text(
                f"distributed: {wanted} needs several devices, there is one device",
                f"distributed：{wanted} 需要多个设备，只有一个（one device）",
            ),
            hint=text(
                "set distributed: auto, or num_devices", "设 distributed: auto 或 num_devices"
            ),
        )
    if wanted.startswith("zero") and "deepspeed" not in machine.versions:
        raise MachineError(
            text(
                f"distributed: {wanted} needs deepspeed, which is not installed",
                f"distributed：{wanted} 需要 deepspeed，但未安装",
            ),
            hint=f"pip install {backend.cells[STRATEGIES[wanted]].install}",
        )
    return Choice(wanted, asked())


def choose_checkpointing(machine: Machine, wanted: str) -> Choice:
    """Choose whether activations are computed twice: on where there is an accelerator."""
    if wanted != "auto":
        return Choice(wanted, asked())
    if machine.devices:
        why = text(
            "device memory is scarce; costs about a third more time", "显存有限；约多用三分之一时间"
        )
        return Choice("true", why)
    return Choice("false", text("main memory is ample", "内存充裕"))


def collective(machine: Machine) -> Choice:
    """Return the library that carries messages between the backend's devices."""
    backend = BACKENDS[machine.backend]
    return Choice(backend.row.collective, backend.cells["collective_backend"].condition)


def environment(machine: Machine, processes: int) -> Mapping[str, str]:
    """Return the environment of a run's processes; threads are shared out between them."""
    threads = max(1, machine.cores // max(1, processes))
    return {
        **BACKENDS[machine.backend].row.env,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true",
    }
