"""Install and remove the environment of an engine; cut anywhere, it is gone on with."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swiftbox.engines.engine import Engine
from swiftbox.engines.marker import (
    MARKER,
    State,
    find,
    folder_of,
    installed_in,
    packages_in,
    python_in,
    read_marker,
    state,
)
from swiftbox.engines.needs import TORCH_INDEX, interpreter, require
from swiftbox.engines.pip import Say, pip_install
from swiftbox.engines.self_test import damaged_in, problem_of
from swiftbox.errors import MachineError
from swiftbox.files import read_json, write_json
from swiftbox.language import text

BEGUN = "swiftbox-begun.json"
"""What the environment was begun for; without it a folder is not ours to change."""

TEMPORARY = ".tmp"


def install(name: str, backend: str, *, say: Say) -> State:
    """Make an engine whole: nothing is done when it is, else what is missing is installed.

    Raises MachineError where it cannot be had here, for two installs at once, for pip's failures
    and for a self-test that fails.
    """
    engine, folder = find(name), folder_of(name)
    with _held(name):
        found = state(name)
        if found.status == "installed" and read_marker(folder).get("backend") == backend:
            return found
        began = time.monotonic()
        _require_ours(folder)
        require(engine, backend, folder, there_bytes=bytes_in(folder))
        (folder / MARKER).unlink(missing_ok=True)
        _make(engine, backend, folder, say)
        try:
            _fill(engine, backend, folder, say)
        finally:
            shutil.rmtree(folder / TEMPORARY, ignore_errors=True)
        _finish(engine, backend, folder, say, began)
    return state(name)


def _require_ours(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / BEGUN).is_file():
        raise MachineError(
            text(f"{folder} was not made by swiftbox", f"{folder} 不是 swiftbox 建立的"),
            hint=text("move it away", "请将其移走"),
        )


def _make(engine: Engine, backend: str, folder: Path, say: Say) -> None:
    """Make the virtual environment, keep it, or give it a living Python again."""
    begun = read_json(folder / BEGUN)
    same = begun.get("folder") == str(folder) and begun.get("backend") == backend
    if begun.get("ready") and same:
        if _answers(folder):
            return
        with contextlib.suppress(MachineError):
            python = interpreter(engine, int(begun["minor"]))
            say(text("  giving it a Python again", "  重新关联 Python"))
            for link in (folder / "bin").glob("python*"):
                link.unlink()
            _venv(python, folder, "--without-pip")  # its pip is there
            if _answers(folder):
                return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    about: dict[str, Any] = {"engine": engine.name, "backend": backend, "folder": str(folder)}
    write_json(folder / BEGUN, {**about, "ready": False})
    _venv(interpreter(engine), folder)
    packages = packages_in(folder)
    minor = int(packages.parent.name.rpartition(".")[2]) if packages else 0
    write_json(folder / BEGUN, {**about, "ready": True, "minor": minor})


def _venv(python: str, folder: Path, *options: str) -> None:
    made = subprocess.run(
        [python, "-I", "-m", "venv", *options, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise MachineError(
            text(f"cannot make {folder}", f"无法建立 {folder}")
            + f"\n{(made.stdout + made.stderr).strip()[-1000:]}",
            hint=f"{python} -m venv",
        )


def _answers(folder: Path) -> bool:
    python = python_in(folder)
    if not python.exists():
        return False
    asked = [str(python), "-I", "-m", "pip", "--version"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _fill(engine: Engine, backend: str, folder: Path, say: Say) -> None:
    """Install what is asked for, in as few steps as it can be had in."""
    _sweep(folder)
    temporary = folder / TEMPORARY
    temporary.mkdir(exist_ok=True)
    torch = engine.torch_packages(backend)
    if torch and installed_in(folder).get("torch", "").partition("+")[0] != engine.torch:
        say(text(f"torch {engine.torch} for {backend}", f"{backend} 版 torch {engine.torch}"))
        index = os.environ.get(TORCH_INDEX)
        pip_install(folder, torch[:1], say, temporary=temporary, index=index)
    say(" ".join(engine.packages(backend)))
    pip_install(folder, (*torch, *engine.packages(backend)), say, temporary=temporary)
    if engine.late:
        say(" ".join(engine.late))
        words = (*torch, *engine.packages(backend), *engine.late, *engine.late_options)
        pip_install(folder, words, say, temporary=temporary)


def _sweep(folder: Path) -> None:
    """Take away what makes pip believe that a package is whole which is not."""
    packages = packages_in(folder)
    if packages is None:
        return
    for name in damaged_in(folder):
        for info in packages.glob("*.dist-info"):
            if info.name.lower().replace("-", "_").replace(".", "_").startswith(f"{name}_"):
                shutil.rmtree(info)
    for left in packages.glob("~*"):  # of an uninstall that was cut
        shutil.rmtree(left, ignore_errors=True)


def _finish(engine: Engine, backend: str, folder: Path, say: Say, began: float) -> None:
    say(text("trying it", "自检"))
    problem = problem_of(engine, backend)
    if problem:
        raise MachineError(
            text(
                f"engine {engine.name} is installed, but {problem}",
                f"引擎 {engine.name} 已安装，但{problem}",
            ),
            hint=text(
                f"`swiftbox engines remove {engine.name}`, then install it again",
                f"先 `swiftbox engines remove {engine.name}`，再重新安装",
            ),
        )
    about = {
        "engine": engine.name,
        "backend": backend,
        "folder": str(folder),
        "wanted": list(engine.wanted(backend)),
        "versions": installed_in(folder),
        "python": read_json(folder / BEGUN).get("minor"),
        "size_bytes": bytes_in(folder),
        "seconds": round(time.monotonic() - began, 1),
        "installed": time.time(),
    }
    write_json(folder / MARKER, about)


def remove(name: str) -> int:
    """Delete an engine's environment; return how many bytes that freed."""
    find(name)
    folder = folder_of(name)
    with _held(name):
        aside = folder.with_name(f".{name}.removed")
        freed = bytes_in(folder) + bytes_in(aside)
        if folder.is_dir():
            _require_ours(folder)
            shutil.rmtree(aside, ignore_errors=True)
            folder.replace(aside)  # cut from here on, nothing that looks like an engine is left
        shutil.rmtree(aside, ignore_errors=True)
        _lock_of(name).unlink(missing_ok=True)
    return freed


def bytes_in(folder: Path) -> int:
    """Return how much of the disk a folder takes."""
    total, left = 0, [folder]
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for one in entries:
                if one.is_dir(follow_symlinks=False):
                    left.append(Path(one.path))
                else:
                    total += one.stat(follow_symlinks=False).st_blocks * 512
    return total


def _lock_of(name: str) -> Path:
    return folder_of(name).with_name(f".{name}.lock")


@contextlib.contextmanager
def _held(name: str) -> Iterator[None]:
    """Hold an engine for one process; the kernel lets go of it with the process."""
    import fcntl

    path = _lock_of(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise MachineError(
            text(
                f"cannot write into {path.parent}: {error.strerror}",
                f"无法写入 {path.parent}：{error.strerror}",
            ),
            hint=text(
                "name another folder: SWIFTBOX_HOME=/big/disk/swiftbox",
                "请更换目录：SWIFTBOX_HOME=/big/disk/swiftbox",
            ),
        ) from None
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MachineError(
                    text(
                        f"engine {name} is being installed or removed by another process",
                        f"另一个进程正在安装或删除引擎 {name}",
                    ),
                    hint=text("wait for it", "请等待其完成"),
                ) from None
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return
        # It was removed between opening and locking, and holds nobody off.
