"""Run a script or a module in an engine's Python; kill its process group when the caller ends.

Usage: `python -I guard.py SCRIPT ARGUMENT...` or `python -I guard.py -m MODULE ARGUMENT...`; it
imports nothing of swiftbox. The caller holds the other end of standard input, which the kernel
closes when the caller ends, whatever the cause.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when its parent dies."""


def _wake_when_orphaned() -> None:
    """Ask Linux to continue this process when its parent dies, so that a paused one ends too."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGCONT))


def _watch(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Move the caller's pipe away from standard input, then run the script or module."""
    _wake_when_orphaned()
    pipe = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    if sys.argv[1] == "-m":
        sys.argv = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
