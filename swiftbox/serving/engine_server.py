"""The builtin server in the Python of an engine, seen from both sides.

`serve_in_engine` starts the child, passes its events on, and stops it. The child is the script
tools/serve.py, which calls `main`: there the deployment runs as it does in our own Python.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import swiftbox
from swiftbox.config.deploy import DeployConfig
from swiftbox.engines.tool_runner import ToolRun, ToolStopped, run_tool
from swiftbox.errors import UserError
from swiftbox.files import read_json, write_json
from swiftbox.runs.stop import STOP
from swiftbox.security.printable import printable
from swiftbox.security.private import restrict_umask
from swiftbox.serving.deployment import Deployment, run_deployment

TOOL = "serve"
FOLDER = "engine"
"""The folder of its request, in the run folder."""

PACKAGES = "packages"
"""The folder from which the child imports: it holds a link to our package, and nothing else."""

KEY = "SWIFTBOX_ENGINE_KEY"
"""The variable that passes the key to the child."""

STARTED = "server_started"
"""The child's event with the address and the limits; the parent records its own."""


def serve_in_engine(deployment: Deployment, engine: str) -> Mapping[str, Any]:
    """Serve with the Python of an engine until a stop is requested; return the totals.

    Raises MachineError if the engine is not installed, RunError if the server ends by itself.
    """
    folder = deployment.folder.absolute() / FOLDER
    folder.mkdir(exist_ok=True)
    request = {
        "packages": str(_link_to_package(folder)),
        "config": deployment.config.model_dump(mode="json"),
        "folder": str(deployment.folder.absolute()),
        "name": deployment.name,
        "model": str(deployment.model),
        "adapters": {name: str(path) for name, path in deployment.adapters.items()},
    }
    env = {KEY: deployment.key} if deployment.key else {}
    STOP.can_save.set()  # from here on the child handles a stop

    def emit(event: str, **fields: Any) -> None:
        if event != STARTED:
            deployment.emit(event, **fields)
        elif not STOP.requested.is_set():
            deployment.started(**fields)

    try:
        result = run_tool(ToolRun(engine, TOOL, folder, env), request, emit, STOP.requested)
    except ToolStopped:
        result = read_json(folder / f"{TOOL}.result.json")
    totals: Mapping[str, Any] = result.get("totals") or {}
    return totals


def _link_to_package(folder: Path) -> Path:
    """Make our package importable from a folder that has no other: an engine has its own ones."""
    packages = folder / PACKAGES
    packages.mkdir(exist_ok=True)
    link = packages / "swiftbox"
    link.unlink(missing_ok=True)  # of an earlier start, maybe of another installation
    link.symlink_to(Path(swiftbox.__file__).resolve().parent, target_is_directory=True)
    return packages


def main(request: Mapping[str, Any]) -> int:
    """Serve what a request says, in the child; write the totals, or the error, as its result."""
    restrict_umask()
    signal.signal(signal.SIGTERM, lambda _number, _frame: STOP.requested.set())
    deployment = Deployment(
        DeployConfig.model_validate(request["config"]),
        Path(request["folder"]),
        os.environ.pop(KEY, None),
        request["name"],
        Path(request["model"]),
        {name: Path(path) for name, path in request["adapters"].items()},
        _print_event,
        lambda url, **details: _print_event(STARTED, url=url, **details),
    )
    try:
        result: dict[str, Any] = {"totals": dict(run_deployment(deployment))}
    except UserError as error:
        result = {"error": error.message, "hint": error.hint}
        sys.stderr.write(printable(error.message, lines=True) + "\n")
    write_json(Path(request["result"]), result)
    return 1 if "error" in result else 0


def _print_event(event: str, **fields: Any) -> None:
    """Print an event on a new line: a library may have left one unfinished."""
    sys.stdout.write(f"\n{json.dumps({'event': event, **fields})}\n")
    sys.stdout.flush()
