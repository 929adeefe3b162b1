"""The shape of a model whose config.json has unusual keys: a child process builds a skeleton of it.

The result is cached, so that only the first estimate waits for torch to load.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from swiftbox.architectures.tables import known_types
from swiftbox.devices.packages import version_of
from swiftbox.files import write_json
from swiftbox.fit.shape import ModelShape, shape_from_dimensions
from swiftbox.language import cache_home
from swiftbox.security.children import child_environment, source_command

TIMEOUT_S = 60
"""Importing torch from a cold network disk takes up to half a minute."""

RETRY_S = 300
"""A build that did not end is not repeated for this long: one check looks several times."""

BUILD = """
import sys
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE, hide_packages
from swiftbox.runs.heavy_imports import heavy_imports
hide_packages(BITSANDBYTES | MEDIA | SCIENCE)
with heavy_imports():
    from swiftbox.core.weights.skeleton import main
sys.exit(main())
"""
"""The child's program: a package that it does not use and that is broken must not stop it."""

VARIABLES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
}
"""The child's environment: no device, no network, no remarks."""


def skeleton_shape(
    folder: Path, config: dict[str, Any], params: float | None, *, ask: bool = True
) -> ModelShape | None:
    """Return the shape of a folder's model; None if it cannot be built without remote code.

    `params`, counted from the weight files, takes precedence over the config. Without `ask` no
    child process is started and only cached shapes are returned.
    """
    types = known_types()
    if types is None or config.get("model_type") not in types:
        return None
    cached = cache_home() / "shapes" / f"{_key(folder)}.json"
    dimensions = _cached(cached)
    if dimensions is None and ask and not _failed_recently(cached):
        dimensions = _build(folder)
        if dimensions is None:
            _failures[cached] = time.monotonic()
        else:
            with contextlib.suppress(OSError):  # the next check only takes longer
                cached.parent.mkdir(parents=True, exist_ok=True)
                write_json(cached, dimensions)
    if not dimensions:
        return None
    return shape_from_dimensions(dimensions, params=params or float(dimensions["params"]))


def _key(folder: Path) -> str:
    import hashlib

    library = version_of("transformers") or ""
    return hashlib.sha256((folder / "config.json").read_bytes() + library.encode()).hexdigest()


_failures: dict[Path, float] = {}
"""When a build did not end, by the file that would have its result."""


def _failed_recently(cached: Path) -> bool:
    failed_at = _failures.get(cached)
    return failed_at is not None and time.monotonic() - failed_at < RETRY_S


def _cached(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _build(folder: Path) -> dict[str, Any] | None:
    """Build it in a child process; return {} if it cannot be built, None if a retry may help."""
    try:
        process = subprocess.run(
            source_command(BUILD, str(folder.resolve())),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env=child_environment(variables=VARIABLES),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if process.returncode:
        return {} if process.returncode > 0 else None  # killed, for example when out of memory
    dimensions: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return dimensions
