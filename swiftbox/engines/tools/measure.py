"""Load a model in this fresh process: its perplexity on given tokens, and what it answers.

A script for any environment with torch and transformers: its one word is the path of a request in
JSON, its standard output lines of events, and its result goes to the path in request["result"].
Shapes: T tokens of a piece, V vocabulary.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

ROWS = 512
"""Positions whose logits are computed at once: V of them in float32 are hundreds of megabytes."""


def main() -> int:
    """Measure what the request names."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pieces = json.loads(Path(request["pieces"]).read_text(encoding="utf-8"))["held_out"]
    model = load(request)
    found = {
        **perplexity(model, pieces),
        "answer": answer(model, request["prompt"], request["answer_tokens"]),
        "versions": versions(request["packages"]),
    }
    Path(request["result"]).write_text(json.dumps(found), encoding="utf-8")
    return 0


def load(request: dict[str, Any]) -> Any:
    """Load a model as anyone would, from its folder alone."""
    import torch
    from transformers import AutoModelForCausalLM

    said: dict[str, Any] = {
        "dtype": getattr(torch, request["dtype"]),
        "local_files_only": True,
        "trust_remote_code": request["trust_remote_code"],
    }
    if request.get("gguf_file"):
        sys.path[:0] = request.get("paths", [])
        said["gguf_file"] = request["gguf_file"]
    else:
        said |= {"use_safetensors": True, "device_map": {"": request["device"]}}
    model = AutoModelForCausalLM.from_pretrained(request["model"], **said).eval()
    _keep_weights(model)
    return model


def _keep_weights(model: Any) -> None:
    """Switch off what packs 4-bit weights anew in place, on processors with avx512_bf16."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def perplexity(model: Any, pieces: list[list[int]]) -> dict[str, Any]:
    """Return exp of the mean loss over all tokens but the first of each piece."""
    import torch

    total, count, finite = 0.0, 0, True
    for at, piece in enumerate(pieces):
        ids = torch.tensor([piece], device=model.device)  # (1, T)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]  # (T, V)
        for first in range(0, len(piece) - 1, ROWS):
            rows = logits[first : min(first + ROWS, len(piece) - 1)].float()
            finite = finite and bool(torch.isfinite(rows).all())
            wanted = ids[0, first + 1 : first + 1 + len(rows)]
            loss = torch.nn.functional.cross_entropy(rows, wanted, reduction="sum")
            total, count = total + float(loss), count + len(rows)
        say("measuring", done=at + 1, of=len(pieces))
    mean = total / max(1, count)
    return {
        "perplexity": math.exp(mean) if finite and mean < 700 else None,
        "tokens": count,
        "finite": finite,
    }


def answer(model: Any, prompt: list[int], tokens: int) -> list[int]:
    """Return the tokens of a greedy answer."""
    import torch
    from transformers import GenerationConfig

    own = model.generation_config
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id if own.pad_token_id is not None else 0,
    )
    ids = torch.tensor([prompt], device=model.device)
    with torch.no_grad():
        said = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy
        )
    found: list[int] = said[0, len(prompt) :].tolist()
    return found


def versions(packages: list[str]) -> dict[str, str]:
    """Return the versions of packages that are here."""
    from importlib import metadata

    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def say(event: str, **fields: Any) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
