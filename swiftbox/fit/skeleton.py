"""The shape of an architecture whose config.json has names of its own: a child builds it, once.

The answer is kept, so that only the first look at a model takes the seconds of loading torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from swiftbox.devices.packages import version_of
from swiftbox.files import write_json
from swiftbox.fit.shape import ModelShape, shape_from_dimensions
from swiftbox.language import home
from swiftbox.models.requirements import known_types

LONGEST_S = 60
"""Importing torch from a cold network disk takes half a minute at worst."""


def skeleton_shape(
    folder: Path, config: dict[str, Any], params: float | None, *, ask: bool = True
) -> ModelShape | None:
    """Return the shape of a folder's model; None where it cannot be built without its own code.

    `params` is what the weights on the disk say, which goes before what the config says. Without
    `ask` no child is started: only what an earlier look kept is known.
    """
    known = known_types()
    if known is None or config.get("model_type") not in known:
        return None
    kept = home() / "shapes" / f"{_key(folder)}.json"
    found = _recall(kept)
    if found is None and ask:
        found = _ask(folder)
        if found is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, found)
    if not found:
        return None
    return shape_from_dimensions(found, params=params or float(found["params"]))


def _key(folder: Path) -> str:
    library = version_of("transformers") or ""
    return hashlib.sha256((folder / "config.json").read_bytes() + library.encode()).hexdigest()


def _recall(kept: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _ask(folder: Path) -> dict[str, Any] | None:
    """Let a child build it; empty where it cannot be built, None where that may change."""
    command = [sys.executable, "-m", "swiftbox.core.weights.skeleton", str(folder.resolve())]
    silent = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
            check=False,
            env={**silent, "CUDA_VISIBLE_DEVICES": "", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode:
        return {} if done.returncode > 0 else None  # killed, as for want of memory
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
