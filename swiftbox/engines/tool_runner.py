"""Run a tool of an engine: a request file in, events out, a result file back."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.engines.process_group import ProcessGroup, describe_exit
from swiftbox.engines.state import engine_named, engine_python
from swiftbox.errors import ChildError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs.events import Emit
from swiftbox.security.children import child_environment
from swiftbox.security.secrets import hide_secrets, is_secret

TOOLS = Path(__file__).with_name("tools")

STOP_GRACE_S = 20.0
"""How long a tool may take to end after SIGTERM; then its process group is killed."""

NO_LOGINS = {"NETRC": os.devnull}
"""Keeps `requests` from sending what ~/.netrc has for a host, its default entry included."""


class ToolStopped(Exception):
    """`stop` was set while the tool ran; its processes are gone and it gave no result.

    Not a UserError: nothing is wrong. A task's `run` then returns None, which means "stopped".
    """


@dataclass(frozen=True)
class ToolRun:
    """Which tool of which engine runs, where, and with which extra variables.

    The tool works in `folder`; paths in a request are absolute. Secrets are passed by `env` alone,
    and in the inherited variables that `secrets` names.
    """

    engine: str
    tool: str
    folder: Path
    env: Mapping[str, str] | None = None
    secrets: frozenset[str] = frozenset()


def run_tool(
    run: ToolRun, request: Mapping[str, Any], emit: Emit, stop: threading.Event | None = None
) -> dict[str, Any]:
    """Run `tools/TOOL.py` with the Python of an engine; return the JSON of its result file.

    The request is written to FOLDER/TOOL.request.json, with the path of FOLDER/TOOL.result.json
    under "result"; the script gets the request's path as its only argument. Lines of its standard
    output that are JSON objects with "event" are passed to `emit`; everything else is written to
    standard error, which is the log of a run.

    Raises MachineError if the engine is not installed; RunError for a result with "error" (and
    "hint"), an exit code other than 0, or no result, with the tool's last lines; ToolStopped if
    `stop` was set: the process group gets SIGTERM, and SIGKILL after STOP_GRACE_S.
    """
    python = engine_python(run.engine)
    folder = run.folder.absolute()
    request_file = folder / f"{run.tool}.request.json"
    result_file = folder / f"{run.tool}.result.json"
    result_file.unlink(missing_ok=True)
    content = {**request, "result": str(result_file)}
    _refuse_secrets(content, run.env or {})
    write_json(request_file, content)

    def on_line(is_output: bool, line: str) -> None:
        line = hide_secrets(line, run.env or {})
        event = _parse_event(line) if is_output else None
        if event is not None:
            emit(event.pop("event"), **event)
        elif line.strip():
            process.last_lines.append(line)
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    arguments = (str(TOOLS / f"{run.tool}.py"), str(request_file))
    # In the run folder, since some tools leave logs and caches wherever they are started.
    process = ProcessGroup(python, arguments, _environment(run), on_line, folder=folder)
    code = process.run(stop.is_set if stop is not None else lambda: False, grace_s=STOP_GRACE_S)
    if code is None:
        raise ToolStopped
    return _result(run, code, list(process.last_lines), read_json(result_file))


def _environment(run: ToolRun) -> dict[str, str]:
    ours = child_environment(keep=run.secrets, variables=NO_LOGINS)
    return {**engine_named(run.engine).environment(), **ours, **(run.env or {})}


def _refuse_secrets(request: Mapping[str, Any], env: Mapping[str, str]) -> None:
    content = json.dumps(request, ensure_ascii=False)
    for name, value in env.items():
        if value and is_secret(name, value) and value in content:
            raise ValueError(f"the value of {name} stands in a request file")


def _parse_event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    event.pop("time", None)  # the record writes its own
    return event


def _result(
    run: ToolRun, code: int, last_lines: list[str], result: dict[str, Any]
) -> dict[str, Any]:
    if error := result.get("error"):
        raise RunError(str(error), hint=str(result.get("hint") or ""))
    if code == 0 and result:
        return result
    ending = describe_exit(code) if code else ("ended without a result", "结束但没有结果")
    tail = "\n".join(["", *last_lines]).rstrip()
    raise ChildError(
        text(
            f"{run.tool} ({run.engine}) {ending[0]}{tail}",
            f"{run.tool}（{run.engine}）{ending[1]}{tail}",
        ),
        hint=text(
            f"`swiftbox engines test {run.engine}` checks whether the engine works",
            f"`swiftbox engines test {run.engine}` 可检查引擎是否完好",
        ),
    )
