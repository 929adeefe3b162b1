"""A training run in this process: data, model, adapter, trainer, save. Local paths only."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.core.attention.varlen import with_masks
from swiftbox.core.data.batches import LINES, PADDED, RESTARTING_LINES, SEPARATE
from swiftbox.core.data.cache import ExampleEncoder
from swiftbox.core.data.layouts import PAIRS, TURNS
from swiftbox.core.data.prepare import load_tokenizer, prepare_rows
from swiftbox.core.data.rows import SingleUnits, TurnUnits, UnitDataset, has_turn_rows, pack
from swiftbox.core.data.samples import Sample, TokenRow, TurnRows
from swiftbox.core.generation import parity
from swiftbox.core.training import checkpoint
from swiftbox.core.training.arguments import training_arguments
from swiftbox.core.training.atomic_checkpoints import RunRecorder
from swiftbox.core.training.classifier import (
    HeadChoice,
    classes_of,
    head_arguments,
    layout_of,
    name_padding,
    write_head,
)
from swiftbox.core.training.course import result_of, set_course
from swiftbox.core.training.end_tokens import add_end_tokens, write_end_tokens
from swiftbox.core.training.generated_answers import writer_for
from swiftbox.core.training.memory_recovery import split_limits
from swiftbox.core.training.neftune import add_noise
from swiftbox.core.training.network_options import loss_of, prepare_network, training_callbacks
from swiftbox.core.training.optimizers import optimizer_of
from swiftbox.core.training.parallel import (
    for_one_device,
    is_sharded,
    save_fsdp_weights,
)
from swiftbox.core.training.phase_clock import PhaseClock
from swiftbox.core.training.progress import ProgressCallback
from swiftbox.core.training.reference_setup import loss_context_for
from swiftbox.core.training.rope_lengths import chosen_by_length, fix_rope_lengths
from swiftbox.core.training.teacher_setup import load_teacher, shared_layout
from swiftbox.core.training.tensorboard import defer_tensorboard
from swiftbox.core.training.trainer import SwiftTrainer, TrainingSetup
from swiftbox.core.training.trainer_inputs import LocalInputs, TrainerInputs
from swiftbox.core.tuners.attach import AdapterStart, adapted_network
from swiftbox.core.tuners.calibration import calibration_for
from swiftbox.core.tuners.initialization import rebase_on_original
from swiftbox.core.weights.cast import copy_processor
from swiftbox.core.weights.completion import copied_message, copy_left_out, tensor_difference
from swiftbox.core.weights.load import load_trainable
from swiftbox.core.weights.positions import require_learned_positions
from swiftbox.core.weights.vocabulary import add_tokens, extend_model
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit

PEFT_TASKS = {"language": "CAUSAL_LM", "score": "SEQ_CLS"}
"""peft's task type for each head of a model."""


def train(
    config: TrainConfig, method: Any, folder: Path, emit: Emit, local: LocalInputs
) -> Path | None:
    """Train and save; return the folder of the model, None if stopped before the end."""
    emit = clock = PhaseClock(emit)
    disable_progress_bar()  # log.txt is read by people and by `runs logs`
    emit(events.STAGE, name="data", detail=", ".join(source.path for source in local.sources))
    tokenizer = load_tokenizer(local.model, config)
    tokens = add_tokens(tokenizer, config)
    encoder = ExampleEncoder.of(method, tokenizer, config)
    parts = prepare_rows(
        encoder, local.sources, emit, data_hash=local.data_hash, validation=local.validation
    )
    emit(events.STAGE, name="model", detail=str(local.model))
    arguments = for_one_device(training_arguments(config, folder, evaluates=bool(parts.held_out)))
    set_seed(config.seed)
    classes = classes_of(config, parts.labels)
    head = HeadChoice(method.head, classes)
    base_model = load_base(local.model, config, head, arguments.device, emit)
    fix_rope_lengths(base_model, parts.both, config, emit)
    if method.head == "score":
        name_padding(base_model, tokenizer)
        base_model.config.update({} if classes is None else classes.settings())
    elif method.needs_template:
        add_end_tokens(base_model, tokenizer, config, emit)
    saves_adapter = config.tuner_type not in FULL_TUNERS
    for message in extend_model(base_model, tokens, saves_adapter=saves_adapter):
        emit(events.NOTE, key="new_tokens", message=message)
    calibration = calibration_for(base_model, config, method, arguments, parts.training)
    adapter = AdapterStart(local.adapter, PEFT_TASKS[method.head], calibration, tokens.ids)
    network = adapted_network(base_model, config, adapter, emit)
    prepare_network(network, config, arguments.device, emit)
    places = (local.model, local.adapter)
    inputs = TrainerInputs(
        config, method, network, tokenizer, arguments, *places, classes, local.teacher
    )
    record = RunRecorder(folder, emit, config.save_total_limit, clock)
    return train_and_save(inputs, parts.both, record, clock)


