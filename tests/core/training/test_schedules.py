"""The learning rate of every update: our closed forms, transformers' schedules, the trainer's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from tiny import write_chats, write_config
from transformers import get_scheduler

from swiftbox.config.schedule_curve import rate_at, scheduler_arguments, updates_of
from swiftbox.core.training.arguments import training_arguments
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load, loads

pytestmark = pytest.mark.filterwarnings("ignore")

PEAK, TOTAL = 2e-3, 37

CURVES: dict[str, dict[str, object]] = {
    "cosine": {},
    "cosine of one wave": {
        "lr_scheduler_type": "cosine",
        "lr_scheduler_kwargs": "{num_cycles: 1}",
    },
    "cosine with a floor": {"min_lr": 1e-4},
    "cosine_with_min_lr": {"min_lr_rate": 0.2, "warmup_steps": 5},
    "cosine_warmup_with_min_lr": {"min_lr": 5e-5, "warmup_steps": 4},
    "cosine_warmup_with_min_lr from a tenth": {
        "lr_scheduler_type": "cosine_warmup_with_min_lr",
        "min_lr_rate": 0.1,
        "lr_scheduler_kwargs": "{warmup_lr_rate: 0.1}",
    },
    "cosine_with_restarts": {"lr_scheduler_kwargs": "{num_cycles: 3}"},
    "linear": {"warmup_steps": 0},
    "constant": {},
    "constant_with_warmup": {"warmup_steps": 7},
    "polynomial": {"lr_scheduler_kwargs": "{power: 2}"},
    "polynomial with a floor": {"lr_scheduler_type": "polynomial", "min_lr_rate": 0.5},
    "inverse_sqrt": {"warmup_steps": 3},
    "warmup_stable_decay": {},
    "warmup_stable_decay to a floor": {
        "lr_scheduler_type": "warmup_stable_decay",
        "num_decay_steps": 12,
        "warmup_steps": 6,
        "min_lr": 2e-4,
        "lr_scheduler_kwargs": "{warmup_type: 1-sqrt, decay_type: 1-sqrt}",
    },
    "warmup_stable_decay in lines": {
        "lr_scheduler_type": "warmup_stable_decay",
        "num_decay_steps": 0.5,
        "lr_scheduler_kwargs": "{warmup_type: cosine, decay_type: linear, num_stable_steps: 4}",
    },
}


def config_of(**keys: object) -> Any:
    keys = {"learning_rate": PEAK, **keys}
    written = [f"{key}={value}" for key, value in keys.items()]
    loaded = loads("", source="a.yaml", overrides=["model=m", "dataset=d", *written])
    return plan(loaded.config, made_up("cpu")).config


@pytest.mark.parametrize("name", CURVES)
def test_a_closed_form_equals_the_schedule_of_transformers(name: str) -> None:
    word = name.split(" ", maxsplit=1)[0]
    config = config_of(**{"lr_scheduler_type": word, **CURVES[name]})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = get_scheduler(
        config.lr_scheduler_type,
        optimizer,
        updates_of(config.warmup_steps, TOTAL),
        TOTAL,
        scheduler_arguments(config, TOTAL),
    )
    rates = []
    for _ in range(TOTAL):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    ours = [rate_at(config, TOTAL, step) for step in range(TOTAL)]
    assert ours == pytest.approx(rates, rel=1e-9, abs=1e-15)
    floor = config.min_lr or PEAK * (config.min_lr_rate or 0)
    warmed_up = rates[updates_of(config.warmup_steps, TOTAL) :]
    if floor and "warmup_with" not in name:
        assert min(warmed_up) >= floor * (1 - 1e-9)


def test_a_training_has_the_rates_of_the_closed_form(tmp_path: Path, tiny: Path) -> None:
    keys = {"lr_scheduler_type": "warmup_stable_decay", "min_lr": 1e-4, "num_decay_steps": 3}
    config, rates = trained(tmp_path, tiny, learning_rate=1e-3, max_steps=6, **keys)
    assert rates == pytest.approx([rate_at(config, 6, step) for step in range(6)])
    assert rates[-1] > 1e-4


@pytest.mark.parametrize("name", ["reduce_lr_on_plateau", "greedy"])
def test_a_schedule_that_follows_the_held_out_loss_does(
    name: str, tmp_path: Path, tiny: Path
) -> None:
    keys = {"lr_scheduler_type": name, "val_size": 4, "eval_steps": 1, "min_lr": 1e-5}
    arguments = {"patience": 0, "factor": 0.5, "threshold": 1e9, "threshold_mode": "abs"}
    config, rates = trained(
        tmp_path, tiny, learning_rate=1e-3, max_steps=4, lr_scheduler_kwargs=arguments, **keys
    )
    # The first evaluation is the best so far; no later one is better by the threshold.
    assert rates[0] == 1e-3
    assert rates[-1] < rates[0]
    assert rate_at(config, 4, 0) is None


def test_every_schedule_of_transformers_can_be_chosen() -> None:
    from transformers.trainer_utils import SchedulerType

    from swiftbox.config.schedule import ARGUMENTS, MEASURED
    from swiftbox.config.schedule_curve import SHAPES

    names = {kind.value for kind in SchedulerType}
    assert names == {*SHAPES, *MEASURED}
    assert set(ARGUMENTS) <= names


def trained(tmp_path: Path, model: Path, **keys: object) -> tuple[Any, list[float]]:
    """Train; return the settled config and the rate of every update."""
    data = write_chats(tmp_path / "chat.jsonl", 24)
    path = write_config(tmp_path / "a.yaml", model, data, save_steps=0, **keys)
    config = plan(load(path).config, made_up("cpu")).config
    folder = tmp_path / "run"
    folder.mkdir()
    rates: list[float] = []

    def emit(event: str, **fields: Any) -> None:
        if event == "step":
            rates.append(fields["learning_rate"])

    TASKS["train"].run(config, folder, emit)
    return config, rates


ADAMS = ("adamw_torch", "adamw_torch_fused", "adamw_8bit", "lora_fa", "galore_adamw", "rounding")


@pytest.mark.parametrize("name", ADAMS)
def test_every_optimizer_gets_the_settings_of_adam(name: str, tmp_path: Path, tiny: Path) -> None:
    from transformers import AutoModelForCausalLM, Trainer

    from swiftbox.core.training.optimizers import optimizer_of
    from swiftbox.core.tuners.attach import attach

    keys: dict[str, object] = {"optim": name}
    if name in ("galore_adamw", "rounding"):
        keys["tuner_type"] = "full"
    if name == "rounding":
        keys |= {"optim": "adamw_torch", "pure_bf16": True, "dtype": "bfloat16"}
    config = config_of(**keys, adam_beta1=0.7, adam_beta2=0.95, adam_epsilon=1e-5)
    arguments = training_arguments(config, tmp_path, evaluates=False)
    network = AutoModelForCausalLM.from_pretrained(tiny)
    if config.tuner_type == "lora":
        network = attach(network, config)
    create = optimizer_of(config)
    if create is None:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments, network)
        optimizer = kind(network.parameters(), **settings)
    else:
        optimizer = create(network, arguments)
    assert {(group["betas"], group["eps"]) for group in optimizer.param_groups} == {
        ((0.7, 0.95), 1e-5)
    }


def test_without_an_epsilon_each_optimizer_has_its_usual_one(tmp_path: Path, tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    from swiftbox.core.training.optimizers import optimizer_of
    from swiftbox.core.tuners.attach import attach

    config = config_of(optim="lora_fa")
    arguments = training_arguments(config, tmp_path, evaluates=False)
    assert arguments.adam_epsilon == 1e-8
    create = optimizer_of(config)
    assert create is not None
    optimizer = create(attach(AutoModelForCausalLM.from_pretrained(tiny), config), arguments)
    assert {group["eps"] for group in optimizer.param_groups} == {1e-6}
