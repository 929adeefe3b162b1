"""A child that measures a model as the product loads it.

Usage: `python -m swiftbox.quantization.measure REQUEST.json`; the request is that of the script
engines/tools/measure.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from swiftbox.engines.tools import measure


def main() -> int:
    """Measure what the request names."""
    return measure.main(load)


def load(request: dict[str, Any]) -> Any:
    """Load the model of a request; transformers alone reads GGUF files."""
    import torch

    from swiftbox.core.weights.load import load_pretrained

    if request.get("gguf_file"):
        return measure.load_model(request)
    return load_pretrained(
        Path(request["model"]),
        dtype=getattr(torch, request["dtype"]),
        device_map={"": request["device"]},
        trust_remote_code=request["trust_remote_code"],
    ).eval()


if __name__ == "__main__":
    sys.exit(main())
