"""Settings that save time or memory where the machine has what they need; pure."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.choices import lacks, require
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.language import text

OPTIONAL: Mapping[str, str] = {
    "activation_offload": "activation_offload",
    "use_liger_kernel": "liger_kernel",
    "torch_compile": "torch_compile",
}
"""The capability that a boolean setting needs when it is true."""

COMPILER = "cxx"
"""The entry of Machine.versions that names a C++ compiler which can build Python modules."""


def require_optional(machine: Machine, key: str) -> None:
    """Raise MachineError if the machine lacks what `key: true` needs."""
    capability, off = OPTIONAL[key], text(f"set {key}: false", f"设 {key}: false")
    needs_compiler = BACKENDS[machine.backend].cell(capability).package == COMPILER
    if needs_compiler and not lacks(machine, capability) and COMPILER not in machine.versions:
        raise MachineError(
            text(
                f"{key}: true: no C++ compiler that can build Python modules",
                f"{key}: true：没有可用来构建 Python 模块的 C++ 编译器",
            ),
            hint=text(
                f"install g++ and the headers of Python (python3-dev), or {off}",
                f"请安装 g++ 与 Python 头文件（python3-dev），或{off}",
            ),
        )
    require(machine, capability, key, "true", instead=off)
