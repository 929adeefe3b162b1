"""Run a program and end with its exit code; guard.py, which runs this, kills both with the caller.

Usage: `python -I guard.py run_program.py PROGRAM ARGUMENT...`. The caller sends SIGTERM to the
process group, so it reaches the program too: this process waits for it.
"""

from __future__ import annotations

import signal
import subprocess
import sys


def main() -> int:
    """Run the program of the arguments; return its exit code."""
    # A handler, as a program would inherit SIG_IGN.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    code = subprocess.run(sys.argv[1:], check=False).returncode
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
