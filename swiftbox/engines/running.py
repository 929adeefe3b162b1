"""Run a tool of an engine: files and words go in, events come out, nothing is left running."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.engines.environment import python_of
from swiftbox.engines.guarded import Guarded, how_it_ended
from swiftbox.engines.marker import find
from swiftbox.errors import RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs.events import Emit

TOOLS = Path(__file__).with_name("tools")

END_WITHIN_S = 20.0
"""For a tool that was asked to stop to end by itself; then its process group is killed."""

SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


class ToolStopped(Exception):
    """`stop` was set while the tool ran; its processes are gone and it gave no result.

    Not a UserError: nothing is wrong. A task's `run` returns None for it, which is "stopped".
    """


def run_tool(
    engine: str,
    tool: str,
    request: Mapping[str, Any],
    folder: Path,
    emit: Emit,
    *,
    stop: threading.Event | None = None,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run `tools/TOOL.py` with the Python of an engine; return the JSON of its result file.

    The request goes to FOLDER/TOOL.request.json, with the path of FOLDER/TOOL.result.json under
    "result"; the script is given the request's path as its only word. Its lines on standard output
    that are JSON objects with "event" are passed to `emit`; all else it says goes to standard
    error, which is the log of a run. It works in FOLDER: paths in a request are absolute. Secrets
    go by `env` alone.

    Raises MachineError when the engine is not installed; RunError for a result with "error" (and
    "hint"), an exit code other than 0, or no result, with the tool's last words; ToolStopped when
    `stop` was set: the process group is sent SIGTERM, and SIGKILL after END_WITHIN_S.
    """
    python, row = python_of(engine), find(engine)
    folder = folder.absolute()
    asked, result = folder / f"{tool}.request.json", folder / f"{tool}.result.json"
    result.unlink(missing_ok=True)
    given = {**request, "result": str(result)}
    _refuse_secrets(given, env or {})
    write_json(asked, given)
    words = (str(TOOLS / f"{tool}.py"), str(asked))

    def hear(is_output: bool, line: str) -> None:
        event = _event(line) if is_output else None
        if event is not None:
            emit(event.pop("event"), **event)
        elif line.strip():
            running.last.append(line)
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    own = {**row.environment(), **os.environ, **(env or {})}
    # There, since some tools leave logs and caches wherever they are started.
    running = Guarded(python, words, own, hear, folder=folder)
    until = stop.is_set if stop is not None else lambda: False
    code = running.run(until, end_within_s=END_WITHIN_S)
    if code is None:
        raise ToolStopped
    return _result(engine, tool, code, list(running.last), result)


def _refuse_secrets(request: Mapping[str, Any], env: Mapping[str, str]) -> None:
    content = json.dumps(request, ensure_ascii=False)
    for name, value in env.items():
        if value and any(word in name.upper() for word in SECRET) and value in content:
            raise ValueError(f"the value of {name} stands in a request file")


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("event"), str):
        return None
    found.pop("time", None)  # the record's own
    return found


def _result(engine: str, tool: str, code: int, said: list[str], path: Path) -> dict[str, Any]:
    found = read_json(path)
    if error := found.get("error"):
        raise RunError(str(error), hint=str(found.get("hint") or ""))
    if code == 0 and found:
        return found
    how = how_it_ended(code) if code else ("ended without a result", "结束但没有结果")
    last = "\n".join(["", *said]).rstrip()
    raise RunError(
        text(f"{tool} ({engine}) {how[0]}{last}", f"{tool}（{engine}）{how[1]}{last}"),
        hint=text(
            f"`swiftbox engines test {engine}` tells whether the engine is whole",
            f"`swiftbox engines test {engine}` 可检查引擎是否完好",
        ),
    )