def train_and_save(
    inputs: TrainerInputs, parts: Sequence[Sequence[Any]], record: RunRecorder, clock: PhaseClock
) -> Path | None:
    """Train from the last checkpoint to the end; return the model, None if stopped before."""
    folder, emit = record.folder, record.emit
    create = online_trainer if inputs.method.reward_functions else offline_trainer
    trainer, progress = create(inputs, parts, record)
    set_course(trainer, inputs.config, record)
    defer_tensorboard(trainer, inputs.config, emit)
    resume_from = checkpoint_to_resume(folder, emit)
    emit(events.STAGE, name="train", detail="")
    result = trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if progress.was_stopped:
        emit(events.STOPPED, step=trainer.state.global_step, checkpoint=_newest(folder))
        return None
    chosen = result_of(trainer, record)
    saved = save_model(trainer, inputs, folder, emit)
    emit(
        events.DONE,
        seconds=clock.seconds(),
        steps=trainer.state.global_step,
        loss=mean_loss(trainer, result.training_loss, resume_from),
        model=str(saved),
        **chosen,
    )
    return saved


def load_base(
    folder: Path, config: TrainConfig, head: HeadChoice, device: torch.device, emit: Emit
) -> Any:
    """Load the model to train to its device, and report the time and where its weights are."""
    start = time.monotonic()
    placed = None if is_sharded(config) else device
    labels = 1 if head.classes is None else head.classes.outputs
    model = load_trainable(folder, config, head=head.kind, device=placed, labels=labels)
    require_learned_positions(model, folder, config)
    weights = list(model.parameters())
    emit(
        events.LOADED,
        seconds=round(time.monotonic() - start, 3),
        bytes=sum(weight.numel() * weight.element_size() for weight in weights),
        device=str(weights[0].device),
    )
    return model


def mean_loss(trainer: Any, of_new_steps: float, resumed: Path | None) -> float:
    """Return the mean loss of the steps of this process; if there are none, that of all steps."""
    if resumed is None or trainer.state.global_step > run_folder.step_of(resumed):
        return of_new_steps
    losses = [logs["loss"] for logs in trainer.state.log_history if "loss" in logs]
    return float(sum(losses) / max(1, len(losses)))


def offline_trainer(
    inputs: TrainerInputs, parts: Sequence[Sequence[Sample]], record: RunRecorder
) -> tuple[SwiftTrainer, ProgressCallback]:
    """Return our trainer, which learns from the rows of the dataset."""
    config, method = inputs.config, inputs.method
    shares = PAIRS if method.shares_prompts else TURNS if has_turn_rows(parts[0]) else ""
    device = inputs.arguments.device
    layout = layout_of(inputs, record.emit, device=device, shares=shares)
    teacher = load_teacher(inputs, parts, record.emit)
    layout = shared_layout(inputs, teacher, layout, record.emit)
    if config.neftune_noise_alpha is not None and layout == LINES:
        layout = RESTARTING_LINES  # the noise tells by the positions how long a row is
    context, parts = loss_context_for(inputs, parts, layout, record.emit, teacher)
    training, held_out = parts
    units = partial(units_of, inputs=inputs, emit=record.emit, layout=layout)
    setup = TrainingSetup(
        record=record,
        training=UnitDataset(units(training)),
        held_out=UnitDataset(units(held_out)) if len(held_out) else None,
        collate=partial(method.collate, layout=layout, **head_arguments(inputs)),
        loss=loss_of(inputs, partial(method.loss, context=context)),
        count=method.count,
        optimizer=optimizer_of(config),
        limits=split_limits(config, method),
        measure=partial(method.measure, config=config) if method.measure else None,
        answers=writer_for(inputs, teacher),
    )
    if config.neftune_noise_alpha is not None:
        add_noise(inputs.network, config.neftune_noise_alpha)
    progress = ProgressCallback(record.emit, record.clock)
    trainer = SwiftTrainer(
        setup,
        model=inputs.network,
        args=inputs.arguments,
        processing_class=inputs.tokenizer,
        callbacks=[progress, *training_callbacks(inputs, record.emit)],
    )
    progress.trainer = trainer
    trainer.split.announce_remembered()
    return trainer, progress


def online_trainer(
    inputs: TrainerInputs, parts: Sequence[Any], record: RunRecorder
) -> tuple[Any, ProgressCallback]:
    """Return TRL's trainer, which learns from the model's own answers."""
    from swiftbox.core.training import online

    return online.online_trainer(inputs, parts, record)


