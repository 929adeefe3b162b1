"""Run a script or a module in an engine's Python, and end its process group with the caller.

Started as `python -I guard.py SCRIPT WORD...` or `python -I guard.py -m MODULE WORD...`; imports
nothing of swiftbox. The caller holds the other end of standard input: the kernel closes it when
the caller is gone, however it went.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _watch(line: int) -> None:
    while os.read(line, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Keep the line to the caller apart from standard input, and run what is named."""
    line = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_watch, args=(line,), daemon=True).start()
    if sys.argv[1] == "-m":
        sys.argv = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
