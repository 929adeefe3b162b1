"""What is settled of schedules, early stopping and small batches, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import made_up

from swiftbox.errors import ConfigError
from swiftbox.plan import Plan, plan
from swiftbox.tasks.load import loads

HELD_OUT = ("val_size=0.1",)


def planned(*overrides: str) -> Plan:
    loaded = loads("", source="a.yaml", overrides=["model=m", "dataset=d", *overrides])
    return plan(loaded.config, made_up("cpu"))


def reason_of(key: str, *overrides: str) -> tuple[Any, str]:
    settled = planned(*overrides)
    reason = next(reason for reason in settled.notes if reason.key == key)
    assert getattr(settled.config, key) == reason.value
    return reason.value, reason.why


def test_a_cosine_with_a_floor_ends_at_it() -> None:
    value, why = reason_of("lr_scheduler_type", "min_lr=1e-5")
    assert (value, why) == ("cosine_with_min_lr", "cosine with min_lr")


def test_a_schedule_that_needs_a_floor_gets_the_usual_one() -> None:
    value, why = reason_of("min_lr_rate", "lr_scheduler_type=cosine_with_min_lr")
    assert (value, why) == (0.1, "usual; cosine_with_min_lr needs a floor")


def test_early_stopping_makes_the_best_checkpoint_the_result() -> None:
    value, why = reason_of("load_best_model_at_end", "early_stopping_patience=2", *HELD_OUT)
    assert value is True
    assert "whatever save_steps is" in why


def test_arguments_of_transformers_that_are_keys_here_become_them() -> None:
    keys = ("lr_scheduler_type=warmup_stable_decay",)
    arguments = "lr_scheduler_kwargs={num_decay_steps: 5, min_lr_ratio: 0.1, decay_type: linear}"
    config: Any = planned(*keys, arguments).config
    assert (config.num_decay_steps, config.min_lr_rate) == (5, 0.1)
    assert config.lr_scheduler_kwargs == {"decay_type": "linear"}


def test_names_of_other_tools_are_taken() -> None:
    keys = ("lr_min=1e-6", "early_stopping_steps=4", "adam_eps=1e-7", *HELD_OUT)
    config: Any = planned(*keys).config
    assert (config.min_lr, config.adam_epsilon) == (1e-6, 1e-7)
    assert config.early_stopping_patience == 4


def test_whether_a_metric_should_grow_is_known() -> None:
    keys = ("load_best_model_at_end=true", *HELD_OUT)
    assert reason_of("greater_is_better", *keys)[0] is False
    margins = ("stage=dpo", "metric_for_best_model=eval_rewards/margins", *keys)
    assert reason_of("greater_is_better", *margins)[0] is True


def test_kto_of_single_rows_gets_larger_batches_with_the_same_rows_per_update() -> None:
    keys = ("stage=kto", "per_device_train_batch_size=1", "gradient_accumulation_steps=16")
    value, why = reason_of("per_device_train_batch_size", *keys)
    assert value == 4
    assert "rows per update unchanged" in why
    assert reason_of("gradient_accumulation_steps", *keys)[0] == 4
    config: Any = planned(*keys, "loss_type=apo_zero_unpaired").config
    assert config.per_device_train_batch_size == 1


def test_kto_of_a_single_row_per_update_is_refused() -> None:
    keys = ("stage=kto", "per_device_train_batch_size=1", "gradient_accumulation_steps=1")
    with pytest.raises(ConfigError, match="KTO compares each prompt"):
        planned(*keys)


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "two floors": (("min_lr=1e-5", "min_lr_rate=0.1"), "min_lr and min_lr_rate both set"),
    "a floor above the peak": (("min_lr=1e-3",), "min_lr: 0.001 is not below learning_rate"),
    "an argument of another schedule": (
        ("lr_scheduler_type=linear", "lr_scheduler_kwargs={power: 2}"),
        "power is not an argument of linear; its arguments: none",
    ),
    "a floor that is set twice": (
        ("lr_scheduler_kwargs={min_lr_ratio: 0.1}", "min_lr_rate=0.2"),
        "min_lr_rate",
    ),
    "an unknown argument": (("lr_scheduler_kwargs={powr: 2}",), "did you mean power"),
    "a word for a number": (
        ("lr_scheduler_kwargs={power: high}",),
        r"power should be a number \(got high\)",
    ),
    "early stopping without rows": (
        ("early_stopping_patience=3",),
        "early_stopping_patience: needs rows that are held out",
    ),
    "a plateau without rows": (
        ("lr_scheduler_type=reduce_lr_on_plateau",),
        "reduce_lr_on_plateau: needs rows that are held out",
    ),
    "a metric that is not measured": (
        ("load_best_model_at_end=true", "metric_for_best_model=accuracy", *HELD_OUT),
        "metric_for_best_model: accuracy is not measured with stage: sft",
    ),
    "the best of ranks that change": (
        ("load_best_model_at_end=true", "tuner_type=adalora", *HELD_OUT),
        "checkpoints cannot hold the rank allocation of adalora",
    ),
    "smoothing with another meaning": (
        ("stage=dpo", "label_smoothing_factor=0.1"),
        "label_smoothing_factor=0.1 belongs to stage: pt, stage: sft",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused(name: str) -> None:
    overrides, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        planned(*overrides)


def test_settings_without_effect_are_noted() -> None:
    keys = ("optim=sgd", "adam_beta1=0.8", "lr_scheduler_type=constant", "warmup_steps=10")
    loaded = loads("", source="a.yaml", overrides=["model=m", "dataset=d", *keys])
    assert [note.split(" is not used")[0] for note in loaded.notes] == [
        "adam_beta1=0.8 adam_beta1",
        "warmup_steps=10 warmup_steps",
    ]
