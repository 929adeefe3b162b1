"""One training run in this process: data, model, adapter, trainer, save; local paths only."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE
from swiftbox.core.data.layouts import choose_layout
from swiftbox.core.data.prepare import load_tokenizer, prepare_rows
from swiftbox.core.data.rows import Singles, Units, pack
from swiftbox.core.data.samples import Row, Sample
from swiftbox.core.generation import parity
from swiftbox.core.training import checkpoint
from swiftbox.core.training.neftune import add_noise
from swiftbox.core.training.optimizers import OURS, optimizer_of
from swiftbox.core.training.parallel import sharding_arguments
from swiftbox.core.training.progress import Progress
from swiftbox.core.training.reference_setup import prepare_context
from swiftbox.core.training.sealed_checkpoints import Record
from swiftbox.core.training.trainer import SwiftTrainer, Work
from swiftbox.core.training.trainer_inputs import Made
from swiftbox.core.tuners.attach import callbacks, with_adapter
from swiftbox.core.tuners.inits import fit_original_base
from swiftbox.core.tuners.sampling import sample_for
from swiftbox.core.weights.load import load_model
from swiftbox.data.source import RowSource
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit


def train(
    config: TrainConfig,
    method: Any,
    folder: Path,
    emit: Emit,
    *,
    model: Path,
    adapter: Path | None,
    sources: Sequence[RowSource],
) -> Path | None:
    """Train and save; return the model folder, None when stopped before the end."""
    began = time.time()
    disable_progress_bar()  # log.txt is read by people and by `runs logs`
    emit(events.STAGE, name="data", detail=", ".join(source.path for source in sources))
    tokenizer = load_tokenizer(model, config)
    parts: Sequence[Sequence[Sample]] = prepare_rows(config, method, tokenizer, sources, emit)
    emit(events.STAGE, name="model", detail=str(model))
    arguments = training_arguments(config, folder, evaluates=bool(parts[1]))
    set_seed(config.seed)
    base = load_model(model, config, head=method.head)
    sample = sample_for(base, config, method, arguments, parts[0])
    task_type = "SEQ_CLS" if method.head == "score" else "CAUSAL_LM"
    network = with_adapter(base, config, adapter, emit, task_type=task_type, sample=sample)
    if config.distributed in ("none", "ddp"):
        network.to(arguments.device)  # where its kernels are; sharding places the others itself
    make = online if method.judges else offline
    made = Made(config, method, network, tokenizer, arguments, (model, adapter))
    trainer, progress = make(made, parts, Record(folder, emit, config.save_total_limit))
    resume_from = point_of_resume(folder, emit)
    emit(events.STAGE, name="train", detail="")
    result = trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if progress.was_stopped:
        emit(events.STOPPED, step=trainer.state.global_step, checkpoint=_newest(folder))
        return None
    emit(events.STAGE, name="save", detail=run_folder.MODEL)
    saved = save_model(trainer, config, folder)
    if trainer.args.should_save and method.head == "language":
        leave_record(trainer.model, tokenizer, config, saved, emit)
    emit(
        events.DONE,
        seconds=round(time.time() - began, 1),
        steps=trainer.state.global_step,
        loss=result.training_loss,
        model=str(saved),
    )
    return saved


def offline(
    made: Made, parts: Sequence[Sequence[Sample]], record: Record
) -> tuple[SwiftTrainer, Progress]:
    """Return our own trainer, which learns from the rows."""
    config, method = made.config, made.method
    layout = choose_layout(config, made.network, record.emit, shares=method.shares)
    context, parts = prepare_context(made, parts, layout, record.emit)
    training, held_out = parts
    work = Work(
        record=record,
        training=Units(units_of(training, config)),
        held_out=Units(units_of(held_out, config)) if len(held_out) else None,
        collate=partial(method.collate, layout=layout),
        loss=partial(method.loss, context=context),
        count=method.count,
        optimizer=optimizer_of(config),
    )
    if config.neftune_noise_alpha is not None:
        add_noise(made.network, config.neftune_noise_alpha)
    progress = Progress(record.emit)
    trainer = SwiftTrainer(
        work,
        model=made.network,
        args=made.arguments,
        processing_class=made.tokenizer,
        callbacks=[progress, *callbacks(made.network, config)],
    )
    progress.trainer = trainer
    return trainer, progress


def online(made: Made, parts: Sequence[Any], record: Record) -> tuple[Any, Progress]:
    """Return the trainer of the engine whose model learns from its own answers."""
    from swiftbox.core.training.online import online_trainer

    return online_trainer(made, parts, record)


def units_of(rows: Sequence[Sample], config: TrainConfig) -> Sequence[Sequence[Sample]]:
    """Return what one place of a batch holds: one row, or packed several."""
    if not config.packing:
        return Singles(rows)
    plain = [row for row in rows if isinstance(row, Row)]  # other kinds refuse packing
    return [list(unit) for unit in pack(plain, config.max_length)]


def training_arguments(config: TrainConfig, folder: Path, *, evaluates: bool) -> TrainingArguments:
    """Translate the config for transformers; its own saving is kept inside our folders."""
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    on_cpu = not torch.accelerator.is_available()
    checkpointing = config.gradient_checkpointing == "true" and config.distributed != "fsdp"
    return TrainingArguments(
        output_dir=str(folder / run_folder.CHECKPOINTS),
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_train_epochs,
        max_steps=config.max_steps or -1,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim=OURS.get(config.optim, config.optim),
        bf16=config.dtype == "bfloat16",
        fp16=config.dtype == "float16",
        use_cpu=on_cpu,
        activation_checkpointing=checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        seed=config.seed,
        logging_steps=config.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps" if config.save_steps else "no",
        save_steps=config.save_steps or 1,
        save_total_limit=None,  # counted by complete checkpoints, in our own folder
        eval_strategy="steps" if evaluates else "no",
        eval_steps=config.eval_steps,
        report_to=as_list(config.report_to),
        run_name=folder.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
        **sharding_arguments(config),
    )


def point_of_resume(folder: Path, emit: Emit) -> Path | None:
    """Choose the last whole checkpoint of the folder, and clear away what is torn behind it."""
    found, torn = checkpoint.last_intact(folder)
    for name in torn:
        emit(
            events.WARNING,
            message=text(f"{name} is incomplete and is not used", f"{name} 不完整，不使用"),
        )
    if found is None:
        checkpoint.discard_after(folder, -1)
        return None
    checkpoint.discard_after(folder, run_folder.step_of(found))
    emit(
        events.NOTE,
        key="resume",
        message=text(f"continues from {found.name}", f"从 {found.name} 继续"),
    )
    return found


def save_model(trainer: SwiftTrainer, config: TrainConfig, folder: Path) -> Path:
    """Write the model (or the adapter) aside and rename it, so that model/ is whole or absent."""
    aside, final = folder / f".{run_folder.MODEL}", folder / run_folder.MODEL
    sharded = config.distributed not in ("none", "ddp")
    if config.tuner_type in WHOLE and not sharded:
        trainer.model.to(getattr(torch, config.dtype))
    if trainer.args.should_save:
        shutil.rmtree(aside, ignore_errors=True)
        kept = run_folder.checkpoints(folder)
        needed = checkpoint.bytes_needed(trainer.model, None)
        checkpoint.require_room(folder, needed, kept=kept[-1] if kept else None)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(aside), _internal_call=True)
    trainer.accelerator.wait_for_everyone()
    if trainer.args.should_save:
        fit_original_base(trainer.model, aside)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    return final


def leave_record(model: Any, tokenizer: Any, config: TrainConfig, saved: Path, emit: Emit) -> None:
    """Leave in the model's folder what its server is to be held against."""
    whole = config.distributed in ("none", "ddp")
    quantized = config.quant_method if config.tuner_type == "qlora" else ""
    parity.leave(
        model if whole else None,
        tokenizer,
        saved,
        emit,
        dtype=config.dtype,
        quantization=str(quantized or ""),
    )


def _newest(folder: Path) -> str | None:
    kept = run_folder.checkpoints(folder)
    return str(kept[-1]) if kept else None
