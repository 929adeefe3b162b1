"""The training methods: one file each, and one explicit table."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.methods.cpo import CPO
from swiftbox.methods.dpo import DPO
from swiftbox.methods.grpo import GRPO
from swiftbox.methods.kto import KTO
from swiftbox.methods.method import Method
from swiftbox.methods.orpo import ORPO
from swiftbox.methods.pt import PT
from swiftbox.methods.reward import REWARD
from swiftbox.methods.sft import SFT
from swiftbox.methods.simpo import SIMPO

METHODS: Mapping[str, Method] = {
    "pt": PT,
    "sft": SFT,
    "dpo": DPO,
    "orpo": ORPO,
    "simpo": SIMPO,
    "cpo": CPO,
    "kto": KTO,
    "reward": REWARD,
    "grpo": GRPO,
}
