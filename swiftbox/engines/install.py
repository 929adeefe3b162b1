"""Install and remove the environment of an engine; an interrupted install is continued."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swiftbox.engines.engine import Engine
from swiftbox.engines.lock import CHECKED, locked_lines
from swiftbox.engines.pip import Say, pip_install
from swiftbox.engines.preconditions import TORCH_INDEX, find_python, require_installable
from swiftbox.engines.self_test import damaged_packages, find_problem
from swiftbox.engines.state import (
    MARKER,
    EngineState,
    engine_folder,
    engine_named,
    engine_state,
    installed_versions,
    interpreter_path,
    read_marker,
    site_packages,
)
from swiftbox.errors import MachineError
from swiftbox.files import LockedError, file_lock, read_json, write_json
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.security.children import child_environment

BEGUN = "swiftbox-begun.json"
"""What the environment was begun for; a folder without it is never changed."""

TEMPORARY = ".tmp"


def install(name: str, backend: str, *, say: Say) -> EngineState:
    """Install what an engine lacks; does nothing if it is complete.

    Raises MachineError if it cannot be installed on this machine, if another process installs it,
    if pip fails and if the self-test fails.
    """
    engine, folder = engine_named(name), engine_folder(name)
    with _lock(name):
        state = engine_state(name)
        if state.status == "installed" and read_marker(folder).get("backend") == backend:
            return state
        started = time.monotonic()
        _require_created_by_us(folder)
        require_installable(engine, backend, folder, existing_bytes=folder_bytes(folder))
        (folder / MARKER).unlink(missing_ok=True)
        _create_environment(engine, backend, folder, say)
        try:
            _install_packages(engine, backend, folder, say)
        finally:
            shutil.rmtree(folder / TEMPORARY, ignore_errors=True)
        _finish(engine, backend, folder, say, started)
    return engine_state(name)


def _require_created_by_us(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / BEGUN).is_file():
        raise MachineError(
            text(f"{folder} was not created by swiftbox", f"{folder} 不是 swiftbox 建立的"),
            hint=text("move it away", "请将其移走"),
        )


def _create_environment(engine: Engine, backend: str, folder: Path, say: Say) -> None:
    """Create the virtual environment, keep it, or relink it to a Python that starts."""
    begun = read_json(folder / BEGUN)
    is_same = begun.get("folder") == str(folder) and begun.get("backend") == backend
    if begun.get("ready") and is_same and _repaired(engine, folder, int(begun["minor"]), say):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    record: dict[str, Any] = {"engine": engine.name, "backend": backend, "folder": str(folder)}
    write_json(folder / BEGUN, {**record, "ready": False})
    _create_venv(find_python(engine), folder)
    packages = site_packages(folder)
    minor = int(packages.parent.name.rpartition(".")[2]) if packages else 0
    write_json(folder / BEGUN, {**record, "ready": True, "minor": minor})


def _repaired(engine: Engine, folder: Path, minor: int, say: Say) -> bool:
    """Tell whether an environment starts, after linking it to another Python if it did not."""
    if _starts(folder):
        return True
    with contextlib.suppress(MachineError):
        python = find_python(engine, minor)
        say(text("  linking it to a Python that starts", "  重新关联 Python"))
        for link in (folder / "bin").glob("python*"):
            link.unlink()
        _create_venv(python, folder, "--without-pip")  # its pip is installed
        return _starts(folder)
    return False


def _create_venv(python: str, folder: Path, *options: str) -> None:
    process = subprocess.run(
        [python, "-I", "-m", "venv", *options, str(folder)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise MachineError(
            text(f"cannot create {folder}", f"无法建立 {folder}")
            + f"\n{(process.stdout + process.stderr).strip()[-1000:]}",
            hint=text(
                f"`{python} -m venv {folder}` must work: install the venv module of this Python "
                "(python3-venv), or name another one: SWIFTBOX_PYTHON=/path/to/python3",
                f"`{python} -m venv {folder}` 须能运行：请安装该 Python 的 venv 模块"
                "（python3-venv），或换用其他 Python：SWIFTBOX_PYTHON=/path/to/python3",
            ),
        )


def _starts(folder: Path) -> bool:
    python = interpreter_path(folder)
    if not python.exists():
        return False
    command = [str(python), "-I", "-m", "pip", "--version"]
    process = subprocess.run(command, env=child_environment(), capture_output=True, check=False)
    return process.returncode == 0


def _install_packages(engine: Engine, backend: str, folder: Path, say: Say) -> None:
    """Install the pinned packages, in as few steps as their builds allow."""
    _remove_damaged(folder)
    temporary = folder / TEMPORARY
    temporary.mkdir(exist_ok=True)
    torch = engine.torch_packages(backend)
    if torch and installed_versions(folder).get("torch", "").partition("+")[0] != engine.torch:
        say(text(f"torch {engine.torch} for {backend}", f"{backend} 版 torch {engine.torch}"))
        index = os.environ.get(TORCH_INDEX)
        variables = {"PIP_INDEX_URL": index} if index else {}
        pip_install(folder, torch[:1], say, temporary=temporary, variables=variables)
    say(" ".join(engine.packages(backend)))
    _install_checked(folder, engine.packages(backend), say)
    pip_install(folder, (*torch, *engine.packages(backend)), say, temporary=temporary)
    if engine.late:
        say(" ".join(engine.late))
        _install_checked(folder, engine.late, say, engine=engine)
        late = (*torch, *engine.packages(backend), *engine.late, *engine.late_options)
        variables = engine.build_environment()
        pip_install(folder, late, say, temporary=temporary, variables=variables)


def _install_checked(
    folder: Path, requirements: Sequence[str], say: Say, *, engine: Engine | None = None
) -> None:
    """Install the releases that the lock holds, if their files have the sha256 that it says.

    Their dependencies follow in the next step, which leaves these releases as they are. `engine`
    is that of releases whose build has its options and variables.
    """
    lines = locked_lines(requirements)
    if not lines:
        return
    say(
        text(f"  {counted(len(lines), 'package')} by sha256", f"  按 sha256 核对 {len(lines)} 个包")
    )
    temporary = folder / TEMPORARY
    file = temporary / "locked.txt"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    options = engine.late_options if engine else ()
    variables = engine.build_environment() if engine else {}
    arguments = (*CHECKED, "-r", str(file), *options)
    pip_install(folder, arguments, say, temporary=temporary, variables=variables)


def _remove_damaged(folder: Path) -> None:
    """Delete the metadata of damaged packages, so that pip installs them again."""
    packages = site_packages(folder)
    if packages is None:
        return
    for name in damaged_packages(folder):
        for info in packages.glob("*.dist-info"):
            if info.name.lower().replace("-", "_").replace(".", "_").startswith(f"{name}_"):
                shutil.rmtree(info)
    for leftover in packages.glob("~*"):  # of an interrupted uninstall
        shutil.rmtree(leftover, ignore_errors=True)


def _finish(engine: Engine, backend: str, folder: Path, say: Say, started: float) -> None:
    """Run the self-test and write the marker of a complete install."""
    say(text("self-test", "自检"))
    problem = find_problem(engine, backend)
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
    record = {
        "engine": engine.name,
        "backend": backend,
        "folder": str(folder),
        "wanted": list(engine.requested(backend)),
        "versions": installed_versions(folder),
        "python": read_json(folder / BEGUN).get("minor"),
        "size_bytes": folder_bytes(folder),
        "seconds": round(time.monotonic() - started, 1),
        "installed": time.time(),
    }
    write_json(folder / MARKER, record)


def remove(name: str) -> int:
    """Delete an engine's environment; return how many bytes that freed."""
    engine_named(name)
    folder = engine_folder(name)
    with _lock(name):
        trash = folder.with_name(f".{name}.removed")
        freed = folder_bytes(folder) + folder_bytes(trash)
        if folder.is_dir():
            _require_created_by_us(folder)
            shutil.rmtree(trash, ignore_errors=True)
            folder.replace(trash)  # an interruption from here on leaves nothing like an engine
        shutil.rmtree(trash, ignore_errors=True)
        _lock_file(name).unlink(missing_ok=True)
    return freed


def folder_bytes(folder: Path) -> int:
    """Return how many bytes of disk a folder takes."""
    total, pending = 0, [folder]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _lock_file(name: str) -> Path:
    return engine_folder(name).with_name(f".{name}.lock")


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    """Lock an engine for this process; raise MachineError if another process has it."""
    path = _lock_file(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise MachineError(
            text(
                f"cannot write to {path.parent}: {error.strerror}",
                f"无法写入 {path.parent}：{error.strerror}",
            ),
            hint=text(
                "choose another folder: SWIFTBOX_HOME=/big/disk/swiftbox",
                "请更换目录：SWIFTBOX_HOME=/big/disk/swiftbox",
            ),
        ) from None
    try:
        with file_lock(path, wait=False):
            yield
    except LockedError:
        raise MachineError(
            text(
                f"engine {name} is being installed or removed by another process",
                f"另一个进程正在安装或删除引擎 {name}",
            ),
            hint=text("wait for it", "请等待其完成"),
        ) from None
