"""Online reinforcement learning with TRL's trainers and our checkpoints, events and stop requests.

https://huggingface.co/docs/trl/grpo_trainer, https://huggingface.co/docs/trl/rloo_trainer
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainingArguments

from swiftbox.core.data.samples import PromptSample
from swiftbox.core.training.atomic_checkpoints import AtomicCheckpoints, RunRecorder
from swiftbox.core.training.progress import ProgressCallback
from swiftbox.core.training.schedules import PlannedSchedule
from swiftbox.core.training.trainer_inputs import TrainerInputs
from swiftbox.core.training.unjudged import UnjudgedCount, neutral_rewards

RESERVED_COLUMNS = ("prompt", "completion")
"""Columns that TRL interprets itself."""


def online_trainer(
    inputs: TrainerInputs, parts: Sequence[Sequence[PromptSample]], record: RunRecorder
) -> tuple[Any, ProgressCallback]:
    """Return TRL's trainer for the config, and the callback that reports its steps."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import trl

    values: dict[str, Any] = inputs.config.model_dump()
    name = "RLOO" if values["loss_type"] == "rloo" else "GRPO"
    training, held_out = (prompt_dataset(part) for part in parts)
    progress = ProgressCallback(record.emit, record.clock)
    trainer = with_atomic_checkpoints(getattr(trl, f"{name}Trainer"))(
        model=inputs.network,
        reward_funcs=inputs.method.reward_functions(inputs.config),
        args=trl_config(getattr(trl, f"{name}Config"), values, inputs.arguments),
        train_dataset=training,
        eval_dataset=held_out if len(held_out) else None,
        processing_class=inputs.tokenizer,
        callbacks=[progress],
    )
    trainer.record = record
    names, functions = trainer.reward_func_names, trainer.reward_funcs
    trainer.unjudged = UnjudgedCount(names, record.emit, functions)
    progress.trainer = trainer
    return trainer, progress


def with_atomic_checkpoints(trainer_class: Any) -> Any:
    """Derive a class from one of TRL's trainers that saves atomically and counts tokens."""

    class OnlineTrainer(AtomicCheckpoints, PlannedSchedule, trainer_class):
        """TRL's trainer with atomic checkpoints, and without a bias by answers not judged."""

        tokens_seen = 0
        unjudged: UnjudgedCount | None = None

        def _calculate_rewards(self, *inputs: Any) -> torch.Tensor:
            rewards = super()._calculate_rewards(*inputs)  # (answers of all processes, functions)
            training = self.model.training
            if training and self.unjudged is not None:
                shares = self.unjudged.add(rewards)
                for name, share in shares.items():
                    self._metrics["train"][f"rewards/{name}/unjudged"].append(share)
            return neutral_rewards(
                rewards, self.num_generations if training else self.num_generations_eval
            )

        def _compute_loss(self, model: Any, inputs: Any, *more: Any) -> Any:
            self.tokens_seen += inputs["completion_ids"].numel() + inputs["prompt_ids"].numel()
            return super()._compute_loss(model, inputs, *more)

    return OnlineTrainer


def trl_config(config_class: Any, values: dict[str, Any], arguments: TrainingArguments) -> Any:
    """Translate TrainingArguments and our settings to TRL's config.

    A batch holds complete groups of answers: per_device_train_batch_size counts answers, not
    prompts. One generation serves one update.
    """
    known = config_class.__dataclass_fields__
    answers = values["num_generations"]
    per_device = values["per_device_train_batch_size"]
    per_update = per_device * values["gradient_accumulation_steps"] * arguments.world_size
    settings = arguments.to_dict() | {
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
        "chat_template_kwargs": values["chat_template_kwargs"],
        "remove_unused_columns": False,
        "shuffle_dataset": True,
    }
    return config_class(**{key: value for key, value in settings.items() if key in known})


def prompt_dataset(prompts: Sequence[PromptSample]) -> Dataset:
    """Return prompts in TRL's format, with the columns that reward functions read."""
    names = {name for prompt in prompts for name in prompt.columns} - set(RESERVED_COLUMNS)
    return Dataset.from_list(
        [
            {
                "prompt": list(prompt.messages),
                **{name: prompt.columns.get(name) for name in sorted(names)},
            }
            for prompt in prompts
        ]
    )
