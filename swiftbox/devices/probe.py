"""Probe this machine; a child process asks torch, only where torch could see a device."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS, SELECTION_VARIABLES, Backend
from swiftbox.devices.free_memory import with_free_memory
from swiftbox.devices.host import detected_hardware
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.files import free_bytes, read_json, write_json
from swiftbox.formatting import duration
from swiftbox.language import home, text
from swiftbox.security.children import child_environment, module_command

TIMEOUT_S = 60
"""Importing torch from a cold network disk takes up to half a minute."""

STDERR_LINES = 5
CACHE = "machine.json"
FORMAT = "1"
"""Increased when the child's answer changes its form, so that older cached answers are ignored."""

NO_DEVICE: Mapping[str, Any] = {"backend": "cpu", "devices": [], "versions": {}, "trouble": ""}

OTHER_VARIABLES = ("ROCR_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HSA_OVERRIDE_GFX_VERSION")
"""In addition to the variables of the rows, these change which devices torch sees, and in which
order."""


@dataclass
class Probe:
    """A running probe; `result` waits for it, `close` ends it."""

    folder: Path
    key: str
    answer: Mapping[str, Any] | None
    child: subprocess.Popen[str] | None = None

    def result(self, timeout_s: float = TIMEOUT_S) -> Machine:
        """Return the machine; raise MachineError if torch does not answer."""
        if self.answer is None:
            self.answer = self._read_answer(timeout_s)
            _save(self.key, self.answer)
        return _machine(self.answer, self.folder)

    def now(self) -> Machine | None:
        """Return the machine if it is known already; None otherwise."""
        if self.answer is None and self.child is not None and self.child.poll() is None:
            return None
        try:
            return self.result()
        except MachineError:
            return None

    def close(self) -> None:
        """End the child if it is still running."""
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.communicate()

    def _read_answer(self, timeout_s: float) -> dict[str, Any]:
        if self.child is None:
            raise RuntimeError("a probe has an answer or a child")
        try:
            output, errors = self.child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            _, errors = self.child.communicate()
            limit = duration(timeout_s)
            reason = text(f"no answer within {limit}", f"{limit}内没有回答")
            raise _no_answer(reason, errors) from None
        finally:
            self.close()
        if code := self.child.returncode:
            exit_code = text(f"exit code {code}", f"退出码 {code}")
            raise _no_answer(signal.Signals(-code).name if code < 0 else exit_code, errors)
        try:
            answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        except (IndexError, ValueError):
            reason = text("its answer cannot be read", "回答无法解析")
            raise _no_answer(reason, output + errors) from None
        return answer


def _no_answer(reason: str, errors: str) -> MachineError:
    last = "\n".join(["", *errors.strip().splitlines()[-STDERR_LINES:]])
    tools = ", ".join(backend.tool for backend in BACKENDS.values() if backend.tool)
    return MachineError(
        text(f"torch does not describe the devices: {reason}", f"torch 无法给出设备信息：{reason}")
        + last.rstrip(),
        hint=text(
            f"check the driver ({tools}), or reinstall torch; `swiftbox doctor` shows both",
            f"请检查驱动（{tools}）或重装 torch；`swiftbox doctor` 会显示两者",
        ),
    )


def probe(folder: Path) -> Machine:
    """Return this machine; `folder` is where runs would be written."""
    return start_probe(folder).result()


def without_torch(folder: Path, trouble: str) -> Machine:
    """Return this machine without the devices of torch, and why torch does not answer."""
    return _machine({**NO_DEVICE, "trouble": trouble}, folder)


def start_probe(folder: Path) -> Probe:
    """Start a probe; its child, if one is needed, runs while the caller does other things."""
    if not _torch_may_see_devices():
        return Probe(folder, "", NO_DEVICE)
    key = _key()
    answer = _load(key)
    if answer is not None:
        return Probe(folder, key, answer)
    child = subprocess.Popen(
        module_command("swiftbox.devices.probe_child"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # The same order as in runs and nvidia-smi. The child imports plugins itself.
        env={
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            **child_environment(),
            "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
        },
        start_new_session=True,  # Ctrl-C in the menu is one step back, not the end of the probe
    )
    return Probe(folder, key, None, child)


def _torch_may_see_devices() -> bool:
    folder = host.torch_folder()
    if folder is None:
        return False
    if sys.platform == "darwin" or importlib.util.find_spec("torch_npu") is not None:
        return True
    build = host.torch_build(folder)
    return not build or "cuda" in build or "hip" in build


def _key() -> str:
    """Return everything that changes what torch sees: boot, torch, driver, selected devices."""
    folder = host.torch_folder()
    parts = [
        FORMAT,
        host.boot_id(),
        sys.executable,
        json.dumps(host.torch_build(folder) if folder else {}),
        host.package_version("torch_npu"),
        ",".join(detected_hardware()),
        *(
            f"{name}={os.environ.get(name)}"
            for name in sorted(SELECTION_VARIABLES.union(OTHER_VARIABLES))
        ),
    ]
    return "|".join(parts)


def _load(key: str) -> dict[str, Any] | None:
    """Return the cached answer for this key, with the memory that is free now.

    None if it is not cached, or if only torch can tell how much memory is free.
    """
    cached = read_json(home() / CACHE)
    if cached.get("key") != key:
        return None
    answer: dict[str, Any] = cached["found"]
    return with_free_memory(answer)


def _save(key: str, answer: Mapping[str, Any]) -> None:
    """Cache the answer, unless it has no devices although hardware is present."""
    if not answer["devices"] and detected_hardware():
        return
    with contextlib.suppress(OSError):  # without a writable home, the next probe only takes longer
        home().mkdir(parents=True, exist_ok=True)
        write_json(home() / CACHE, {"key": key, "found": answer})


def _with_selectors(devices: list[dict[str, Any]], backend: Backend) -> list[dict[str, Any]]:
    """Add what the variable that selects devices calls each of them.

    The drivers number the devices in the order of the variable, up to the first invalid entry.
    """
    names = (backend.visible_devices_env, *backend.visible_devices_fallbacks)
    chosen = next((os.environ[name] for name in names if name in os.environ), "")
    entries = [entry.strip() for entry in chosen.split(",")] if chosen else []
    return [
        {**device, "selector": entries[place] if place < len(entries) else ""}
        for place, device in enumerate(devices)
    ]


def _machine(answer: Mapping[str, Any], folder: Path) -> Machine:
    total, free = host.memory()
    devices = _with_selectors(answer["devices"], BACKENDS[answer["backend"]])
    if BACKENDS[answer["backend"]].shares_memory:
        devices = [{**device, "free_bytes": min(device["free_bytes"], free)} for device in devices]
    return Machine.from_dict(
        {
            **answer,
            "devices": devices,
            "cores": host.cores(),
            "memory_bytes": total,
            "memory_free_bytes": free,
            "disk_free_bytes": free_bytes(folder.absolute()),
            "cpu_features": host.cpu_features(),
            "hardware": detected_hardware(),
            "versions": {**host.versions(), **answer["versions"]},
        }
    )
