"""Run a tool script in a fresh process: in an engine's environment, or with our own Python."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from swiftbox.engines.process_group import ProcessGroup, describe_exit
from swiftbox.engines.tool_runner import TOOLS, ToolRun, run_tool
from swiftbox.errors import RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs.events import Emit


def tool(
    engine: str,
    name: str,
    request: Mapping[str, Any],
    folder: Path,
    emit: Emit,
    *,
    python: Path | None = None,
) -> dict[str, Any]:
    """Run `engines/tools/NAME.py` in an engine; without one with that Python, or our own.

    Raises MachineError when the engine is not installed, RunError when the tool fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if engine:
        return run_tool(ToolRun(engine, name, folder), request, emit)
    asked, result = folder / f"{name}.request.json", folder / f"{name}.result.json"
    result.unlink(missing_ok=True)
    write_json(asked, {**request, "result": str(result)})

    def hear(line: str) -> bool:
        event = _event(line)
        if event is not None:
            emit(event.pop("event"), **event)
        return event is not None

    words = (str(TOOLS / f"{name}.py"), str(asked))
    _carry_out(python or Path(sys.executable), words, hear, name)
    return read_json(result)


def _carry_out(
    python: Path, words: tuple[str, ...], hear: Callable[[str], bool], name: str
) -> None:
    def heard(is_output: bool, line: str) -> None:
        if (is_output and hear(line)) or not line.strip():
            return
        running.last_lines.append(line)
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    running = ProcessGroup(python, words, os.environ, heard)
    code = running.run()
    if code:
        how = describe_exit(code)
        last = "\n".join(["", *running.last_lines]).rstrip()
        raise RunError(text(f"{name} {how[0]}{last}", f"{name} {how[1]}{last}"))


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None
