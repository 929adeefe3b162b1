"""Run the builtin server in the environment of an engine, whose packages load the weights.

Its only argument is the path of a request in JSON; it prints events as lines and writes its result
to request["result"]. The server is swiftbox's own, from request["packages"], a folder that holds
no other package; its child processes import from there too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

SERVER = "swiftbox.serving.engine_server"


def main() -> int:
    """Serve what the request says until SIGTERM; return the exit code."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, request["packages"])
    os.environ["PYTHONPATH"] = request["packages"]
    code: int = importlib.import_module(SERVER).main(request)
    return code


if __name__ == "__main__":
    sys.exit(main())
