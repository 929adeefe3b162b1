"""Which training of a catalogue's model fits a machine, the richest first: for lists of models."""

from __future__ import annotations

from collections.abc import Callable

from swiftbox.config.train import TrainConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.host import versions
from swiftbox.devices.machine import Device, Machine
from swiftbox.errors import ConfigError
from swiftbox.fit.source import of_row
from swiftbox.fit.verdict import judge
from swiftbox.hub.catalogue import Model
from swiftbox.language import text

GIB = 2**30
RICHEST_FIRST = ("full", "lora", "qlora")
NOTHING = "no"


def fit_of(settled: TrainConfig, machine: Machine) -> Callable[[Model], str | None]:
    """Return what names the richest tuner that fits, `no` for none, None where nothing is known.

    `settled` is a training settled for the machine, whose tuner is changed in turn; weights are
    sharded where the machine has several devices.
    """
    tuners = [one for one in RICHEST_FIRST if one != "qlora" or able_of_qlora(machine)]
    configs = {one: settled.model_copy(update={"tuner_type": one}) for one in tuners}

    def best(row: Model) -> str | None:
        found = of_row(row)
        if found is None:
            return None
        for tuner, config in configs.items():
            if found.quantized and tuner == "full":
                continue
            verdict = judge(
                config, found.shape, machine, exact=found.exact, quantized=found.quantized
            )
            if verdict.word != "no":
                return tuner
        return NOTHING

    return best


def able_of_qlora(machine: Machine) -> bool:
    """Tell whether the backend has kernels for 4-bit bases."""
    return "bnb-nf4" in BACKENDS[machine.backend].quantizers


def imagined(words: str) -> Machine:
    """Return the machine that `cuda:24`, `cuda:80x8`, `npu:64`, `mps:32` or `cpu:64` describes.

    GiB of each device, and how many; for a CPU and a Mac the memory of the machine.
    """
    backend, _, rest = words.partition(":")
    size, _, count = rest.partition("x")
    try:
        memory, devices = round(float(size) * GIB), int(count or 1)
    except ValueError:
        memory, devices = 0, 0
    if backend not in BACKENDS or memory <= 0 or devices < 1:
        raise ConfigError(
            text(f"--on {words}: no such machine", f"--on {words}：无法识别"),
            hint=text(
                "write cuda:24, cuda:80x8, rocm:192, npu:64, mps:32 or cpu:64 (GiB x devices)",
                "写作 cuda:24、cuda:80x8、rocm:192、npu:64、mps:32 或 cpu:64（GiB x 设备数）",
            ),
        )
    there = (
        ()
        if backend == "cpu"
        else tuple(
            Device(at, backend, memory, memory, "9.0" if backend == "cuda" else "")
            for at in range(devices)
        )
    )
    host = memory if backend in ("cpu", "mps") else 4 * memory * devices
    return Machine(backend, there, 16, host, host, 10**13, versions=versions())
