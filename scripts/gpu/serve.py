"""The built-in server with 1, 8 and 32 clients against transformers' batched generate."""

from __future__ import annotations

import bench_decode
import served_models
import torch

from gpu.figures import Recorder
from gpu.models import model_folder
from gpu.settings import Settings

CLIENTS = (1, 8, 32)


def measure(recorder: Recorder, settings: Settings) -> None:
    """Record tokens per second of both sides alternately."""
    from transformers import AutoModelForCausalLM

    size = "1.7B"
    model = model_folder(size, settings)
    dtype = settings.dtype
    folder = settings.folder / "serving"
    folder.mkdir(exist_ok=True)
    plain = AutoModelForCausalLM.from_pretrained(
        model, dtype=getattr(torch, dtype), device_map={"": settings.device}
    ).eval()
    tokens = 8 if settings.tiny else served_models.NEW_TOKENS
    clients = CLIENTS[:2] if settings.tiny else CLIENTS
    generated: dict[int, float] = {}
    with served_models.server(folder, model, dtype=dtype) as url:
        served_models.answer(url, served_models.prompts(0, 1)[0], tokens)
        for count in clients:
            batch = served_models.prompts(count, count)
            served_models.generate(plain, batch, 2)
            served_models.ask_in_parallel(url, batch, tokens)  # captures the steps of this size
            rate = served_models.rate(
                lambda batch: served_models.generate(plain, batch, tokens), batch
            )
            served = served_models.rate(
                lambda batch: served_models.ask_in_parallel(url, batch, tokens), batch
            )
            generated[count] = rate
            raw = {"generate": rate, "server": served, "new_tokens": tokens}
            recorder.record(f"{size}, {count} clients: server", served, "tokens/s", check=23)
            recorder.record(f"{size}, {count} at once: generate", rate, "tokens/s")
            recorder.record(f"{size}, {count}: server / generate", served / rate, "x", raw=raw)
    network = bench_decode.load(model, settings.device, dtype)
    for count in clients:
        rates = bench_decode.decode_rates(network, count, runs=1, new_tokens=tokens)
        gain = rates["slots"] / rates["growing"]
        recorder.record(f"{size}, {count}: slots / growing cache", gain, "x", raw=rates)
