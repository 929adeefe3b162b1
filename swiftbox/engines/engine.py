"""One engine: what pip installs, what the machine must have, how it is tested."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.devices.backends import BACKENDS
from swiftbox.language import text
from swiftbox.security.children import find_program

EVERYWHERE = "*"
"""The key for every backend without an entry."""

FEW_CORES = 4

CMAKE_ARGS = "CMAKE_ARGS"
CMAKE_JOBS = "CMAKE_BUILD_PARALLEL_LEVEL"


@dataclass(frozen=True)
class SystemPackage:
    """A package that pip cannot install: how to detect it, and its name per package manager."""

    name: str
    is_installed: Callable[[], bool]
    apt: str
    dnf: str
    brew: str


def _has_compiler() -> bool:
    return any(find_program(name) for name in ("gcc", "cc", "clang"))


def _has_cxx_compiler() -> bool:
    return any(find_program(name) for name in ("g++", "c++", "clang++"))


def _has_python_headers() -> bool:
    import sysconfig

    return (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def _has_pcre2_headers() -> bool:
    roots = ("/usr/include", "/usr/local/include", "/opt/homebrew/include")
    return any((Path(root) / "pcre2.h").is_file() for root in roots)


COMPILER = SystemPackage("a C compiler", _has_compiler, "gcc g++", "gcc gcc-c++", "gcc")
CXX_COMPILER = SystemPackage("a C++ compiler", _has_cxx_compiler, "g++", "gcc-c++", "gcc")
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

    `requirements` are the arguments of `pip install`, by backend, with exact pins; for a backend
    without any, the install cell of `capability` in backends.csv counts. `torch` is installed
    first, from the wheel index of the backend, and pinned on every later command; empty if the
    tool needs none or installs its own. `late` are packages whose build needs the earlier ones;
    they are installed in a second step, with `late_options`.
    """

    name: str
    about: tuple[str, str]
    """What it is for, in English and Chinese."""
    selftest: str
    """Python code that runs in the environment: imports the tool and uses it briefly."""
    requirements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capability: str = ""
    """The column of backends.csv that says where it runs; if empty, `backends` says it."""
    backends: tuple[str, ...] = ("cuda", "rocm", "npu", "mps", "cpu")
    torch: str = ""
    late: tuple[str, ...] = ()
    late_options: tuple[str, ...] = ("--no-build-isolation",)
    build_env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its builds; the user's own CMAKE_ARGS are added to them."""
    system: tuple[SystemPackage, ...] = ()
    python: tuple[int, int] = (10, 14)
    """The first and the last minor version of Python 3 that it supports."""
    size_bytes: Mapping[str, int] = field(default_factory=dict)
    """Disk space of the environment, by backend or for all."""
    measured: tuple[str, ...] = ()
    """Backends whose size was measured; the others are estimated from the wheels."""
    minutes: float = 5
    """Approximate duration of an install at 100 Mbit/s."""
    tools: tuple[str, ...] = ()
    """The scripts of tools/ that run in it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its processes; the user's own settings win."""
    env_on_few_cores: Mapping[str, str] = field(default_factory=dict)
    """Additional ones on machines with fewer than FEW_CORES cores."""

    def purpose(self) -> str:
        """Return its purpose in the current language."""
        return text(*self.about)

    def environment(self) -> dict[str, str]:
        """Return the environment variables of its processes on this machine."""
        few = (os.cpu_count() or 1) < FEW_CORES
        return {**self.env, **(self.env_on_few_cores if few else {})}

    def build_environment(self) -> dict[str, str]:
        """Return the environment variables of its builds on this machine."""
        if not self.build_env:
            return {}
        arguments = f"{os.environ.get(CMAKE_ARGS, '')} {self.build_env.get(CMAKE_ARGS, '')}"
        jobs = os.environ.get(CMAKE_JOBS) or str(os.cpu_count() or 1)
        return {CMAKE_JOBS: jobs, **self.build_env, CMAKE_ARGS: arguments.strip()}

    def packages(self, backend: str) -> tuple[str, ...]:
        """Return the arguments of the first `pip install`; empty if pip cannot install it."""
        packages = self.requirements.get(backend, self.requirements.get(EVERYWHERE))
        if packages is not None:
            return packages
        return tuple(BACKENDS[backend].cell(self.capability).install.split())

    def torch_packages(self, backend: str) -> tuple[str, ...]:
        """Return the requirement for torch, and for the plugin that adds the backend to it."""
        if not self.torch:
            return ()
        plugin = BACKENDS[backend].plugin.replace("_", "-")
        plugins = (f"{plugin}=={self.torch}", "decorator") if plugin else ()
        return (f"torch=={self.torch}", *plugins)

    def requested(self, backend: str) -> tuple[str, ...]:
        """Return all arguments of pip; an install made with others is incomplete."""
        return (*self.torch_packages(backend), *self.packages(backend), *self.late)

    def pins(self, backend: str) -> dict[str, str]:
        """Return the pinned versions, by distribution name."""
        versions = {}
        for requirement in self.requested(backend):
            name, is_pinned, version = requirement.partition("==")
            if is_pinned:
                versions[canonical(name.partition("[")[0])] = version
        return versions

    def refusal(self, backend: str) -> str:
        """Return why it cannot be installed for a backend; empty if it can."""
        if self.capability:
            row = BACKENDS[backend]
            if not row.can(self.capability) or not self.packages(backend):
                return row.refusal(self.capability)
        elif backend not in self.backends:
            return text(
                f"{self.name} has not been confirmed to run on {backend}",
                f"{self.name} 未确认可在 {backend} 上运行",
            )
        return ""

    def size(self, backend: str) -> int:
        """Return the approximate disk space of the environment in bytes."""
        return self.size_bytes.get(backend, self.size_bytes.get(EVERYWHERE, 0))


def canonical(name: str) -> str:
    """Return a distribution's name as metadata folders spell it: `lm-eval` -> `lm_eval`."""
    return re.sub(r"[-_.]+", "_", name).lower()
