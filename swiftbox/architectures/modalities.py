"""Which tensors read pictures or sound, by their names alone."""

from __future__ import annotations

import re

TOWERS = ("vision", "visual", "audio", "image", "speech", "cross_attn")
"""Parts of names that belong to towers, or that attend to what towers read."""

PROJECTORS = ("multi_modal_projector", "connector", "merger", "vqmodel", "aligner")
"""Names of the layers between a tower and the decoder."""

EXTRA = re.compile(r"(^|\.)(mtp([._].*)?|\w*inv_freq|position_ids)$")
"""Tensors that no class takes: layers that predict several tokens at once, old constants."""


def reads_other_modality(name: str) -> bool:
    """Tell whether a tensor belongs to a tower or to a projector."""
    parts = name.split(".")
    return any(part in PROJECTORS for part in parts) or any(
        tower in part for part in parts for tower in TOWERS
    )
