"""A child that measures a model as the product loads it.

Usage: `python -m swiftbox.quantization.measure REQUEST.json`; the request is that of the script
engines/tools/measure.py.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.engines.tools import measure
from swiftbox.runs.heavy_imports import heavy_imports


def main() -> int:
    """Measure what the request names."""
    with ExitStack() as stack:
        return measure.main(partial(load, stack=stack))


def load(request: dict[str, Any], stack: ExitStack) -> Any:
    """Load the model of a request, for as long as `stack` is open.

    An unquantized model is computed layer by layer: it may be larger than the device.
    """
    with heavy_imports():
        import torch

        from swiftbox.core.weights.load import load_pretrained
    from swiftbox.core.weights.quantized_bases import stored_method

    folder = Path(request["model"])
    if not stored_method(folder):
        return _streamed(request, stack)
    return load_pretrained(
        folder,
        dtype=getattr(torch, request["dtype"]),
        device_map={"": torch.device(request["device"])},
        trust_remote_code=request["trust_remote_code"],
    ).eval()


def _streamed(request: dict[str, Any], stack: ExitStack) -> Any:
    import torch

    from swiftbox.core.weights.cast import WeightTypes
    from swiftbox.core.weights.load import load_pretrained
    from swiftbox.core.weights.merge_bases import BaseFiles, load_merge_base
    from swiftbox.core.weights.streamed import ComputePlace, streamed

    trusted, folder = request["trust_remote_code"], Path(request["model"])
    device, kept_bytes = torch.device(request["device"]), request["kept_bytes"]
    if request["dtype"] == "float32":
        types = WeightTypes(request["stored_dtype"], request["stored_dtypes"])
        model = load_merge_base(BaseFiles(folder, types, trust_remote_code=trusted))
        place = ComputePlace(device, torch.float32, kept_bytes)
    else:
        dtype = getattr(torch, request["dtype"])
        model = load_pretrained(folder, dtype=dtype, trust_remote_code=trusted).eval()
        place = ComputePlace(device, None, kept_bytes)
    return stack.enter_context(streamed(model, place))


if __name__ == "__main__":
    sys.exit(main())
