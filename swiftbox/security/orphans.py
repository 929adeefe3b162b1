"""A paused child does not outlive its parent: Linux continues it, and it then ends by itself."""

from __future__ import annotations

import signal
import sys

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when its parent dies."""


def wake_when_orphaned() -> None:
    """Ask Linux to continue this process when its parent dies; a running one notices nothing.

    A paused process cannot see that its parent is gone. engines/guard.py has its copy of this.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGCONT))
