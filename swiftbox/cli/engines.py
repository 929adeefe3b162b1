"""`engines`: list, install, test and remove the tools that need isolated environments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from swiftbox.cli.output import (
    DONE,
    FAILED,
    answer,
    answer_json,
    note,
    say,
)
from swiftbox.engines import ENGINES
from swiftbox.engines.consent import confirm, install_cost
from swiftbox.engines.engine import Engine
from swiftbox.engines.install import install, remove
from swiftbox.engines.lock import coverage
from swiftbox.engines.preconditions import disk_bytes, require_installable, torch_is_large
from swiftbox.engines.self_test import self_test
from swiftbox.engines.state import EngineState, engine_named, engine_state, read_marker
from swiftbox.errors import MachineError
from swiftbox.formatting import duration, size, table_row
from swiftbox.language import text

WIDTHS = (9, 11, 9, 48)


def engines(options: argparse.Namespace) -> int:
    """Run an action on engines."""
    actions: dict[str | None, Callable[[argparse.Namespace], int]] = {
        None: list_engines,
        "list": list_engines,
        "install": install_engine,
        "remove": remove_engine,
        "test": verify_engines,
    }
    return actions[options.action](options)


def backend_here() -> str:
    """Name the backend of this machine."""
    from swiftbox.devices.probe import probe

    return probe(Path.cwd()).backend


def described(engine: Engine, backend: str) -> dict[str, Any]:
    """Return the lines of one engine in the list."""
    current = engine_state(engine.name)
    refusal = engine.refusal(backend)
    installed = current.status == "installed"
    needed_bytes = 0 if refusal else disk_bytes(engine, backend)
    return {
        "name": engine.name,
        "about": engine.purpose(),
        "status": current.status,
        "reason": current.reason or (refusal if current.status == "absent" else ""),
        "can_install": not refusal,
        "versions": dict(current.versions),
        "wanted": [] if refusal else list(engine.requested(backend)),
        "size_bytes": current.size_bytes if installed else needed_bytes,
        "size_is": "measured" if installed or backend in engine.measured else "estimated",
        "folder": str(current.folder),
    }


def list_engines(options: argparse.Namespace) -> int:
    """List the engines: state, size, purpose, versions or the reason why not."""
    backend = backend_here()
    rows = [described(engine, backend) for engine in ENGINES.values()]
    if getattr(options, "json", False):
        answer_json(rows)
        return DONE
    head = (text("engine", "引擎"), text("state", "状态"), text("size", "大小"))
    answer(table_row((*head, text("purpose", "用途")), WIDTHS, right=(2,)))
    for row in rows:
        disk = size(row["size_bytes"]) if row["size_bytes"] else ""
        mark = "~" if disk and row["size_is"] == "estimated" else ""
        cells = (row["name"], status_of(row), mark + disk, row["about"])
        answer(table_row(cells, WIDTHS, right=(2,)))
        if row["reason"]:
            answer(f"  {row['reason'].splitlines()[0]}")
        elif row["versions"]:
            answer(versions_line(row["versions"]))
    say(text("~: estimated; next: ", "~：估计值；下一步：") + "swiftbox engines install NAME")
    return DONE


def versions_line(versions: Mapping[str, str]) -> str:
    """Write as many versions as fit in 80 columns."""
    line = " "
    for name, version in versions.items():
        if len(line) + len(name) + len(version) > 74:
            return line + " ..."
        line += f" {name} {version}"
    return line


def status_of(row: Mapping[str, Any]) -> str:
    """Name the state of an engine."""
    if row["status"] == "absent" and not row["can_install"]:
        return text("unsupported", "不适用")
    names = {
        "installed": text("installed", "已安装"),
        "incomplete": text("incomplete", "不完整"),
        "absent": text("absent", "未安装"),
    }
    return names[row["status"]]


# ---- install


def install_engine(options: argparse.Namespace) -> int:
    """Install an engine after showing its size; resume an interrupted installation."""
    engine, backend = engine_named(options.name), backend_here()
    current = engine_state(engine.name)
    recorded = read_marker(current.folder).get("backend")
    up_to_date = current.status == "installed" and recorded == backend
    if not up_to_date and not agreed_to_install(engine, backend, current, options):
        return FAILED
    try:
        current = install(engine.name, backend, say=say)
    except KeyboardInterrupt:
        say_resumable(engine.name)
        raise
    if options.json:
        answer_json({"ok": True, **described(engine, backend)})
        return DONE
    details = size(current.size_bytes)
    if not up_to_date:
        details += ", " + duration(read_marker(current.folder)["seconds"])
    answer(text(f"{engine.name} is installed ({details})", f"{engine.name} 已安装（{details}）"))
    answer(f"  {current.folder}")
    return DONE


def agreed_to_install(
    engine: Engine, backend: str, current: EngineState, options: argparse.Namespace
) -> bool:
    """Check that the engine can be installed, show its size, and ask for consent."""
    require_installable(engine, backend, current.folder, existing_bytes=current.size_bytes)
    say_what_comes(engine, backend, current)
    if options.yes or not sys.stdin.isatty():
        return True
    return confirm(text("Install?", "是否安装？"))


def say_what_comes(engine: Engine, backend: str, current: EngineState) -> None:
    """Report what is installed, where, and how much disk it uses."""
    purpose = engine.purpose()
    say(text(f"{engine.name}: {purpose}", f"{engine.name}：{purpose}"))
    if current.reason:
        say(text(f"incomplete: {current.reason}", f"目前不完整：{current.reason}"))
    say(
        text(f"into {current.folder}, ", f"装入 {current.folder}，") + install_cost(engine, backend)
    )
    say(" ".join(engine.requested(backend)))
    say(coverage(engine, backend))
    if torch_is_large(engine, backend):
        note(
            text(
                "torch on this machine brought CUDA libraries, so this one may too (about "
                "4.2 GiB more); SWIFTBOX_TORCH_INDEX=URL names an index of CPU builds",
                "本机的 torch 带有 CUDA 库，此次也可能如此（约多 4.2 GiB）；"
                "可用 SWIFTBOX_TORCH_INDEX=URL 指定 CPU 版的源",
            )
        )


def say_resumable(name: str) -> None:
    """Report how to continue an interrupted installation."""
    command = f"swiftbox engines install {name}"
    say(text(f"stopped; `{command}` resumes", f"已停止；运行 `{command}` 可继续安装"))


# ---- remove and test


def remove_engine(options: argparse.Namespace) -> int:
    """Delete an engine after asking."""
    current = engine_state(options.name)
    if current.status != "absent" and not options.yes and not agreed_to_remove(current):
        raise MachineError(
            text("nothing was removed yet", "尚未删除任何内容"),
            hint=text("add --yes to delete it", "加上 --yes 才会删除"),
        )
    freed_bytes = remove(options.name)
    if options.json:
        answer_json({"ok": True, "name": options.name, "freed_bytes": freed_bytes})
    elif freed_bytes:
        freed = size(freed_bytes)
        answer(
            text(f"removed {options.name}: {freed} freed", f"已删除 {options.name}，释放 {freed}")
        )
    else:
        answer(text(f"{options.name} is not installed", f"{options.name} 未安装"))
    return DONE


def agreed_to_remove(current: EngineState) -> bool:
    """Ask whether to delete an engine; without a terminal it is kept."""
    say(f"{current.folder}")
    return sys.stdin.isatty() and confirm(text("Delete it?", "是否删除？"))


def verify_engines(options: argparse.Namespace) -> int:
    """Verify one engine, or all that are installed; the exit code tells whether all work."""
    names = [options.name] if options.name else installed_names()
    results = {name: self_test(engine_named(name).name) for name in names}
    if options.json:
        answer_json(
            [
                {"name": name, "ok": result.ok, "problem": result.problem, "cure": result.cure}
                for name, result in results.items()
            ]
        )
    elif not names:
        say(text("no engine is installed", "没有已安装的引擎"))
    else:
        for name, result in results.items():
            print_test(name, result)
    return DONE if all(result.ok for result in results.values()) else FAILED


def installed_names() -> list[str]:
    """Return the engines that are installed, or partly so."""
    return [name for name in ENGINES if engine_state(name).status != "absent"]


def print_test(name: str, result: Any) -> None:
    """Print the result of a self-test and how to repair the engine."""
    if result.ok:
        seconds = duration(result.seconds)
        answer(text(f"{name}: intact ({seconds})", f"{name}：完好（{seconds}）"))
        return
    answer(text(f"{name}: {result.problem}", f"{name}：{result.problem}"))
    answer(text(f"  repair: {result.cure}", f"  修复：{result.cure}"))
