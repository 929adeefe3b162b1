"""Which training of a catalogue's model fits a machine, the richest first: for lists of models."""

from __future__ import annotations

from collections.abc import Callable

from swiftbox.config.train import TrainConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.verdict import assess_fit

RICHEST_FIRST = ("full", "lora", "qlora")
NOTHING_FITS = "no"


def richest_tuner(
    settled: TrainConfig, machine: Machine
) -> Callable[[ModelProfile | None], str | None]:
    """Return what names the richest tuner that fits, `no` for none, None where no shape is known.

    `settled` is a training settled for the machine, whose tuner is changed in turn; weights are
    sharded where the machine has several devices.
    """
    tuners = [one for one in RICHEST_FIRST if one != "qlora" or supports_qlora(machine)]
    configs = {one: settled.model_copy(update={"tuner_type": one}) for one in tuners}

    def best(found: ModelProfile | None) -> str | None:
        if found is None:
            return None
        for tuner, config in configs.items():
            if found.quantized and tuner == "full":
                continue
            verdict = assess_fit(
                config, found.shape, machine, exact=found.exact, quantized=found.quantized
            )
            if verdict.outcome != "no":
                return tuner
        return NOTHING_FITS

    return best


def supports_qlora(machine: Machine) -> bool:
    """Tell whether the backend has kernels for 4-bit bases."""
    return "bnb-nf4" in BACKENDS[machine.backend].quantizers
