"""The training methods: one file each, and one explicit table."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.methods.method import Method
from swiftbox.methods.pt import PT
from swiftbox.methods.sft import SFT

METHODS: Mapping[str, Method] = {"pt": PT, "sft": SFT}
