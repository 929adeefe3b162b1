"""Load the teacher of a distillation, and choose batches that both models keep apart exactly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from swiftbox.config.teacher import another_vocabulary, errors_of_teacher, token_difference
from swiftbox.core.attention.varlen import VARLEN, implementation
from swiftbox.core.data.batches import PADDED, SEPARATE
from swiftbox.core.data.layouts import TURNS, choose_layout
from swiftbox.core.data.samples import Sample
from swiftbox.core.losses.log_prob_reader import reader_for, unwrapped
from swiftbox.core.losses.teacher import Teacher
from swiftbox.core.training.rope_lengths import fix_rope_lengths
from swiftbox.core.training.trainer_inputs import TrainerInputs
from swiftbox.core.weights.load import load_pretrained, loaded_attention, read_tokenizer
from swiftbox.core.weights.positions import require_learned_positions
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit


def load_teacher(
    inputs: TrainerInputs, parts: Iterable[Sequence[Sample]], emit: Emit
) -> Teacher | None:
    """Load the frozen teacher in `dtype` to the device; None for a method without one."""
    folder, config = inputs.teacher_folder, inputs.config
    if folder is None:
        return None
    emit(events.STAGE, name="teacher", detail=str(folder))
    with errors_of_teacher():
        tokenizer = read_tokenizer(folder, trust_remote_code=config.trust_remote_code)
    difference = token_difference(inputs.tokenizer.get_vocab(), tokenizer.get_vocab())
    if difference is not None:
        raise another_vocabulary(difference)
    dtype = getattr(torch, config.dtype)
    with errors_of_teacher():
        network = load_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=loaded_attention(config.attn_implementation),
            trust_remote_code=config.trust_remote_code,
            device_map={"": inputs.arguments.device},
        )
        require_learned_positions(network, folder, config)
    network.requires_grad_(requires_grad=False).eval()
    network.config.use_cache = network.config.get_text_config().use_cache = False
    fix_rope_lengths(network, parts, config, emit)
    return Teacher(network, reader_for(network, dtype))


def shared_layout(inputs: TrainerInputs, teacher: Teacher | None, layout: str, emit: Emit) -> str:
    """Return a layout that is exact for the student, which has this one, and for the teacher."""
    if teacher is None or layout == PADDED:
        return layout
    device, shares = inputs.arguments.device, TURNS if layout in SEPARATE else ""
    exact = choose_layout(inputs.config, teacher.network, _ignore, device=device, shares=shares)
    if exact == layout:
        return layout
    separate = SEPARATE.get(layout, layout)
    if SEPARATE.get(exact, exact) == separate:
        return separate
    emit(
        events.WARNING,
        message=text(
            "padding_free: joined rows are not exact for the teacher; rows are padded instead",
            "padding_free：拼接的样本对教师模型不精确；改为填充",
        ),
    )
    for network in (inputs.network, teacher.network):
        if implementation(network) == VARLEN:  # which computes without masks
            unwrapped(network).set_attn_implementation("sdpa")
    return PADDED


def _ignore(event: str, **fields: Any) -> None:
    """Leave out what the teacher's check reports: the student's has reported the same."""
