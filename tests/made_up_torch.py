"""A torch that is a few lines long and describes devices nobody has to own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swiftbox.devices import host, probe

CUDA = """
from types import SimpleNamespace as Space
import os
version = Space(cuda="13.0", hip=None)
backends = Space(mps=Space(is_available=lambda: False))
card = Space(name="NVIDIA H100", total_memory=80 * 2**30, major=9, minor=0)
def full(index):
    raise RuntimeError("CUDA error: out of memory")
def none():
    raise RuntimeError("Found no NVIDIA driver on your system.\\nPlease check")
cuda = Space(
    is_available=lambda: True,
    device_count=lambda: 2,
    get_arch_list=lambda: ["sm_80", "sm_90"],
    get_device_properties=lambda index: card,
    mem_get_info=lambda index: (70 * 2**30, 80 * 2**30),
    init=none,
)
with open(os.environ["ASKED"], "a") as file:
    file.write("asked\\n")
"""

BUSY_LATER = CUDA.replace(
    "mem_get_info=lambda index: (70 * 2**30, 80 * 2**30)",
    "mem_get_info=lambda index: ((30 if later else 70) * 2**30, 80 * 2**30)",
).replace("import os\n", "import os\nlater = os.path.exists(os.environ['ASKED'])\n")

Torch = Callable[..., Path]


def made_up_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torch:
    """Put a made-up torch in the place of the real one, for this process and its children."""
    root = tmp_path / "made_up_packages"

    def make(code: str, *, build: str = "cuda = '13.0'", **others: str) -> Path:
        for name, content in {"torch": code, **others}.items():
            folder = root / name
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text(content, encoding="utf-8")
        (root / "torch" / "version.py").write_text(build, encoding="utf-8")
        return root

    monkeypatch.setattr(host, "torch_folder", lambda: root / "torch")
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(probe, "detected_hardware", lambda: ("cuda",))
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return make


def probe_count(tmp_path: Path) -> int:
    path = tmp_path / "asked"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def nvidia_smi(tmp_path: Path, *lines: str) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir(exist_ok=True)
    output = "\n".join(lines)
    tool.write_text(f"#!{sys.executable}\nprint({output!r})\n", encoding="utf-8")
    tool.chmod(0o755)
