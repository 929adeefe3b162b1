"""What the engine llama_cpp installs besides a Python package: llama.cpp's server and converter."""

from __future__ import annotations

from pathlib import Path

from swiftbox.engines.state import engine_python, engine_state, site_packages
from swiftbox.errors import MachineError
from swiftbox.language import text

ENGINE = "llama_cpp"
PACKAGE = "llama_cpp"
"""The package in the engine's environment that holds library, server and converter."""


def package_folder() -> Path:
    """Return the folder of the package; raise MachineError if the engine is not installed."""
    engine_python(ENGINE)
    packages = site_packages(engine_state(ENGINE).folder)
    if packages is None:
        raise MachineError(
            text(f"engine {ENGINE}: not installed", f"引擎 {ENGINE}：未安装"),
            hint=f"swiftbox engines install {ENGINE}",
        )
    return packages / PACKAGE


def server_executable() -> Path:
    """Return llama.cpp's server; raise MachineError if the engine is not installed."""
    return package_folder() / "lib" / "llama-server"