def units_of(
    rows: Sequence[Sample], inputs: TrainerInputs, emit: Emit, *, layout: str
) -> Sequence[Sequence[Sample]]:
    """Return the units that batches consist of: single samples, or packed rows."""
    config, shares = inputs.config, layout in SEPARATE
    units: Sequence[Sequence[Sample]] = SingleUnits(rows)
    if has_turn_rows(rows):
        units = TurnUnits(rows, config.max_length, shares=shares)
        if len(units) > len(rows):
            emit(events.NOTE, key="turns", message=_pieces_note(len(rows), len(units)))
    if not config.packing or layout == PADDED:
        return units
    samples = (sample for unit in units for sample in unit)
    # other kinds refuse packing
    packable = [sample for sample in samples if isinstance(sample, TokenRow | TurnRows)]
    return [list(unit) for unit in pack(packable, config.max_length, shares=shares)]


def _pieces_note(conversations: int, rows: int) -> str:
    return text(
        f"{conversations} conversations count as {rows} rows: the turns of a conversation are "
        "one row as long as they fit max_length together",
        f"{conversations} 个对话计为 {rows} 行：同一对话的各轮合计不超过 max_length 时算一行",
    )


def checkpoint_to_resume(folder: Path, emit: Emit) -> Path | None:
    """Choose the last complete checkpoint, and delete incomplete ones after it."""
    last, incomplete = checkpoint.last_intact(folder)
    for name in incomplete:
        emit(
            events.WARNING,
            message=text(f"{name} is incomplete and is not used", f"{name} 不完整，不使用"),
        )
    if last is None:
        checkpoint.discard_after(folder, -1)
        return None
    checkpoint.discard_after(folder, run_folder.step_of(last))
    emit(
        events.NOTE,
        key="resume",
        message=text(f"resumes from {last.name}", f"从 {last.name} 继续"),
    )
    return last


def save_model(trainer: SwiftTrainer, inputs: TrainerInputs, folder: Path, emit: Emit) -> Path:
    """Save the model or adapter to a temporary folder and rename it, so model/ is complete."""
    emit(events.STAGE, name="save", detail=run_folder.MODEL)
    config = inputs.config
    partial_folder, final = folder / f".{run_folder.MODEL}", folder / run_folder.MODEL
    is_full, dtype = config.tuner_type in FULL_TUNERS, getattr(torch, config.dtype)
    if is_full and not is_sharded(config):
        trainer.model.to(dtype)
    if trainer.args.should_save:
        shutil.rmtree(partial_folder, ignore_errors=True)
        last = next(reversed(run_folder.checkpoints(folder)), None)
        needed = checkpoint.bytes_needed(trainer.model, None)
        checkpoint.require_checkpoint_room(folder, needed, last=last)
    trainer.accelerator.wait_for_everyone()
    if is_full and config.distributed == "fsdp":
        save_fsdp_weights(trainer, partial_folder, dtype)
    else:
        trainer.save_model(str(partial_folder), _internal_call=True)
    trainer.accelerator.wait_for_everyone()
    if trainer.args.should_save:
        rebase_on_original(trainer.model, partial_folder)
        if inputs.method.head == "score" and not is_full:
            write_head(trainer.model, inputs.classes, partial_folder)
        if is_full:
            _complete(trainer.model, inputs, partial_folder, emit)
        elif inputs.method.head == "language" and inputs.method.needs_template:
            write_end_tokens(partial_folder, inputs.model_folder, inputs.tokenizer, config)
        shutil.rmtree(final, ignore_errors=True)
        partial_folder.rename(final)
        if inputs.method.head == "language":
            record_parity(trainer.model, inputs, final, emit)
    return final


def _complete(model: Any, inputs: TrainerInputs, saved: Path, emit: Emit) -> None:
    """Add to a trained model what its class does not compute with, as the base has it."""
    copy_processor(inputs.model_folder, saved)
    if inputs.config.tuner_type != "full" or is_sharded(inputs.config):
        return
    difference = tensor_difference(model, inputs.model_folder, saved)
    names = copy_left_out(difference, inputs.model_folder, saved)
    if names:
        emit(events.NOTE, key="copied", message=copied_message(names))


def record_parity(model: Any, inputs: TrainerInputs, saved: Path, emit: Emit) -> None:
    """Save reference outputs beside the model, which its server is later compared with."""
    config = inputs.config
    quantized = config.quant_method if config.tuner_type == "qlora" else ""
    with with_masks(model), chosen_by_length(model):
        parity.record_training(
            None if is_sharded(config) else model,
            inputs.tokenizer,
            saved,
            emit,
            dtype=config.dtype,
            quantization=str(quantized or ""),
            variables=config.chat_template_kwargs,
        )


def _newest(folder: Path) -> str | None:
    checkpoints = run_folder.checkpoints(folder)
    return str(checkpoints[-1]) if checkpoints else None
