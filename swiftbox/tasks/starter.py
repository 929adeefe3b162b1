"""task: starter. Create a small model and its data on this machine, without a network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from swiftbox.config.starter import StarterConfig
from swiftbox.devices.machine import Machine
from swiftbox.fit.forecast import Forecast, RunInputs
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.shape import shape_from_dimensions
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.starter.corpus import CHATS, TEXTS, make_corpus
from swiftbox.tasks.effects import Effects
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Resolved, Task

DATA = "data"

DIMENSIONS = {
    "hidden": 192,
    "intermediate": 512,
    "layers": 4,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 48,
    "vocab": 4096,
    "context": 1024,
    "tied": True,
    "gated": True,
}
"""Parameters of the model that core/weights/starter_model.py creates."""

PARAMETERS = 2.4e6
DISK_BYTES = PARAMETERS * 4 + 3.5e6
"""The model in float32, and the texts of the standard library (measured: 12.4 MiB)."""

MEMORY_BYTES = 0.45e9
"""Memory for the libraries and for training the tokenizer (measured: 0.38 GiB)."""


def resolve(config: StarterConfig, machine: Machine) -> Resolved:  # noqa: ARG001 - the signature of every task
    """Return the config unchanged: the starter is the same on every machine."""
    return Resolved(config, (), 1, {})


def run(config: StarterConfig, folder: Path, emit: Emit) -> Path | None:
    """Write the data, the tokenizer and the random model; return the folder of the model."""
    began = time.monotonic()
    emit(events.STAGE, name="corpus")
    pretrain, chat = make_corpus(folder / DATA, config.model_name, config.seed)
    emit(events.MADE, texts=_rows(pretrain), conversations=_rows(chat))
    emit(events.STAGE, name="starter")
    from swiftbox.core.weights.starter_model import create_model

    partial, final = folder / f".{run_folder.MODEL}", folder / run_folder.MODEL
    for old in (partial, final):
        shutil.rmtree(old, ignore_errors=True)
    create_model(folder / DATA, partial)
    partial.rename(final)
    emit(events.DONE, seconds=round(time.monotonic() - began, 1), model=str(final))
    return final


def _rows(path: Path) -> int:
    with path.open(encoding="utf-8") as file:
        return sum(1 for _ in file)


def outputs(config: StarterConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the outputs: the model, conversations for fine-tuning, texts for pretraining."""
    return {
        "model": lambda folder: str(folder / run_folder.MODEL),
        "dataset": lambda folder: str(folder / DATA / CHATS),
        "texts": lambda folder: str(folder / DATA / TEXTS),
    }


def forecast(config: StarterConfig, machine: Machine, before: RunInputs) -> Forecast:  # noqa: ARG001
    """Estimate disk and memory, and give the shape of the new model."""
    shape = shape_from_dimensions(DIMENSIONS, params=PARAMETERS)
    return Forecast(DISK_BYTES, MEMORY_BYTES, output=ModelProfile(shape, exact=True, local=True))


def effects(config: StarterConfig) -> Effects:
    """Return where a starter writes: it executes and sends nothing."""
    return effects_of(config)


def run_name(config: StarterConfig) -> str:
    """Name a starter after the name of the model."""
    return f"starter-{config.model_name.lower()}"


STARTER: Task[StarterConfig] = Task(
    name="starter",
    discriminator="task",
    default="starter",
    config_classes={"starter": StarterConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    effects=effects,
    outputs=outputs,
    forecast=forecast,
    uses_devices=False,
)
