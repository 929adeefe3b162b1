"""What `swiftbox engines` does: list, install, test and remove tools with pins of their own."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from swiftbox.cli.verbs import answer, say
from swiftbox.engines import ENGINES
from swiftbox.engines.consent import confirm, install_cost
from swiftbox.engines.engine import Engine
from swiftbox.engines.environment import (
    State,
    disk_bytes,
    find,
    install,
    remove,
    require,
    self_test,
    state,
    torch_is_large,
)
from swiftbox.engines.marker import read_marker
from swiftbox.errors import MachineError, UserError
from swiftbox.language import text
from swiftbox.menu.options.models import gigabytes, table_line

WIDTHS = (9, 11, 8, 49)
NOT_WELL = 1


def engines(options: argparse.Namespace) -> int:
    """Do what is asked of the engines."""
    actions = {None: _list, "list": _list, "install": _install, "remove": _remove, "test": _test}
    try:
        return actions[options.action](options)
    except UserError as error:
        if not getattr(options, "json", False):
            raise
        answer(json.dumps({"ok": False, "error": error.message, "hint": error.hint}))
        return 2


def _backend() -> str:
    from swiftbox.devices.probe import probe

    return probe(Path.cwd()).backend


def described(engine: Engine, backend: str) -> dict[str, Any]:
    """Return what a list of engines shows of one."""
    found = state(engine.name)
    refusal = engine.refusal(backend)
    there = found.status == "installed"
    return {
        "name": engine.name,
        "about": engine.what_for(),
        "status": found.status,
        "reason": found.reason or (refusal if found.status == "absent" else ""),
        "can_install": not refusal,
        "versions": dict(found.versions),
        "wanted": [] if refusal else list(engine.wanted(backend)),
        "size_bytes": found.size_bytes if there else 0 if refusal else disk_bytes(engine, backend),
        "size_is": "measured" if there or backend in engine.measured else "estimated",
        "folder": str(found.folder),
    }


def _list(options: argparse.Namespace) -> int:
    backend = _backend()
    rows = [described(one, backend) for one in ENGINES.values()]
    if getattr(options, "json", False):
        answer(json.dumps(rows, ensure_ascii=False))
        return 0
    head = (text("engine", "引擎"), text("state", "状态"), text("size", "大小"))
    answer(table_line((*head, text("what for", "用途")), WIDTHS, (2,)))
    for row in rows:
        size = "" if row["size_bytes"] == 0 else gigabytes(row["size_bytes"])
        mark = "" if row["size_is"] == "measured" or not size else "~"
        cells = (row["name"], _status(row), mark + size, row["about"])
        answer(table_line(cells, WIDTHS, (2,)))
        if row["reason"]:
            answer(f"  {row['reason'].splitlines()[0]}")
        elif row["versions"]:
            answer(_versions(row["versions"]))
    say(text("~: estimated; next: ", "~：估计值；下一步：") + "swiftbox engines install NAME")
    return 0


def _versions(said: dict[str, str]) -> str:
    """Write as many versions as a line of 80 has room for."""
    line = " "
    for name, version in said.items():
        if len(line) + len(name) + len(version) > 74:
            return line + " ..."
        line += f" {name} {version}"
    return line


def _status(row: dict[str, Any]) -> str:
    if row["status"] == "absent" and not row["can_install"]:
        return text("not here", "不适用")
    named = {
        "installed": text("installed", "已安装"),
        "incomplete": text("incomplete", "不完整"),
        "absent": text("absent", "未安装"),
    }
    return named[row["status"]]


def _install(options: argparse.Namespace) -> int:
    engine, backend = find(options.name), _backend()
    found = state(engine.name)
    fresh = found.status == "installed" and read_marker(found.folder).get("backend") == backend
    if not fresh:
        require(engine, backend, found.folder, there_bytes=found.size_bytes)
        _say_what_comes(engine, backend, found)
        if not options.yes and sys.stdin.isatty() and not confirm(text("Install?", "安装吗？")):
            return NOT_WELL
    try:
        found = install(engine.name, backend, say=say)
    except KeyboardInterrupt:
        say(
            text(
                f"stopped; `swiftbox engines install {engine.name}` goes on from here",
                f"已停止；`swiftbox engines install {engine.name}` 会从这里继续",
            )
        )
        raise
    if options.json:
        answer(json.dumps({"ok": True, **described(engine, backend)}, ensure_ascii=False))
        return 0
    took = "" if fresh else f", {read_marker(found.folder)['seconds']:.0f} s"
    size = gigabytes(found.size_bytes) + took
    answer(text(f"{engine.name} is installed ({size})", f"{engine.name} 已安装（{size}）"))
    answer(f"  {found.folder}")
    return 0


def _say_what_comes(engine: Engine, backend: str, found: State) -> None:
    say(f"{engine.name}: {engine.what_for()}")
    if found.reason:
        say(text(f"it is incomplete: {found.reason}", f"目前不完整：{found.reason}"))
    say(text(f"into {found.folder}, ", f"装入 {found.folder}，") + install_cost(engine, backend))
    say(" ".join(engine.wanted(backend)))
    if torch_is_large(engine, backend):
        say(
            text(
                "note: the torch here brought CUDA libraries, so this one may too (about 4.5 GB "
                "more); SWIFTBOX_TORCH_INDEX=URL names an index of CPU builds",
                "提示：本机的 torch 带有 CUDA 库，此次也可能如此（约多 4.5 GB）；"
                "可用 SWIFTBOX_TORCH_INDEX=URL 指定 CPU 版的源",
            )
        )


def _remove(options: argparse.Namespace) -> int:
    found = state(options.name)
    if found.status != "absent" and not options.yes and not _agreed(found):
        raise MachineError(
            text("nothing was removed yet", "尚未删除任何内容"),
            hint=text("add --yes to delete it", "加上 --yes 才会删除"),
        )
    freed = remove(options.name)
    if options.json:
        answer(json.dumps({"ok": True, "name": options.name, "freed_bytes": freed}))
    elif freed:
        size = gigabytes(freed)
        answer(text(f"removed {options.name}: {size} freed", f"已删除 {options.name}，释放 {size}"))
    else:
        answer(text(f"{options.name} is not installed", f"{options.name} 未安装"))
    return 0


def _agreed(found: State) -> bool:
    say(f"{found.folder}")
    return sys.stdin.isatty() and confirm(text("Delete it?", "删除吗？"))


def _test(options: argparse.Namespace) -> int:
    names = (
        [options.name]
        if options.name
        else [one for one in ENGINES if state(one).status != "absent"]
    )
    verdicts = {name: self_test(find(name).name) for name in names}
    if options.json:
        found = [
            {"name": name, "ok": one.ok, "problem": one.problem, "cure": one.cure}
            for name, one in verdicts.items()
        ]
        answer(json.dumps(found, ensure_ascii=False))
    else:
        for name, one in verdicts.items():
            if one.ok:
                answer(
                    text(f"{name}: whole ({one.seconds} s)", f"{name}：完好（{one.seconds} 秒）")
                )
            else:
                answer(f"{name}: {one.problem}")
                answer(text(f"  cure: {one.cure}", f"  修复：{one.cure}"))
        if not names:
            say(text("no engine is installed", "没有已安装的引擎"))
    return 0 if all(one.ok for one in verdicts.values()) else NOT_WELL
