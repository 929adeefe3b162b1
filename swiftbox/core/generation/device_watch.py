"""Notice that a device has failed while nothing is computed, so that health says it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from swiftbox.core.generation import device_access

INTERVAL_S = 15.0
"""Shortest time between two probes."""


class DeviceWatch:
    """Probes a device in a separate thread: the caller does not wait."""

    def __init__(self, device: Any, failed: Callable[[str], None]) -> None:
        self._device = device
        self._failed = failed
        self._lock = threading.Lock()
        self._began = -INTERVAL_S
        self._thread: threading.Thread | None = None

    def probe(self) -> None:
        """Start a tiny computation, at most once in the interval and one at a time."""
        with self._lock:
            now = time.monotonic()
            is_running = self._thread is not None and self._thread.is_alive()
            if is_running or now - self._began < INTERVAL_S:
                return
            self._began = now
            self._thread = threading.Thread(target=self._run, name="device-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        if reason := device_access.device_failure(self._device):
            self._failed(reason)
