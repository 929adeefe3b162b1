"""What an engine's install needs: the backend, a Python, system packages, disk space."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.engine import Engine, SystemPackage
from swiftbox.errors import MachineError
from swiftbox.files import require_room
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.security.children import child_environment, find_program

TORCH_INDEX = "SWIFTBOX_TORCH_INDEX"
CUDA_LIBRARIES = 4_500_000_000
"""Bytes that Linux's default torch takes beyond a CPU build, unpacked; from the wheels' sizes."""

SPARE = 1.3
"""pip unpacks and builds beside the target before it moves the files there."""

PRINT_MINOR_VERSION = "import sys, ensurepip, venv; print(sys.version_info[1])"


def require_installable(
    engine: Engine, backend: str, folder: Path, *, existing_bytes: int = 0
) -> None:
    """Raise MachineError for whatever prevents installing an engine on this machine."""
    if refusal := engine.refusal(backend):
        raise MachineError(
            text(
                f"engine {engine.name} cannot be installed for {backend}: {refusal}",
                f"无法为 {backend} 安装引擎 {engine.name}：{refusal}",
            ),
            hint=text(
                "`swiftbox engines` lists what each engine needs",
                "`swiftbox engines` 列出各引擎的要求",
            ),
        )
    if engine.torch:
        _require_torch_index(backend)
    _require_system_packages(engine)
    _require_room(engine, backend, folder, existing_bytes)


def _require_torch_index(backend: str) -> None:
    """The default torch is a CUDA build: other toolkits have separate wheel indexes."""
    if "--index-url" in BACKENDS[backend].install and not os.environ.get(TORCH_INDEX):
        raise MachineError(
            text(
                f"torch for {backend} needs {TORCH_INDEX}: the default torch is another build",
                f"安装 {backend} 版 torch 需要设置 {TORCH_INDEX}：默认的 torch 是其他版本",
            ),
            hint=BACKENDS[backend].refusal("torch_wheel"),
        )


def _require_system_packages(engine: Engine) -> None:
    missing = [package for package in engine.system if not package.is_installed()]
    if missing:
        names = ", ".join(package.name for package in missing)
        raise MachineError(
            text(
                f"engine {engine.name} is compiled on this machine and needs {names}",
                f"引擎 {engine.name} 需要在本机编译，缺少 {names}",
            ),
            hint=install_command(missing),
        )


def install_command(missing: list[SystemPackage]) -> str:
    """Return the command that installs system packages with this machine's package manager."""
    if find_program("apt-get"):
        return "sudo apt-get install " + " ".join(package.apt for package in missing)
    if find_program("dnf"):
        return "sudo dnf install " + " ".join(package.dnf for package in missing)
    if find_program("brew"):
        return "brew install " + " ".join(package.brew for package in missing)
    return " ".join(package.apt for package in missing)


def _require_room(engine: Engine, backend: str, folder: Path, existing_bytes: int) -> None:
    def refusal(needed: int, free: int) -> MachineError:
        return MachineError(
            text(
                f"engine {engine.name} needs about {size(needed)}; {size(free)} free at {folder}",
                f"引擎 {engine.name} 大约需要 {size(needed)}，而 {folder} 只剩 {size(free)}",
            ),
            hint=text(
                "free some space, or move swiftbox's folder: SWIFTBOX_HOME=/big/disk/swiftbox",
                "请腾出空间，或更换目录：SWIFTBOX_HOME=/big/disk/swiftbox",
            ),
        )

    require_room(folder, int(disk_bytes(engine, backend) * SPARE) - existing_bytes, refusal)


def torch_is_large(engine: Engine, backend: str) -> bool:
    """Tell whether pip is likely to install CUDA libraries that the backend does not use.

    That is so if the torch that swiftbox runs on came with them and no other index is named.
    """
    if not engine.torch or BACKENDS[backend].toolkit or os.environ.get(TORCH_INDEX):
        return False
    folder = host.torch_folder()
    return folder is not None and bool(host.torch_build(folder).get("cuda"))


def disk_bytes(engine: Engine, backend: str) -> int:
    """Return about how many bytes of disk an engine takes on this machine."""
    return engine.size(backend) + torch_is_large(engine, backend) * CUDA_LIBRARIES


def find_python(engine: Engine, minor: int | None = None) -> str:
    """Return a Python that the engine installs into, our own first; raise MachineError.

    `minor` asks for exactly that version: the packages of an environment were installed for it.
    """
    first, last = engine.python if minor is None else (minor, minor)
    for name in _candidates(first, last):
        process = subprocess.run(
            [name, "-I", "-c", PRINT_MINOR_VERSION],
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        version = process.stdout.strip()
        if process.returncode == 0 and version.isdigit() and first <= int(version) <= last:
            return name
    raise MachineError(
        text(
            f"engine {engine.name} needs Python 3.{first} to 3.{last} with its venv module",
            f"引擎 {engine.name} 需要带 venv 模块的 Python 3.{first} 至 3.{last}",
        ),
        hint=text(
            "install one, or name it: SWIFTBOX_PYTHON=/path/to/python3",
            "请安装，或指定：SWIFTBOX_PYTHON=/path/to/python3",
        ),
    )


def _candidates(first: int, last: int) -> Iterator[str]:
    if first <= sys.version_info.minor <= last:
        yield sys.executable
    names = (
        os.environ.get("SWIFTBOX_PYTHON", ""),
        *(f"python3.{minor}" for minor in range(last, first - 1, -1)),
    )
    for name in names:
        if name and (path := find_program(name)):
            yield path
