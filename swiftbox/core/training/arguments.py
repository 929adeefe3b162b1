"""A config as transformers' TrainingArguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from swiftbox.config.groups import as_list
from swiftbox.config.schedule import MEASURED, WITHOUT_WARMUP
from swiftbox.config.train import TrainConfig
from swiftbox.core.training.optimizers import SUBSTITUTES
from swiftbox.core.training.parallel import sharding_arguments
from swiftbox.core.training.tensorboard import TENSORBOARD
from swiftbox.runs import folder as run_folder

ADAM_EPSILON = 1e-8
"""That of Adam's paper, and transformers' default."""


def training_arguments(config: TrainConfig, folder: Path, *, evaluates: bool) -> TrainingArguments:
    """Translate the config to transformers' arguments; the output stays inside the run folder."""
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    # wandb reads its server from ./wandb/settings, which may be a stranger's, if this is not set.
    os.environ.setdefault("WANDB_DIR", str(folder))
    on_cpu = not torch.accelerator.is_available()
    checkpointing = config.gradient_checkpointing == "true" and config.distributed != "fsdp"
    return TrainingArguments(
        output_dir=str(folder / run_folder.CHECKPOINTS),
        per_device_train_batch_size=config.micro_batch,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        num_train_epochs=config.num_train_epochs,
        max_steps=config.max_steps or -1,
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
        save_total_limit=None,  # AtomicCheckpoints deletes the oldest complete ones
        eval_strategy="steps" if evaluates else "no",
        eval_steps=config.eval_steps,
        report_to=[name for name in as_list(config.report_to) if name != TENSORBOARD] or "none",
        run_name=folder.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
        **optimizer_arguments(config),
        **schedule_arguments(config),
        **sharding_arguments(config),
    )


def optimizer_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the arguments of the optimizer."""
    epsilon = config.adam_epsilon
    return {
        "optim": SUBSTITUTES.get(config.optim, config.optim),
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "adam_epsilon": ADAM_EPSILON if epsilon is None else epsilon,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
    }


def schedule_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the arguments of the schedule, except for those that depend on the updates."""
    name = config.lr_scheduler_type
    return {
        "lr_scheduler_type": name,
        "warmup_steps": 0 if name in WITHOUT_WARMUP else config.warmup_steps,
        "metric_for_best_model": config.best_metric if name in MEASURED else None,
    }
