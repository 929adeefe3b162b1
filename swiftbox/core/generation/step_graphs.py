"""Record the work of a step as a graph of the device, and replay it with one call.

A step of a small model is hundreds of kernels: to launch them from Python takes longer than to
compute them. A captured step is trusted only after its replay gave the result of the plain one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache

from swiftbox.core.generation.device_access import device_module, has_graphs
from swiftbox.core.generation.memory import free_bytes
from swiftbox.core.generation.parity import TIES
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.runs.diagnosis import first_line

FREE_FOR_GRAPHS = 512 * 2**20
"""Bytes of the device that must be free for another graph."""

Step = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class CapturedStep:
    """A step that is replayed on the same tensors; each replay overwrites its output."""

    replay: Callable[[], None]
    output: torch.Tensor


Capture = Callable[[Step], CapturedStep]


class StepGraphs:
    """Captures steps until that fails or gives another result; then says why, and stops."""

    def __init__(self, capture: Capture | None, warn: Callable[[str], None]) -> None:
        self._capture = capture
        self._warn = warn
        self.captured = 0
        """Steps that were captured and trusted."""

    @classmethod
    def of(cls, device: Any, warn: Callable[[str], None]) -> StepGraphs:
        """Return the graphs of a device; without any if it cannot capture."""
        return cls(DeviceCapture(device) if has_graphs(device) else None, warn)

    @property
    def enabled(self) -> bool:
        """Return whether steps are captured."""
        return self._capture is not None

    def disable(self, reason: str) -> None:
        """Capture no further steps, and say why; those captured before are still replayed."""
        self._capture = None
        self._warn(
            text(
                f"no further steps are replayed as graphs, which is slower: {reason}",
                f"不再录制计算图，速度较慢：{reason}",
            )
        )

    def capture(self, step: Step, expected: torch.Tensor) -> CapturedStep | None:
        """Return a step captured, whose replay gave the expected result; None without."""
        if self._capture is None:
            return None
        if not _has_memory(expected.device):
            least = size(FREE_FOR_GRAPHS)
            self.disable(text(f"less than {least} of memory are free", f"空闲显存不足 {least}"))
            return None
        try:
            captured = self._capture(step)
            captured.replay()
            if is_close(captured.output, expected):
                self.captured += 1
                return captured
            self.disable(text("a replay gave other logits", "重放得到的 logits 不一致"))
        except RuntimeError as error:  # the model does what a graph cannot hold
            why = first_line(error)
            self.disable(text(f"the capture failed: {why}", f"录制失败：{why}"))
        return None


def _has_memory(device: Any) -> bool:
    if not has_graphs(device) or free_bytes(device) >= FREE_FOR_GRAPHS:
        return True
    clear_device_cache()  # what torch keeps for itself counts as used
    return free_bytes(device) >= FREE_FOR_GRAPHS


def is_close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether two logits differ by rounding only."""
    limit = TIES.get(str(expected.dtype).removeprefix("torch."), max(TIES.values()))
    scale = max(1.0, float(expected.float().abs().max()))
    return float((actual.float() - expected.float()).abs().max()) <= limit * scale


class DeviceCapture:
    """Captures on a separate stream; all graphs share one pool of memory.

    They may: no two of them run at a time, and the output of each stays allocated.
    """

    def __init__(self, device: Any) -> None:
        self._module = device_module(device)
        self._pool = self._module.graph_pool_handle()
        self._stream = self._module.Stream(device=device)

    def __call__(self, step: Step) -> CapturedStep:
        """Record a step, without running it."""
        graph = self._module.CUDAGraph()
        recording = self._module.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        # torch leaves its stream selected if the end of a capture fails: the outer block restores
        with self._module.stream(self._stream), recording:
            output = step()
        return CapturedStep(graph.replay, output)
