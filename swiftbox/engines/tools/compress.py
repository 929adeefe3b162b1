"""Quantize a model to FP8 or to 8-bit weights and activations, by llmcompressor.

Runs in the environment of the engine `compress`. Its only argument is the path of a request in
JSON; it prints events as lines and writes its result to request["result"].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SCHEMES = {"fp8": "FP8_DYNAMIC", "w8a8": "W8A8"}


def main() -> int:
    """Quantize the model of the request into the output folder of the request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    quantize(request)
    result = {
        "versions": versions(("llmcompressor", "compressed-tensors", "transformers", "torch"))
    }
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def quantize(request: dict[str, Any]) -> None:
    """Load, quantize and save a model."""
    import torch
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        request["model"],
        dtype=getattr(torch, request["dtype"]),
        device_map={"": request["device"]},
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=request["trust_remote_code"],
    )
    settings: dict[str, Any] = {"targets": "Linear", "ignore": ["lm_head"]}
    settings["scheme"] = SCHEMES[request["method"]]
    if request["method"] == "w8a8":
        from datasets import Dataset

        rows = json.loads(Path(request["pieces"]).read_text(encoding="utf-8"))["calibration"]
        columns = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
        oneshot(
            model=model,
            recipe=GPTQModifier(**settings),
            dataset=Dataset.from_dict(columns),
            num_calibration_samples=len(rows),
            max_seq_length=max(map(len, rows)),
        )
    else:
        oneshot(model=model, recipe=QuantizationModifier(**settings))
    model.save_pretrained(request["output"], save_compressed=True)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of installed packages."""
    from importlib import metadata

    return {name: metadata.version(name) for name in packages}


if __name__ == "__main__":
    sys.exit(main())
