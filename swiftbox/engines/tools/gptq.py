"""Quantize a model with GPTQ (arXiv:2210.17323) or AWQ (arXiv:2306.00978), by gptqmodel.

Runs in the environment of the engine `gptq`. Its only argument is the path of a request in JSON;
it prints events as lines and writes its result to request["result"].
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

SMALL = 1_000_000_000
"""Below this many parameters, compiling the fast packer takes longer than the slow one runs."""

MACHINE_PATHS = ("offload_to_disk_path",)
"""Paths of this machine that gptqmodel writes into config.json."""


def main() -> int:
    """Quantize the model of the request into the output folder of the request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if request["parameters"] < SMALL:
        os.environ.setdefault("GPTQMODEL_DISABLE_PACK_EXT", "1")
    quantize(request)
    scrub(Path(request["output"]))
    result = {"versions": versions(("gptqmodel", "transformers", "torch", "optimum"))}
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def quantize(request: dict[str, Any]) -> None:
    """Load a model, quantize it layer by layer and save it."""
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from gptqmodel.quantization import FORMAT, METHOD

    rows = json.loads(Path(request["pieces"]).read_text(encoding="utf-8"))["calibration"]
    calibration = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows]
    settings: dict[str, Any] = {"bits": request["bits"], "group_size": request["group_size"]}
    is_awq = request["method"] == "awq"
    if is_awq:
        settings |= {"quant_method": METHOD.AWQ, "format": FORMAT.GEMM}
    model = GPTQModel.load(
        request["model"],
        QuantizeConfig(offload_to_disk_path=request["scratch"], **settings),
        device=request["device"],
        dtype=getattr(torch, request["dtype"]),
        trust_remote_code=request["trust_remote_code"],
    )
    layers = request["layers"]

    def layer_done(layer_idx: int, submodule_finalized: bool) -> None:
        if submodule_finalized:
            say("quantizing", done=layer_idx + 1, of=layers)

    model.layer_callback = layer_done
    # The GEMM packer that is chosen by default needs CUDA; the torch packer writes the same format.
    torch_only = is_awq and request["device"] == "cpu"
    model.quantize(
        calibration,
        batch_size=1,
        backend=BACKEND.AWQ_TORCH if torch_only else BACKEND.AUTO,
    )
    model.save(request["output"])


def scrub(folder: Path) -> None:
    """Remove the paths of this machine from the written files."""
    for path in (folder / "config.json", folder / "quantize_config.json"):
        if not path.is_file():
            continue
        config = json.loads(path.read_text(encoding="utf-8"))
        for part in (config, config.get("quantization_config") or {}):
            for name in MACHINE_PATHS:
                (part.get("meta") or {}).pop(name, None)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "quant_log.csv").unlink(missing_ok=True)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of installed packages."""
    from importlib import metadata

    return {name: metadata.version(name) for name in packages}


def say(event: str, **fields: Any) -> None:
    """Print one event."""
    sys.stdout.write("\n" + json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
