"""Simulate a processor with or without avx512_bf16, in this process and in its children.

SWIFTBOX_TEST_AVX512_BF16=on makes bitsandbytes believe that the processor has it, which may be
only advertised; off hides it, and AVX-512 as a whole, from bitsandbytes, torch and oneDNN. Python
imports this file at start-up if its folder is on PYTHONPATH; conftest.py calls it for pytest.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "SWIFTBOX_TEST_AVX512_BF16"
PATCHED = "bitsandbytes.functional"
WITHOUT_AVX512 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


class PatchingLoader(importlib.abc.Loader):
    """Loads bitsandbytes.functional, and replaces its test of the processor."""

    def __init__(self, loader: Any, capability: bool) -> None:
        self.loader = loader
        self.capability = capability

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        capability = self.capability
        module.has_avx512bf16 = lambda: capability  # type: ignore[attr-defined]


class PatchingFinder(importlib.abc.MetaPathFinder):
    """Finds bitsandbytes.functional for the loader that patches it."""

    def __init__(self, capability: bool) -> None:
        self.capability = capability

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:  # noqa: ARG002
        if name != PATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = PatchingLoader(spec.loader, self.capability)
        return spec


def simulate() -> None:
    """Apply the variable, if it is set, before torch and bitsandbytes are imported."""
    capability = os.environ.get(VARIABLE)
    if capability is None:
        return
    if capability not in ("on", "off"):
        raise ValueError(f"{VARIABLE}={capability}: should be on or off")
    if any(isinstance(finder, PatchingFinder) for finder in sys.meta_path):
        return
    if capability == "off":
        os.environ.update(WITHOUT_AVX512)
    folders = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    sys.meta_path.insert(0, PatchingFinder(capability == "on"))


simulate()
