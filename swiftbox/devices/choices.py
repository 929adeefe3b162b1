"""Decisions that depend on the machine, each with its reason; pure functions of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swiftbox.devices.backends import (
    BACKENDS,
    DTYPES,
    OPTIMIZERS,
    QUANTIZERS,
    STRATEGIES,
)
from swiftbox.devices.machine import Machine
from swiftbox.devices.selection import device_selection, peer_environment
from swiftbox.errors import MachineError
from swiftbox.language import text


@dataclass(frozen=True)
class Choice:
    """A value and why it was chosen."""

    value: str
    reason: str


def require(machine: Machine, capability: str, key: str, value: str, *, instead: str = "") -> None:
    """Raise MachineError unless backend, devices and packages all allow `key: value`.

    The message is the reason of the backend row, the hint is the fix: `instead`, or `key: auto`.
    """
    other = instead or text(f"set {key}: auto", f"设 {key}: auto")
    if lacking := lacks(machine, capability):
        raise MachineError(_because(f"{key}: {value}", lacking), hint=other)
    cell = BACKENDS[machine.backend].cell(capability)
    if cell.package and cell.package not in machine.versions:
        name = cell.package
        line = text(
            f"pip install {cell.install}, or {other}", f"pip install {cell.install}，或{other}"
        )
        raise MachineError(
            text(
                f"{key}: {value}: {name} is not installed; {cell.reason()}",
                f"{key}: {value}：未安装 {name}；{cell.reason()}",
            ),
            hint=line if cell.install else other,
        )


def _can(machine: Machine, capability: str) -> bool:
    """Tell whether the backend, the devices and the installed packages have a capability."""
    package = BACKENDS[machine.backend].cell(capability).package
    return not lacks(machine, capability) and (not package or package in machine.versions)


def lacks(machine: Machine, capability: str) -> str:
    """Return why the backend or a device lacks a capability; empty if none does."""
    backend = BACKENDS[machine.backend]
    if not backend.can(capability):
        return backend.refusal(capability)
    cell = backend.cell(capability)
    for device in machine.devices:
        if not cell.covers(device.capability):
            name = f"{device.name} ({device.capability})" if device.capability else device.name
            return _because(name, cell.reason())
    return ""


def choose_dtype(machine: Machine, requested: str) -> Choice:
    """Choose the data type: bfloat16 where every device has it, else float16; float32 on a CPU.

    A CPU stays with float32 even where it has bfloat16: it is exact, gives every CPU the same
    plan, and casting costs small models what the faster products win. Raises MachineError for a
    type that a device lacks.
    """
    if requested == "auto":
        return _best_dtype(machine)
    require(machine, DTYPES[requested], "dtype", requested)
    native = machine.devices or _cpu_has_bfloat16(machine)
    if requested == "bfloat16" and not native:
        why = BACKENDS[machine.backend].cell(DTYPES[requested]).reason()
        return Choice(requested, text(f"as requested; {why}", f"按要求；{why}"))
    return Choice(requested, as_requested())


def _best_dtype(machine: Machine) -> Choice:
    backend = BACKENDS[machine.backend]
    if not machine.devices:
        exact = text("exact", "精确")
        if _cpu_has_bfloat16(machine):
            exact = text(
                "exact; this CPU has bfloat16 too, which halves the memory",
                "精确；此 CPU 也支持 bfloat16，可省一半内存",
            )
        return Choice("float32", exact)
    missing = ""
    for dtype in ("bfloat16", "float16"):
        lacking = lacks(machine, DTYPES[dtype])
        if not lacking:
            reason = backend.cell(DTYPES[dtype]).reason()
            return Choice(dtype, missing or _because(_generation(machine), reason))
        missing = missing or lacking
    return Choice("float32", missing)


def _because(subject: str, reason: str) -> str:
    return text(f"{subject}: {reason}", f"{subject}：{reason}")


def _generation(machine: Machine) -> str:
    return ", ".join(sorted({device.capability or device.name for device in machine.devices}))


def _cpu_has_bfloat16(machine: Machine) -> bool:
    cell = BACKENDS["cpu"].cell(DTYPES["bfloat16"])
    return cell.covers(" ".join(machine.cpu_features))


def as_requested() -> str:
    """Return the reason of a value that is used as the user set it."""
    return text("as requested", "按要求")


def choose_optimizer(machine: Machine, requested: str, dtype: str = "") -> Choice:
    """Choose the optimizer: fused AdamW where the backend has it without reservation.

    Raises MachineError for an optimizer that the backend lacks, or lacks in this data type.
    """
    fused = "adamw_torch_fused"
    cell = BACKENDS[machine.backend].cell(OPTIMIZERS[fused])
    is_unconditional = cell.supported == "yes"
    if requested == "auto":
        return Choice(fused if is_unconditional else "adamw_torch", cell.reason())
    if requested in OPTIMIZERS:
        require(machine, OPTIMIZERS[requested], "optim", requested)
    if requested == fused and not is_unconditional and dtype == "float16":
        raise MachineError(
            _because(f"optim: {requested}", cell.reason()),
            hint=text("set optim: auto", "设 optim: auto"),
        )
    return Choice(requested, as_requested())


def pages_states(backend: str) -> bool:
    """Whether optimizer states in managed memory leave a full device without special settings."""
    return backend == "cuda"


def choose_quantizer(machine: Machine, method: str, bits: int | None) -> Choice:
    """Choose the bits of a quantized base, 4 by default.

    Raises MachineError if the backend cannot train on weights quantized that way.
    """
    row = method if method != "bnb" else f"bnb-{'int8' if bits == 8 else 'nf4'}"
    methods = {"bnb-nf4": "bnb", "bnb-int8": "bnb"}
    usable = (name for name, capability in QUANTIZERS.items() if _can(machine, capability))
    others = dict.fromkeys(methods.get(name, name) for name in usable)
    fix = text("set tuner_type: lora without quant_bits", "设 tuner_type: lora 且不设 quant_bits")
    if alternatives := [name for name in others if name != method]:
        listed = " | ".join(alternatives)
        fix += text(
            f", or take a base that comes quantized (quant_method: {listed})",
            f"，或换用已量化的基座（quant_method: {listed}）",
        )
    require(machine, QUANTIZERS[row], "tuner_type", f"qlora ({row})", instead=fix)
    reason = BACKENDS[machine.backend].cell(QUANTIZERS[row]).reason() or as_requested()
    return Choice(str(bits or 4), reason)


def choose_distributed(machine: Machine, requested: str, devices: int | None = None) -> Choice:
    """Choose the strategy for `devices` devices (default: all); one needs none.

    Raises MachineError for a strategy that the backend or a single device does not support.
    """
    count = max(1, len(machine.devices)) if devices is None else devices
    if requested == "auto":
        return _best_distributed(machine, count)
    if requested == "none":
        return Choice(requested, as_requested())
    if count < 2 and not lacks(machine, STRATEGIES[requested]):
        raise _too_few_devices(machine, requested)
    require(machine, STRATEGIES[requested], "distributed", requested)
    return Choice(requested, as_requested())


def _too_few_devices(machine: Machine, requested: str) -> MachineError:
    """Return the error for one device; more of them are proposed where there are more."""
    available = len(machine.devices)
    problem = text("this machine has one", "本机只有一个")
    hint = text("set distributed: auto", "设 distributed: auto")
    if available != 1:  # a CPU takes as many processes as are requested
        problem = text("num_devices is 1", "而 num_devices 为 1") if available else problem
        count = available or 2
        hint += text(f", or num_devices: {count}", f"，或 num_devices: {count}")
    return MachineError(
        text(
            f"distributed: {requested} needs several devices; {problem}",
            f"distributed：{requested} 需要多个设备，{problem}",
        ),
        hint=hint,
    )


def _best_distributed(machine: Machine, count: int) -> Choice:
    if count > 1:
        if lacking := lacks(machine, STRATEGIES["ddp"]):
            return Choice("none", lacking)
        why = text(f"{count} devices, each with the whole model", f"{count} 个设备，各持完整模型")
        return Choice("ddp", why)
    if not machine.devices:
        why = text("no accelerator; one process uses all cores", "没有加速卡；一个进程使用所有核")
        return Choice("none", why)
    return Choice("none", text("one device", "单个设备"))


def choose_checkpointing(machine: Machine, requested: str) -> Choice:
    """Choose whether activations are recomputed: yes on accelerators, no on CPUs."""
    if requested != "auto":
        return Choice(requested, as_requested())
    if machine.devices:
        why = text(
            "device memory is scarce; takes about a third more time", "显存有限；约多用三分之一时间"
        )
        return Choice("true", why)
    return Choice("false", text("main memory is ample", "内存充裕"))


def collective(machine: Machine) -> Choice:
    """Return the communication library between the backend's devices."""
    backend = BACKENDS[machine.backend]
    return Choice(backend.collective, backend.cell("collective_backend").reason())


def environment(
    machine: Machine, processes: int, *, devices: int | None = None
) -> Mapping[str, str]:
    """Return the environment of a run's processes, which share the cores.

    `devices` is the number of devices that they use, by default one a process.
    """
    threads = max(1, machine.cores // max(1, processes))
    return {
        **BACKENDS[machine.backend].env,
        **device_selection(machine, processes if devices is None else devices),
        **peer_environment(machine, processes),
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true",
    }
