"""Run llama.cpp's converter, which looks for its parts beside itself, as if it were called.

A script for any environment that the converter runs in: its one word is the path of a request in
JSON, and its result goes to the path in request["result"].
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path


def main() -> int:
    """Convert what the request names."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, str(Path(request["script"]).parent))
    sys.argv = [request["script"], *request["words"]]
    try:
        runpy.run_path(request["script"], run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    Path(request["result"]).write_text(json.dumps({"done": True}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
