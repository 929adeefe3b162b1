"""Online reinforcement learning through TRL's trainers, with our checkpoints, events and stop.

https://huggingface.co/docs/trl/grpo_trainer, https://huggingface.co/docs/trl/rloo_trainer
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainingArguments

from swiftbox.core.data.samples import Prompt
from swiftbox.core.training.progress import Progress
from swiftbox.core.training.sealed_checkpoints import Record, WholeCheckpoints
from swiftbox.core.training.trainer_inputs import Made

OWN = ("prompt", "completion")
"""Columns that TRL gives a meaning of its own."""


def online_trainer(
    made: Made, parts: Sequence[Sequence[Prompt]], record: Record
) -> tuple[Any, Progress]:
    """Return TRL's trainer for the config, and what records its steps."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import trl

    values: dict[str, Any] = made.config.model_dump()
    name = "RLOO" if values["loss_type"] == "rloo" else "GRPO"
    config_class, trainer_class = getattr(trl, f"{name}Config"), getattr(trl, f"{name}Trainer")
    arguments = made.arguments

    class Online(WholeCheckpoints, trainer_class):  # type: ignore[misc, valid-type]
        """TRL's trainer with whole checkpoints."""

        tokens_seen = 0

        def _compute_loss(self, model: Any, inputs: Any, *more: Any) -> Any:
            self.tokens_seen += inputs["completion_ids"].numel() + inputs["prompt_ids"].numel()
            return super()._compute_loss(model, inputs, *more)

    given = {
        key: value
        for key, value in arguments.to_dict().items()
        if key in config_class.__dataclass_fields__
    }
    training, held_out = (rows_of(part) for part in parts)
    progress = Progress(record.emit)
    trainer = Online(
        model=made.network,
        reward_funcs=made.method.judges(made.config),
        args=config_class(
            **given | options_of(values, config_class.__dataclass_fields__, arguments)
        ),
        train_dataset=training,
        eval_dataset=held_out if len(held_out) else None,
        processing_class=made.tokenizer,
        callbacks=[progress],
    )
    trainer.record = record
    progress.trainer = trainer
    return trainer, progress


def options_of(values: dict[str, Any], known: Any, arguments: TrainingArguments) -> dict[str, Any]:
    """Return TRL's options from our settings; one generation serves one update.

    A batch holds whole groups of answers, so rows per device count answers, not prompts.
    """
    answers = values["num_generations"]
    per_device = values["per_device_train_batch_size"]
    per_update = per_device * values["gradient_accumulation_steps"] * arguments.world_size
    found = {
        "num_generations": answers,
        "generation_batch_size": per_update,
        "per_device_eval_batch_size": answers,
        "max_completion_length": values["max_completion_length"],
        "temperature": values["temperature"],
        "top_p": values["top_p"],
        "beta": values["beta"],
        "epsilon": values["epsilon"],
        "reward_weights": values["reward_weights"] or None,
        "loss_type": values["loss_type"],
        "remove_unused_columns": False,
        "shuffle_dataset": True,
    }
    return {key: value for key, value in found.items() if key in known}


def rows_of(prompts: Sequence[Prompt]) -> Dataset:
    """Return prompts as TRL takes them, with the columns that reward functions read."""
    names = sorted({name for one in prompts for name in one.columns} - set(OWN))
    return Dataset.from_list(
        [
            {"prompt": list(one.messages), **{name: one.columns.get(name) for name in names}}
            for one in prompts
        ]
    )
