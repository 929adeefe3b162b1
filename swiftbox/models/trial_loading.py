"""Whether the stored tensors are exactly those of the class that loads them, by headers alone.

A child process loads the model without its weights, which takes seconds; its answer is kept by the
contents of config.json and of the headers. It is asked only about names that look foreign.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftbox.architectures.choice import LANGUAGE_MODEL, ClassPurpose, ModelClass, find_class
from swiftbox.devices.packages import version_of
from swiftbox.files import write_json
from swiftbox.formatting import counted
from swiftbox.language import cache_home, text
from swiftbox.models.inspection import Inspection
from swiftbox.models.requirements import ERROR, Remark
from swiftbox.models.weight_names import looks_foreign
from swiftbox.models.weight_remarks import original_file
from swiftbox.security.children import child_environment, source_command

TIMEOUT_S = 60
"""Importing torch from a cold network disk takes up to half a minute."""

RETRY_S = 300
"""A loading that did not end is not repeated for this long: one check looks several times."""

LOAD = """
import sys
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE, hide_packages
from swiftbox.runs.heavy_imports import heavy_imports
hide_packages(BITSANDBYTES | MEDIA | SCIENCE)
with heavy_imports():
    from swiftbox.core.weights.trial_load import main
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

Report = Mapping[str, list[str]]
"""Names of weights: missing, unexpected, reshaped."""


def placement_remarks(
    inspection: Inspection, purpose: ClassPurpose = LANGUAGE_MODEL
) -> Iterator[Remark]:
    """Yield what the stored tensors lack or have beyond the class that loads them.

    Models that run their own code, and quantized ones, are looked at when they are loaded.
    """
    config, tensors = inspection.config, inspection.weights.tensors
    choice = find_class(config, purpose)
    if not isinstance(choice, ModelClass) or not choice.name or "quantization_config" in config:
        return
    if not inspection.weights.is_complete:
        return
    report = _report(
        inspection, score=purpose.score, ask=looks_foreign(config, tensors, choice.name)
    )
    for kind, names in (report or {}).items():
        if names:
            message = _message(kind, names, choice)
            yield Remark(ERROR, "weights", f"{inspection.folder}: {message}", original_file())


def _message(kind: str, names: list[str], choice: Any) -> str:
    count, first = len(names), names[0]
    if kind == "incomplete":
        return text(
            f"the files lack parts of weights that {choice.name} combines, as those of experts",
            f"文件缺少 {choice.name} 加载时所合并权重的一部分，例如专家的权重",
        )
    if kind == "missing":
        return text(
            f"the files lack {counted(count, 'weight')} of {choice.name} ({first} ...), which "
            "would start at random values",
            f"文件缺少 {choice.name} 的 {count} 个权重（{first} ...），它们会从随机值开始",
        )
    if kind == "reshaped":
        return text(
            f"the shapes of {counted(count, 'weight')} are not those of {choice.name} by "
            f"config.json ({first} ...)",
            f"{count} 个权重的形状与 config.json 所定的 {choice.name} 不符（{first} ...）",
        )
    return text(
        f"the files hold {counted(count, 'weight')} that {choice.name} does not have ({first} ...)",
        f"文件中有 {count} 个权重不属于 {choice.name}（{first} ...）",
    )


def _report(inspection: Inspection, *, score: bool, ask: bool) -> Report | None:
    """Return what a loading reports: the recorded answer, or that of a child if it may be asked."""
    cached = cache_home() / "placements" / f"{_key(inspection, score=score)}.json"
    report = _cached(cached)
    if report is None and ask and not _failed_recently(cached):
        report = _load(inspection.folder, score=score)
        if report is None:
            _failures[cached] = time.monotonic()
        else:
            with contextlib.suppress(OSError):  # the next check only takes longer
                cached.parent.mkdir(parents=True, exist_ok=True)
                write_json(cached, report)
    return report


def _key(inspection: Inspection, *, score: bool) -> str:
    import hashlib

    parts = [version_of("transformers"), score, inspection.config, inspection.weights.tensors]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


_failures: dict[Path, float] = {}
"""When a loading did not end, by the file that would have its answer."""


def _failed_recently(cached: Path) -> bool:
    failed_at = _failures.get(cached)
    return failed_at is not None and time.monotonic() - failed_at < RETRY_S


def _cached(path: Path) -> Report | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _load(folder: Path, *, score: bool) -> Report | None:
    """Load it in a child process; return {} if that fails, None if a retry may help."""
    try:
        process = subprocess.run(
            source_command(LOAD, str(folder.resolve()), *(["score"] if score else [])),
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
    report: Report = json.loads(process.stdout.splitlines()[-1])
    return report
