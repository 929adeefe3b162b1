"""Pairs with a shared prompt in each layout: time and memory of a step, equal gradients."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from gpu.figures import Recorder
from gpu.settings import Settings
from gpu.steps import Steps, token_rows
from gpu.timing import free_memory, growth_bytes, milliseconds

FORMS = ((2000, 200), (200, 1000), (8000, 500))
"""Tokens of the prompt and of each answer."""

PAIRS = 2


def measure(recorder: Recorder, settings: Settings) -> None:
    """Record every layout: the mask of sdpa, variable-length attention, flex."""
    from swiftbox.core.attention.varlen import use_varlen
    from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, SHARED, SHARED_LINE

    steps = Steps("0.6B", settings)
    forms = ((40, 10),) if settings.tiny else FORMS
    exact: dict[tuple[int, int], torch.Tensor] = {}
    for attention, layouts in (
        ("sdpa", (LINES, PADDED, SHARED)),
        ("varlen", (ONE_LINE, SHARED_LINE)),
    ):
        reason = ""
        if attention == "varlen":
            reason = use_varlen(steps.model, steps.dtype, torch.device(settings.device))
        for form in forms:
            for layout in layouts:
                name = f"{PAIRS} pairs {form[0]:,}/{form[1]:,}, {attention} {layout}"
                if reason:
                    recorder.record(name, None, "ms", note=reason)
                    continue
                record_layout(recorder, steps, (name, form, layout), exact)
    record_flex(recorder, steps, forms, exact)
    free_memory(settings.device)


def record_flex(
    recorder: Recorder,
    steps: Steps,
    forms: Sequence[tuple[int, int]],
    exact: dict[tuple[int, int], torch.Tensor],
) -> None:
    """Record flex_attention over the tree of the pairs, whose keys are not repeated."""
    from gpu.flex import tree_block_mask, use_flex
    from swiftbox.core.data.batches import SHARED_LINE
    from swiftbox.core.losses.scoring import pair_batch

    device = steps.settings.device
    use_flex(steps.model, device)
    for form in forms:
        name = f"{PAIRS} pairs {form[0]:,}/{form[1]:,}, flex tree"
        pairs = made_up_pairs(form)
        collated = pair_batch(pairs, SHARED_LINE)
        batch = {key: value for key, value in collated.items() if key not in BOUNDS}
        try:
            batch["attention_mask"] = tree_block_mask(pairs, device)
            building = milliseconds(partial(tree_block_mask, pairs, device), device, runs=3)
            recorder.record(f"{name}, mask", building, "ms", check=25)
            began = time.perf_counter()
            record_step(recorder, steps, (name, form), (batch, exact))
            recorder.record(f"{name}, with compilation", time.perf_counter() - began, "s")
        except Exception as error:  # noqa: BLE001 - a compiler may fail in any way
            note = f"{type(error).__name__}: {str(error)[:200]}"
            recorder.record(name, None, "ms", note=note, check=25)


BOUNDS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "key_indices")


def record_layout(
    recorder: Recorder,
    steps: Steps,
    case: tuple[str, tuple[int, int], str],
    exact: dict[tuple[int, int], torch.Tensor],
) -> None:
    """Record one layout; the first one of a form is what the others are compared with."""
    from swiftbox.core.losses.scoring import pair_batch

    name, form, layout = case
    pairs = made_up_pairs(form)
    began = time.perf_counter()
    collated = pair_batch(pairs, layout)
    recorder.record(f"{name}, collated", (time.perf_counter() - began) * 1e3, "ms", check=25)
    record_step(recorder, steps, (name, form), (collated, exact))


def record_step(
    recorder: Recorder,
    steps: Steps,
    case: tuple[str, tuple[int, int]],
    compared: tuple[Mapping[str, Any], dict[tuple[int, int], torch.Tensor]],
) -> None:
    """Record the time, the memory and the gradient of a step on a collated batch."""
    from swiftbox.core.losses.scoring import scores

    (name, form), (collated, exact) = case, compared
    settings = steps.settings
    batch = {key: steps.moved(value) for key, value in collated.items()}

    def score() -> torch.Tensor:
        with torch.autocast(settings.device, steps.dtype, enabled=steps.dtype != torch.float32):
            sums: torch.Tensor = scores(steps.model, batch, steps.reader, sequences=2 * PAIRS).sums
        return sums

    def step() -> None:
        score().sum().backward()

    steps.model.zero_grad()
    step()
    gradient = steps.gradient()
    truth = exact.setdefault(form, gradient)
    difference = float((gradient - truth).norm() / truth.norm())
    recorder.record(name, milliseconds(step, settings.device, runs=3, warm_up=1), "ms", check=25)
    recorder.record(f"{name}, memory", growth_bytes(step, settings.device) / 2**20, "MiB", check=25)
    recorder.record(f"{name}, gradient", difference, target="<= 0.02", check=25)


def made_up_pairs(form: tuple[int, int]) -> list[Any]:
    """Return pairs whose answers are learned and whose prompts are shared."""
    import numpy as np

    from swiftbox.core.data.samples import IGNORED, PreferencePair, TokenRow

    prompt, answer = form
    pairs = []
    for seed in range(PAIRS):
        shared, chosen, rejected = (
            row.input_ids for row in token_rows((prompt, answer, answer), seed=seed)
        )
        hidden = np.full(prompt, IGNORED, dtype=np.int32)
        rows = [
            TokenRow(np.concatenate([shared, tokens]), np.concatenate([hidden, tokens]))
            for tokens in (chosen, rejected)
        ]
        pairs.append(PreferencePair(*rows))
    return pairs
