"""Run a tool in a fresh process of an environment: an engine's, swiftbox's, or a converter's."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.engines.process_group import ProcessGroup, describe_exit
from swiftbox.engines.tool_runner import TOOLS, ToolRun, ToolStopped, run_tool
from swiftbox.errors import ChildError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs.diagnosis import hint_for_exit
from swiftbox.runs.events import Emit
from swiftbox.security.children import child_environment


@dataclass(frozen=True)
class ToolCommand:
    """A tool, the Python that runs it, and the arguments before the path of its request."""

    tool: str
    python: Path
    arguments: tuple[str, ...]


def measure(engine: str, request: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Measure a model in a fresh process of an engine, or of swiftbox's environment without one.

    Raises MachineError if the engine is not installed, ChildError if measuring fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if engine:
        return run_tool(ToolRun(engine, "measure", folder), request, emit)
    command = ToolCommand("measure", Path(sys.executable), ("-m", "swiftbox.quantization.measure"))
    return run_command(command, request, folder, emit)


def convert(python: Path, request: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Run llama.cpp's converter with its Python; raise ChildError if it fails."""
    command = ToolCommand("gguf", python, (str(TOOLS / "gguf.py"),))
    return run_command(command, request, folder, emit)


def run_command(
    command: ToolCommand,
    request: Mapping[str, Any],
    folder: Path,
    emit: Emit,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run a tool that reads a request file and writes a result file; return the result.

    Its output lines that are events are passed to `emit`; everything else goes to the log. Raises
    ToolStopped if `stop` was set meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request_file = folder / f"{command.tool}.request.json"
    result_file = folder / f"{command.tool}.result.json"
    result_file.unlink(missing_ok=True)
    write_json(request_file, {**request, "result": str(result_file)})

    def on_line(is_output: bool, line: str) -> None:
        event = _event(line) if is_output else None
        if event is not None:
            emit(event.pop("event"), **event)
        elif line.strip():
            process.last_lines.append(line)
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    arguments = (*command.arguments, str(request_file))
    process = ProcessGroup(command.python, arguments, child_environment(), on_line, folder=folder)
    code = process.run(stop.is_set if stop is not None else lambda: False)
    if code is None:
        raise ToolStopped
    if code:
        english, chinese = describe_exit(code)
        last_lines = "\n".join(["", *process.last_lines]).rstrip()
        raise ChildError(
            text(f"{command.tool} {english}{last_lines}", f"{command.tool} {chinese}{last_lines}"),
            hint=hint_for_exit(code),
        )
    return read_json(result_file)


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    is_event = isinstance(content, dict) and isinstance(content.get("event"), str)
    return content if is_event else None
