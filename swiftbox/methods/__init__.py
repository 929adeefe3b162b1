"""The training methods: one file for each, listed in one table."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.lazy import imported
from swiftbox.methods.method import Method

METHODS: Mapping[str, Method] = imported(
    "swiftbox.methods",
    {
        "pt": "pt:PT",
        "sft": "sft:SFT",
        "dpo": "dpo:DPO",
        "orpo": "orpo:ORPO",
        "simpo": "simpo:SIMPO",
        "cpo": "cpo:CPO",
        "kto": "kto:KTO",
        "gkd": "gkd:GKD",
        "reward": "reward:REWARD",
        "classification": "classification:CLASSIFICATION",
        "grpo": "grpo:GRPO",
    },
)
