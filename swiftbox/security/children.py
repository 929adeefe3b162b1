"""The command and the environment of every child process: no code from the current folder.

`python -m` puts the current folder first on `sys.path`, where a file named psutil.py would replace
the package. Our own Python has `-P` against that; PYTHONSAFEPATH passes it on to the processes that
a child starts (torchrun's workers, multiprocessing, the workers of compilers). An engine's Python
may be 3.10, which knows neither: it runs with `-I`, in a folder of ours. Empty and relative entries
of search paths stand for the current folder too, so they are dropped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping

from swiftbox.security.search_path import absolute_entries
from swiftbox.security.secrets import without_secrets

SAFE_PATH = "PYTHONSAFEPATH"

SEARCH_PATHS = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Lists of folders in which programs, modules and libraries are searched."""

INTERACTIVE = ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONBREAKPOINT")
"""Variables that run other code in a Python, or keep it open."""

PYTHON_FOLDERS = ("PYTHONHOME", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX")
"""Folders from which Python imports; a relative one is dropped."""


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with our own Python."""
    return [sys.executable, "-P", "-m", module, *arguments]


def source_command(source: str, *arguments: str) -> list[str]:
    """Return the command that runs a piece of Python with our own Python."""
    return [sys.executable, "-P", "-c", source, *arguments]


def child_environment(
    *, keep: Collection[str] = (), variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a child process: ours without secrets, and safe search paths.

    `keep` names the secrets that the child needs; `variables` are added.
    """
    environment = with_safe_paths(without_secrets(os.environ, keep))
    for name in INTERACTIVE:
        environment.pop(name, None)
    for name in PYTHON_FOLDERS:
        if not os.path.isabs(environment.get(name, "/")):
            del environment[name]
    return {**environment, SAFE_PATH: "1", **(variables or {})}


def with_safe_paths(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment whose search paths have no empty and no relative entries."""
    safe = dict(environment)
    for name in SEARCH_PATHS:
        if name not in safe:
            continue
        safe[name] = os.pathsep.join(absolute_entries(safe[name]))
        if not safe[name] and name != "PATH":
            del safe[name]
    return safe


def find_program(name: str) -> str | None:
    """Return the path of a program on PATH, or None; never one of the current folder."""
    import shutil

    entries = absolute_entries(os.environ.get("PATH", os.defpath))
    return shutil.which(name, path=os.pathsep.join(entries)) if entries else None
