"""What must hold before an engine is installed: the backend, a Python, system packages, room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.engine import Engine, SystemPackage
from swiftbox.errors import MachineError
from swiftbox.language import text

TORCH_INDEX = "SWIFTBOX_TORCH_INDEX"
CUDA_LIBRARIES = 4_500_000_000
"""What the default torch of Linux brings beyond a CPU build, unpacked; from the wheels' sizes."""

SPARE = 1.3
"""pip unpacks and builds beside the target before it moves what it made there."""

SAY_VERSION = "import sys, ensurepip, venv; print(sys.version_info[1])"


def require(engine: Engine, backend: str, folder: Path, *, there_bytes: int = 0) -> None:
    """Raise MachineError for whatever keeps an engine from being installed here."""
    if refusal := engine.refusal(backend):
        raise MachineError(
            text(
                f"engine {engine.name} cannot be installed for {backend}: {refusal}",
                f"无法为 {backend} 安装引擎 {engine.name}：{refusal}",
            )
        )
    if engine.torch:
        _require_index(backend)
    _require_system(engine)
    _require_room(engine, backend, folder, there_bytes)


def _require_index(backend: str) -> None:
    """PyPI's default torch is a CUDA build: other toolkits have an index of their own."""
    if "--index-url" in BACKENDS[backend].install and not os.environ.get(TORCH_INDEX):
        raise MachineError(
            text(
                f"torch for {backend} needs {TORCH_INDEX}: the default torch is another build",
                f"安装 {backend} 版 torch 需要设置 {TORCH_INDEX}：默认的 torch 是其他版本",
            ),
            hint=BACKENDS[backend].refusal("torch_wheel"),
        )


def _require_system(engine: Engine) -> None:
    missing = [one for one in engine.system if not one.is_there()]
    if missing:
        names = ", ".join(one.name for one in missing)
        raise MachineError(
            text(
                f"engine {engine.name} is built here and needs {names}",
                f"引擎 {engine.name} 需要在本机编译，缺少 {names}",
            ),
            hint=install_line(missing),
        )


def install_line(missing: list[SystemPackage]) -> str:
    """Return the command that installs system packages with the machine's own manager."""
    if shutil.which("apt-get"):
        return "sudo apt-get install " + " ".join(one.apt for one in missing)
    if shutil.which("dnf"):
        return "sudo dnf install " + " ".join(one.dnf for one in missing)
    if shutil.which("brew"):
        return "brew install " + " ".join(one.brew for one in missing)
    return " ".join(one.apt for one in missing)


def _require_room(engine: Engine, backend: str, folder: Path, there_bytes: int) -> None:
    need = int(disk_bytes(engine, backend) * SPARE) - there_bytes
    above = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(above).free
    if free < need:
        raise MachineError(
            text(
                f"engine {engine.name} needs about {need / 1e9:.1f} GB, and {above} has "
                f"{free / 1e9:.1f} GB free",
                f"引擎 {engine.name} 大约需要 {need / 1e9:.1f} GB，而 {above} 只剩 "
                f"{free / 1e9:.1f} GB",
            ),
            hint=text(
                "free some room, or move swiftbox's folder: SWIFTBOX_HOME=/big/disk/swiftbox",
                "请腾出空间，或更换目录：SWIFTBOX_HOME=/big/disk/swiftbox",
            ),
        )


def torch_is_large(engine: Engine, backend: str) -> bool:
    """Tell whether pip is likely to bring CUDA libraries that the backend has no use for.

    It is where the torch that swiftbox runs on came with them, and no other index is named.
    """
    if not engine.torch or BACKENDS[backend].toolkit or os.environ.get(TORCH_INDEX):
        return False
    folder = host.torch_folder()
    return folder is not None and bool(host.torch_build(folder).get("cuda"))


def disk_bytes(engine: Engine, backend: str) -> int:
    """Return about how much of the disk an engine takes on this machine."""
    return engine.size(backend) + torch_is_large(engine, backend) * CUDA_LIBRARIES


def interpreter(engine: Engine, minor: int | None = None) -> str:
    """Return a Python that the engine installs into, our own first; raise MachineError.

    `minor` asks for that very version: what stands in an environment was made for it.
    """
    first, last = engine.python if minor is None else (minor, minor)
    for name in _candidates(first, last):
        done = subprocess.run(
            [name, "-I", "-c", SAY_VERSION], capture_output=True, text=True, check=False
        )
        said = done.stdout.strip()
        if done.returncode == 0 and said.isdigit() and first <= int(said) <= last:
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
    named = (
        os.environ.get("SWIFTBOX_PYTHON", ""),
        *(f"python3.{n}" for n in range(last, first - 1, -1)),
    )
    for name in named:
        if name and (found := shutil.which(name)):
            yield found
