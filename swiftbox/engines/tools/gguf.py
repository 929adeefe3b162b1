"""Run llama.cpp's converter, which imports modules that lie beside it, as a script.

Runs in any environment that the converter supports. Its only argument is the path of a request in
JSON; it writes its result to request["result"].
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path


def main() -> int:
    """Convert the model of the request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, str(Path(request["script"]).parent))
    sys.argv = [request["script"], *request["words"]]
    try:
        runpy.run_path(request["script"], run_name="__main__")
    except SystemExit as exit_request:
        if exit_request.code:
            raise
    Path(request["result"]).write_text(json.dumps({"done": True}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
