"""Measure a model in a fresh process: its perplexity on given tokens, and a greedy answer.

Runs in any environment with torch and transformers. Its only argument is the path of a request in
JSON; it prints events as lines and writes its result to request["result"].
Shapes: T tokens of a text, V vocabulary.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = 512
"""Positions whose float32 logits exist at once: more would take hundreds of MiB."""


def main(load: Callable[[dict[str, Any]], Any] | None = None) -> int:
    """Measure the model of the request; `load` replaces the loader of this script."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    texts = json.loads(Path(request["pieces"]).read_text(encoding="utf-8"))["held_out"]
    model = (load or load_model)(request)
    result = {
        **perplexity(model, texts),
        "answer": answer(model, request["prompt"], request["answer_tokens"]),
        "versions": versions(request["packages"]),
    }
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def load_model(request: dict[str, Any]) -> Any:
    """Load a model from its folder alone, as any user of transformers does."""
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {
        "dtype": getattr(torch, request["dtype"]),
        "local_files_only": True,
        "trust_remote_code": request["trust_remote_code"],
    }
    separate_experts(Path(request["model"]))
    options |= {"use_safetensors": True, "device_map": {"": request["device"]}}
    return AutoModelForCausalLM.from_pretrained(request["model"], **options).eval()


def separate_experts(folder: Path) -> None:
    """Give the model's class separate experts if gptqmodel has quantized them one by one."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    quantization = config.get("quantization_config") or {}
    if quantization.get("quant_method") in ("gptq", "awq"):
        import defuser  # comes with gptqmodel

        defuser.replace_fused_blocks(config.get("model_type"))


def perplexity(model: Any, texts: list[list[int]]) -> dict[str, Any]:
    """Return exp of the mean loss over all tokens but the first of each text."""
    import torch

    total, count, finite = 0.0, 0, True
    for index, tokens in enumerate(texts):
        ids = torch.tensor([tokens], device=model.device)  # (1, T)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]  # (T, V)
        for first in range(0, len(tokens) - 1, ROWS):
            rows = logits[first : min(first + ROWS, len(tokens) - 1)].float()
            finite = finite and bool(torch.isfinite(rows).all())
            targets = ids[0, first + 1 : first + 1 + len(rows)]
            loss = torch.nn.functional.cross_entropy(rows, targets, reduction="sum")
            total, count = total + float(loss), count + len(rows)
        say("measuring", done=index + 1, of=len(texts))
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

    defaults = model.generation_config
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=defaults.eos_token_id,
        pad_token_id=defaults.pad_token_id if defaults.pad_token_id is not None else 0,
    )
    ids = torch.tensor([prompt], device=model.device)
    with torch.no_grad():
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy
        )
    answer_tokens: list[int] = output[0, len(prompt) :].tolist()
    return answer_tokens


def versions(packages: list[str]) -> dict[str, str]:
    """Return the versions of installed packages."""
    from importlib import metadata

    installed = {}
    for name in packages:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def say(event: str, **fields: Any) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
