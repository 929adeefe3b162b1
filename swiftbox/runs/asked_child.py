"""Ask a child process what only torch knows of a model, and keep its answer.

Importing torch takes seconds, which a check spends once for each model, and says.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.devices.packages import version_of
from swiftbox.files import write_json
from swiftbox.language import cache_home
from swiftbox.runs.waiting import reported_wait
from swiftbox.security.children import child_environment, source_command

TIMEOUT_S = 300
"""Importing torch from a cold network disk takes up to half a minute, on a busy machine more."""

RETRY_S = 300
"""A child that did not end is not started again for this long: one check looks several times."""

PROGRAM = """
import sys
from importlib import import_module
from swiftbox.runs.optional_packages import BITSANDBYTES, MEDIA, SCIENCE, hide_packages
from swiftbox.runs.heavy_imports import heavy_imports
hide_packages(BITSANDBYTES | MEDIA | SCIENCE)
with heavy_imports():
    module = import_module(sys.argv.pop(1))
sys.exit(module.main())
"""
"""The child's program: a package that it does not use and that is broken must not stop it."""

VARIABLES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
}
"""The child's environment: no device, no network, no remarks."""

NOT_KEPT = "lacking"
"""The key of an answer about packages that this machine lacks: it is asked for again."""

LIBRARIES = ("swiftbox", "torch", "transformers", "peft")
"""Packages that an answer depends on: ours looks at what the others make."""


@dataclass(frozen=True)
class ChildQuestion:
    """What a child process is asked."""

    module: str
    """A module of the core, whose `main` prints a JSON object in the last line."""
    arguments: Sequence[str]
    topic: str
    """The folder of the cache for such answers."""
    depends_on: Any
    """What the answer depends on besides LIBRARIES, as JSON."""
    purpose: str
    """What the user waits for, without the seconds."""
    program: Sequence[str] = ()
    """Another program that answers in the last line, in place of our Python with the module."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the child."""

    def answer(self, *, ask: bool = True) -> dict[str, Any] | None:
        """Return the recorded answer, or with `ask` that of a child.

        It is empty if the child failed; None if there is no answer, but a later try may have one.
        """
        record = cache_home() / self.topic / f"{self._digest()}.json"
        answer = _recorded(record)
        if answer is None and ask and not _failed_recently(record):
            answer = self._ask()
            if answer is None:
                _failures[record] = time.monotonic()
            elif NOT_KEPT not in answer:
                with contextlib.suppress(OSError):  # the next check only takes longer
                    record.parent.mkdir(parents=True, exist_ok=True)
                    write_json(record, answer)
        return answer

    def _digest(self) -> str:
        import hashlib  # takes milliseconds; most checks ask nothing

        parts = [*map(version_of, LIBRARIES), self.depends_on]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _ask(self) -> dict[str, Any] | None:
        try:
            with reported_wait(self.purpose):
                process = subprocess.run(
                    [*(self.program or source_command(PROGRAM, self.module)), *self.arguments],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=TIMEOUT_S,
                    check=False,
                    env=child_environment(variables={**VARIABLES, **self.variables}),
                )
        except (OSError, subprocess.SubprocessError):
            return None
        if process.returncode:
            return {} if process.returncode > 0 else None  # killed, for example when out of memory
        return answer_in(process.stdout)


def answer_in(output: str) -> dict[str, Any] | None:
    """Return the object on the last line of what a child printed; None without one."""
    try:
        answer = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):  # a library wrote after the answer
        return None
    return answer if isinstance(answer, dict) else None


_failures: dict[Path, float] = {}
"""When a child did not end, by the file that would have its answer."""


def _failed_recently(record: Path) -> bool:
    failed_at = _failures.get(record)
    return failed_at is not None and time.monotonic() - failed_at < RETRY_S


def _recorded(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
