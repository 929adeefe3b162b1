"""Find out what this machine is; torch is asked in a child, only where it could see a device."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.host import seen_hardware
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.language import home, text

LONGEST_S = 60
"""Importing torch from a cold network disk takes half a minute at worst."""

QUICK_S = 2
"""Longer than this is not worth waiting for a fresher number of free device memory."""

LAST_WORDS = 5
CACHE = "machine.json"
FORMAT = "1"
"""Raised when the child's answer changes its shape, so that older kept answers are not read."""

NO_DEVICE: Mapping[str, Any] = {"backend": "cpu", "devices": [], "versions": {}, "trouble": ""}

OTHER_VARIABLES = ("ROCR_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HSA_OVERRIDE_GFX_VERSION")
"""Beside the rows' own variables, these change which devices torch sees, or in which order."""


@dataclass
class Probe:
    """A probe under way; `result` waits for it, `close` gives it up."""

    folder: Path
    key: str
    found: Mapping[str, Any] | None
    child: subprocess.Popen[str] | None = None

    def result(self, timeout_s: float = LONGEST_S) -> Machine:
        """Return the machine; raise MachineError when torch cannot say what there is."""
        if self.found is None:
            self.found = self._hear(timeout_s)
            _remember(self.key, self.found)
        return _machine(self.found, self.folder)

    def now(self) -> Machine | None:
        """Return the machine if it is known by now; None while it is not, or cannot be."""
        if self.found is None and self.child is not None and self.child.poll() is None:
            return None
        try:
            return self.result()
        except MachineError:
            return None

    def close(self) -> None:
        """End the child, if it still works."""
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.communicate()

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        if self.child is None:
            raise RuntimeError("a probe has an answer or a child")
        try:
            said, complaints = self.child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            _, complaints = self.child.communicate()
            how = text(f"no answer within {timeout_s:g} s", f"{timeout_s:g} 秒内没有回答")
            raise _speechless(how, complaints) from None
        finally:
            self.close()
        if code := self.child.returncode:
            ended = text(f"exit code {code}", f"退出码 {code}")
            how = f"{signal.Signals(-code).name}" if code < 0 else ended
            raise _speechless(how, complaints)
        try:
            found: dict[str, Any] = json.loads(said.splitlines()[-1])
        except (IndexError, ValueError):
            how = text("an answer that cannot be read", "回答无法解析")
            raise _speechless(how, said + complaints) from None
        return found


def _speechless(how: str, complaints: str) -> MachineError:
    last = "\n".join(["", *complaints.strip().splitlines()[-LAST_WORDS:]])
    tools = ", ".join(one.tool for one in BACKENDS.values() if one.tool)
    return MachineError(
        text(f"torch does not describe the devices: {how}", f"torch 无法给出设备信息：{how}")
        + last.rstrip(),
        hint=text(
            f"look at the driver ({tools}), or reinstall torch; `swiftbox doctor` shows both",
            f"请检查驱动（{tools}）或重装 torch；`swiftbox doctor` 会显示两者",
        ),
    )


def probe(folder: Path) -> Machine:
    """Return this machine; `folder` is where runs would be written."""
    return start_probe(folder).result()


def without_torch(folder: Path, trouble: str) -> Machine:
    """Return this machine as it is when torch cannot be asked, and why it cannot."""
    return _machine({**NO_DEVICE, "trouble": trouble}, folder)


def start_probe(folder: Path) -> Probe:
    """Begin to look; the child, where one is needed, works while the caller does other things."""
    if not _torch_may_see_devices():
        return Probe(folder, "", NO_DEVICE)
    key = _key()
    found = _recall(key)
    if found is not None:
        return Probe(folder, key, found)
    child = subprocess.Popen(
        [sys.executable, "-m", "swiftbox.devices.probe_child"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # The order of a run, which is nvidia-smi's too. The child imports plugins itself.
        env={
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            **os.environ,
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
    """Name all that could change what torch sees: boot, torch, driver, choice of devices."""
    folder = host.torch_folder()
    names = {one.visible_devices_env for one in BACKENDS.values()} - {""}
    parts = [
        FORMAT,
        host.boot(),
        sys.executable,
        json.dumps(host.torch_build(folder) if folder else {}),
        host.package_version("torch_npu"),
        ",".join(seen_hardware()),
        *(f"{name}={os.environ.get(name)}" for name in sorted(names.union(OTHER_VARIABLES))),
    ]
    return "|".join(parts)


def _recall(key: str) -> dict[str, Any] | None:
    try:
        kept = json.loads((home() / CACHE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("key") != key:
        return None
    found: dict[str, Any] = kept["found"]
    return _with_free_memory(found)


def _remember(key: str, found: Mapping[str, Any]) -> None:
    """Keep the answer; not that there is nothing, while hardware is seen that may yet answer."""
    if not found["devices"] and seen_hardware():
        return
    aside = home() / f".{CACHE}.{os.getpid()}"
    with contextlib.suppress(OSError):  # a home that cannot be written to costs time, no more
        home().mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps({"key": key, "found": found}), encoding="utf-8")
        aside.replace(home() / CACHE)


def _with_free_memory(found: dict[str, Any]) -> dict[str, Any]:
    """Refresh the free memory of remembered NVIDIA devices; elsewhere it stays as it was seen."""
    tool = shutil.which("nvidia-smi") if found["backend"] == "cuda" else None
    if tool is None:
        return found
    command = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUICK_S, check=True)
        cards = [line.rsplit(", ", 1) for line in done.stdout.splitlines()]
        free = [(name, int(mebibytes) * 2**20) for name, mebibytes in cards]
    except (OSError, ValueError, subprocess.SubprocessError):
        return found
    chosen = os.environ.get(BACKENDS["cuda"].visible_devices_env, "")
    indexes = [int(one) for one in chosen.split(",") if one.strip().isdigit()]
    if indexes and max(indexes) < len(free):
        free = [free[index] for index in indexes]
    if [name for name, _ in free] != [one["name"] for one in found["devices"]]:
        return found  # hidden by UUID, or in another order: which is which cannot be told
    devices = [
        {**one, "free_bytes": bytes_}
        for one, (_, bytes_) in zip(found["devices"], free, strict=True)
    ]
    return {**found, "devices": devices}


def _machine(found: Mapping[str, Any], folder: Path) -> Machine:
    total, free = host.memory()
    devices = found["devices"]
    if BACKENDS[found["backend"]].shares_memory:
        devices = [{**one, "free_bytes": min(one["free_bytes"], free)} for one in devices]
    return Machine.from_dict(
        {
            **found,
            "devices": devices,
            "cores": host.cores(),
            "memory_bytes": total,
            "memory_free_bytes": free,
            "disk_free_bytes": host.disk_free(folder),
            "cpu_features": host.cpu_features(),
            "hardware": seen_hardware(),
            "versions": {**host.versions(), **found["versions"]},
        }
    )
