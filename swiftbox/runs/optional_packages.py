"""Hide installed packages from the libraries of a child process that does not use them.

transformers and peft import an optional package as soon as it is installed. For a LoRA training on
plain weights, bitsandbytes alone (it loads torch's compiler) takes a quarter of the time to the
first step. None in sys.modules is Python's documented way to make an import fail, and
importlib.util.find_spec then reports the package as not installed. The libraries take the branch
that they take on a machine without it; nothing of them is replaced.

Only a process that runs a single task may hide packages: libraries remember what they find.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

MEDIA = frozenset({"torchaudio", "torchvision"})
"""Packages for pictures and sound, which no task reads."""

BITSANDBYTES = frozenset({"bitsandbytes"})
"""It loads torch's compiler, which takes two seconds."""

SCIENCE = frozenset({"scipy", "sklearn"})
"""Packages that transformers and peft import for features that no task uses.

A package that does not fit the installed torch or numpy raises an error when it is imported, and
transformers then names one of its classes instead of the package.
"""


def hide_packages(names: Iterable[str]) -> None:
    """Make packages appear not installed, unless they are imported already."""
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is documented


def reveal_packages(names: Iterable[str]) -> None:
    """Undo hide_packages; call this before a library looks for the packages."""
    for name in names:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
