"""Run one part in this process: `child.py PART SETTINGS FILE`; bench_gpu starts it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.figures import Recorder
from gpu.parts import PARTS
from gpu.settings import Settings


def main() -> int:
    """Run the part."""
    name, settings, path = sys.argv[1:]
    PARTS[name].measure(Recorder(name, Path(path)), Settings.from_json(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
