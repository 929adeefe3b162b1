"""One tool with pins of its own: what pip is told, what the machine must have, how it is tried."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.devices.backends import BACKENDS
from swiftbox.language import text

EVERYWHERE = "*"
"""The key of what holds for every backend that has no entry of its own."""


FEW_CORES = 4


@dataclass(frozen=True)
class SystemPackage:
    """Something that pip cannot bring: how to tell whether it is there, and its packages."""

    name: str
    is_there: Callable[[], bool]
    apt: str
    dnf: str
    brew: str


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in ("gcc", "cc", "clang"))


def _has_python_headers() -> bool:
    import sysconfig

    return (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def _has_pcre2_headers() -> bool:
    roots = ("/usr/include", "/usr/local/include", "/opt/homebrew/include")
    return any((Path(root) / "pcre2.h").is_file() for root in roots)


COMPILER = SystemPackage("a C compiler", _has_compiler, "gcc g++", "gcc gcc-c++", "gcc")
PYTHON_HEADERS = SystemPackage(
    "Python.h",
    _has_python_headers,
    f"python3.{sys.version_info.minor}-dev",
    f"python3.{sys.version_info.minor}-devel",
    f"python@3.{sys.version_info.minor}",
)
PCRE2 = SystemPackage("pcre2.h", _has_pcre2_headers, "libpcre2-dev", "pcre2-devel", "pcre2")


@dataclass(frozen=True)
class Engine:
    """A row of the table of engines.

    `requirements` are what follows `pip install`, by backend, with exact pins; where a backend has
    none, the install cell of `capability` in backends.csv speaks. `torch` is put in first, from
    the index of the machine's kind, and pinned on every later command; empty: the tool wants none,
    or brings its own. `late` comes in a second step, with `late_options`: packages whose build
    needs what the first step brought.
    """

    name: str
    about: tuple[str, str]
    """What it is for, in English and Chinese."""
    selftest: str
    """Python that is run in the environment: imports the tool and uses it a little."""
    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capability: str = ""
    """The column of backends.csv that tells where it runs; empty: `backends` tells."""
    backends: tuple[str, ...] = ("cuda", "rocm", "npu", "mps", "cpu")
    torch: str = ""
    late: tuple[str, ...] = ()
    late_options: tuple[str, ...] = ("--no-build-isolation",)
    system: tuple[SystemPackage, ...] = ()
    python: tuple[int, int] = (10, 14)
    """The first and the last minor version of Python 3 that it installs into."""
    size_bytes: Mapping[str, int] = field(default_factory=dict)
    """What the environment takes on the disk, by backend or for all."""
    measured: tuple[str, ...] = ()
    """The backends whose size was measured; the others are estimates from the wheels' sizes."""
    minutes: float = 5
    """About how long an install takes on a link of 100 Mbit/s."""
    tools: tuple[str, ...] = ()
    """The scripts of tools/ that run in it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What its processes want in their environment; what the user set stands."""
    env_on_few_cores: Mapping[str, str] = field(default_factory=dict)
    """The same where there are fewer than FEW_CORES."""

    def what_for(self) -> str:
        """Return what it is for, in the current language."""
        return text(*self.about)

    def environment(self) -> dict[str, str]:
        """Return what its processes want in their environment on this machine."""
        few = (os.cpu_count() or 1) < FEW_CORES
        return {**self.env, **(self.env_on_few_cores if few else {})}

    def packages(self, backend: str) -> tuple[str, ...]:
        """Return what follows `pip install` in the first step; empty where pip cannot bring it."""
        named = self.requirements.get(backend, self.requirements.get(EVERYWHERE))
        if named is not None:
            return named
        return tuple(BACKENDS[backend].cell(self.capability).install.split())

    def torch_packages(self, backend: str) -> tuple[str, ...]:
        """Return the requirement of torch, with the plugin that teaches it the backend."""
        if not self.torch:
            return ()
        plugin = BACKENDS[backend].plugin.replace("_", "-")
        more = (f"{plugin}=={self.torch}", "decorator") if plugin else ()
        return (f"torch=={self.torch}", *more)

    def wanted(self, backend: str) -> tuple[str, ...]:
        """Return all that is asked of pip, the key of a finished install."""
        return (*self.torch_packages(backend), *self.packages(backend), *self.late)

    def pins(self, backend: str) -> dict[str, str]:
        """Return the exact versions that are asked for, by distribution name."""
        found = {}
        for one in self.wanted(backend):
            name, pinned, version = one.partition("==")
            if pinned:
                found[canonical(name.partition("[")[0])] = version
        return found

    def refusal(self, backend: str) -> str:
        """Return why it is not for a backend; empty where it can be installed."""
        if self.capability:
            row = BACKENDS[backend]
            if not row.can(self.capability) or not self.packages(backend):
                return row.refusal(self.capability)
        elif backend not in self.backends:
            return text(
                f"{self.name} is not known to run on {backend}",
                f"{self.name} 未确认可在 {backend} 上运行",
            )
        return ""

    def size(self, backend: str) -> int:
        """Return about how many bytes of disk the environment takes."""
        return self.size_bytes.get(backend, self.size_bytes.get(EVERYWHERE, 0))


def canonical(name: str) -> str:
    """Return a distribution's name as metadata folders spell it: lm-eval -> lm_eval."""
    return re.sub(r"[-_.]+", "_", name).lower()
