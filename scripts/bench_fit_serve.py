"""The fit estimate compared with serving on this CPU: the allocator's peak of the built-in engine.

Prompts that almost fill the context are prefilled one by one, then decoded together.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import bench_fit_cpu as cpu

JOBS = (
    ("20M", 32_000, 512, 4),
    ("60M", 32_000, 1024, 8),
    ("120M", 100_000, 1024, 4),
)
"""Size, vocabulary, context, concurrency."""

NEW_TOKENS = 8


def child(model: Path, context: int, concurrency: int) -> int:
    """Serve in this process; print what was predicted and measured."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3ForCausalLM  # noqa: F401

    import swiftbox.core.generation.batch  # noqa: F401
    from swiftbox.fit.profile import profile_model
    from swiftbox.fit.serving import serving

    gc.collect()  # what the imports allocated is not part of the estimate
    before = cpu.allocated()
    peak, stop = [before], threading.Event()
    threading.Thread(target=cpu.sampler, args=(stop, peak), daemon=True).start()
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        generate(network, context, concurrency)
    stop.set()
    profile = profile_model(str(model))
    assert profile is not None
    need = serving(profile.shape, storage="float32", context=context, concurrency=concurrency)
    measured = peak[0] - before + cpu.mapped()
    print(json.dumps({"measured": measured, "predicted": need.device}))
    return 0


def generate(network: Any, context: int, concurrency: int) -> None:
    """Do what the engine does: prefill each prompt, then step all rows."""
    import torch

    from swiftbox.core.generation.batch import Prefill, PrefillEntry
    from swiftbox.core.generation.kv_cache import BatchCache, layers_of
    from swiftbox.core.generation.reading_pace import HOST_PART

    layers, length = layers_of(network), context - NEW_TOKENS
    cache = BatchCache(layers)
    for _ in range(concurrency):
        prefill = Prefill.of([PrefillEntry([1] * length, [], "")], layers, "cpu")
        while prefill.step(network, HOST_PART) is None:
            pass
        cache.make_room(1, length)
        cache.join(prefill.past, 0, length, 1)
        del prefill
    for _ in range(NEW_TOKENS):
        cache.make_room()
        cache.forward(lambda: network, torch.ones(concurrency, dtype=torch.long))


def compare() -> int:
    """Run the jobs one after another; print predicted and measured peaks."""
    print(f"\n{'serving':<44}{'predicted':>14}{'measured':>14}{'error':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        for size, vocabulary, context, concurrency in JOBS:
            model = cpu.make(size, vocabulary, Path(temporary))
            arguments = [str(model), str(context), str(concurrency)]
            done = subprocess.run(
                [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            job = f"{size} context {context} x {concurrency} V {vocabulary:,}"
            print(
                f"{job:<44}{result['predicted'] / cpu.MIB:>10.0f} MiB"
                f"{result['measured'] / cpu.MIB:>10.0f} MiB"
                f"{result['predicted'] / result['measured'] - 1:>+9.1%}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("context", type=int)
    parser.add_argument("concurrency", type=int)
    options = parser.parse_args()
    sys.exit(child(options.model, options.context, options.concurrency))
