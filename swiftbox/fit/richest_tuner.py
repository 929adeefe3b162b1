"""Which tuner fits a model on a machine, the most capable first: for lists of models."""

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
    """Return a function that names the most capable tuner that fits a profile.

    It returns `no` if none fits and None without a profile. `settled` is a training config that is
    settled for the machine; each tuner is tried with it.
    """
    tuners = [tuner for tuner in RICHEST_FIRST if tuner != "qlora" or supports_qlora(machine)]
    configs = {tuner: settled.model_copy(update={"tuner_type": tuner}) for tuner in tuners}

    def richest(profile: ModelProfile | None) -> str | None:
        if profile is None:
            return None
        for tuner, config in configs.items():
            if profile.quantized and tuner == "full":
                continue
            if assess_fit(config, profile, machine).outcome != "no":
                return tuner
        return NOTHING_FITS

    return richest


def supports_qlora(machine: Machine) -> bool:
    """Return whether the backend has kernels for 4-bit base models."""
    return "bnb-nf4" in BACKENDS[machine.backend].quantizers
