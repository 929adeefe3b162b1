"""Quantize a GGUF file with llama.cpp.

Runs in the environment of the engine `llama_cpp`. Its only argument is the path of a request in
JSON; it prints events as lines and writes its result to request["result"].
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp

TENSOR_LINE = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
"""llama.cpp writes such a line for each tensor."""

INTERVAL_S = 2.0
"""Time between two lines of progress."""


def main() -> int:
    """Quantize the file of the request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    callback = llama_cpp.llama_log_callback(LogLines().show)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = request["ftype"]
    code = llama_cpp.llama_model_quantize(
        request["input"].encode(), request["output"].encode(), ctypes.byref(parameters)
    )
    if code:
        return int(code)
    version = llama_cpp.__version__
    Path(request["result"]).write_text(json.dumps({"llama_cpp": version}), encoding="utf-8")
    return 0


class LogLines:
    """Passes on the lines of llama.cpp: to the log, and now and then as progress."""

    def __init__(self) -> None:
        self.last_shown = time.monotonic()

    def show(self, _level: int, text: bytes, _data: Any) -> None:
        """Pass on a line, or a piece of it."""
        line = text.decode("utf-8", "replace")
        sys.stderr.write(line)
        match = TENSOR_LINE.match(line)
        if match and time.monotonic() - self.last_shown >= INTERVAL_S:
            self.last_shown = time.monotonic()
            done, count = map(int, match.groups())
            event = {"event": "quantizing", "done": done, "of": count, "unit": "tensor"}
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
