"""The free memory of devices that a probe has described before, as the driver's tool shows it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Any

from swiftbox.devices.backends import BACKENDS
from swiftbox.security.children import child_environment, find_program

NVIDIA_SMI_TIMEOUT_S = 2
"""Asking torch takes longer than this only where its import is slow."""


@dataclass(frozen=True)
class _Card:
    """A line of nvidia-smi."""

    uuid: str
    name: str
    free_bytes: int


def with_free_memory(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return an earlier answer with the memory that is free now.

    None if the tool cannot tell: for other backends, for parts of a card (MIG) and for devices that
    do not match the lines of nvidia-smi. torch must then be asked again.
    """
    if not answer["devices"] or BACKENDS[answer["backend"]].shares_memory:
        return answer  # no number of the device's is used
    chosen = _chosen(_cards()) if answer["backend"] == "cuda" else []
    if [card.name for card in chosen] != [device["name"] for device in answer["devices"]]:
        return None
    devices = [
        {**device, "free_bytes": card.free_bytes}
        for device, card in zip(answer["devices"], chosen, strict=True)
    ]
    return {**answer, "devices": devices}


def _cards() -> list[_Card]:
    tool = find_program("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=uuid,name,memory.free", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(
            command,
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
            check=True,
        ).stdout
        return [_card(line) for line in output.splitlines()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def _card(line: str) -> _Card:
    uuid, _, rest = line.partition(", ")
    name, _, mebibytes = rest.rpartition(", ")
    return _Card(uuid, name, int(mebibytes) * 2**20)


def _chosen(cards: list[_Card]) -> list[_Card]:
    """Return the cards that the user's variable selects, in its order; empty if one is unknown.

    An entry is a number or the start of a UUID. CUDA allows a start that is unique.
    """
    entries = os.environ.get(BACKENDS["cuda"].visible_devices_env, "")
    if not entries:
        return cards
    chosen: list[_Card] = []
    for entry in entries.split(","):
        name = entry.strip()
        is_number = name.isdigit() and int(name) < len(cards)
        matching = [
            card for card in cards if name.startswith("GPU-") and card.uuid.startswith(name)
        ]
        if is_number:
            matching = [cards[int(name)]]
        if len(matching) != 1:
            return []
        chosen += matching
    return chosen
