"""One process of sharded runs on CPUs, for test_sharding: writes what their parameters are.

Accelerate turns FSDP on CPUs into DDP without a word (MULTI_CPU knows no sharding); saying that the
processes have GPUs makes it shard. In this test only.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from swiftbox.core.data.batches import LINES
from swiftbox.core.data.cache import ExampleEncoder
from swiftbox.core.data.prepare import load_tokenizer, prepare_rows
from swiftbox.core.data.rows import UnitDataset
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.terms import LossContext
from swiftbox.core.training import session
from swiftbox.core.training.arguments import training_arguments
from swiftbox.core.training.atomic_checkpoints import RunRecorder
from swiftbox.core.training.parallel import destroy_process_group, save_fsdp_weights
from swiftbox.core.training.trainer import SwiftTrainer, TrainingSetup
from swiftbox.core.tuners.attach import AdapterStart
from swiftbox.core.weights.load import load_trainable
from swiftbox.methods import METHODS
from swiftbox.tasks.load import load
from swiftbox.tasks.training_check import sources_of


def main() -> None:
    results = [train(Path(path), Path(sys.argv[1])) for path in sys.argv[3:]]
    if PartialState().process_index == 0:
        Path(sys.argv[2]).write_text(json.dumps(results))
    destroy_process_group()
    os._exit(0)  # on a busy machine a thread of torch may abort the end of the interpreter


def train(path: Path, folder: Path) -> dict[str, Any]:
    """Train in every process; return the losses and the number of sharded parameters."""
    config = load(path).config.model_copy(
        update={"attn_implementation": "sdpa", "optim": "adamw_torch", "distributed": "fsdp"}
    )
    method = METHODS["sft"]
    AcceleratorState._reset_state()  # of the training before, with another number type
    quiet = lambda *_, **__: None  # noqa: E731
    arguments = training_arguments(config, folder, evaluates=False)
    _ = arguments.device
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    tokenizer = load_tokenizer(Path(config.model), config)
    encoder = ExampleEncoder.of(method, tokenizer, config)
    rows = prepare_rows(encoder, sources_of(config), quiet).training
    torch.manual_seed(0)
    network = session.adapted_network(
        load_trainable(Path(config.model), config), config, AdapterStart(), quiet
    )
    reader = reader_for(network, sharded=True)
    work = TrainingSetup(
        record=RunRecorder(folder, quiet, 1),
        training=UnitDataset([[row] for row in rows]),
        held_out=None,
        collate=partial(method.collate, layout=LINES),
        loss=partial(method.loss, context=LossContext(config, reader)),
        count=method.count,
    )
    trainer = SwiftTrainer(work, model=network, args=arguments, processing_class=tokenizer)
    trainer.train()
    if config.tuner_type == "full":
        save_fsdp_weights(trainer, folder / "model", torch.bfloat16)
    sharded = sum(isinstance(weight, DTensor) for weight in trainer.model.parameters())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"sharded": sharded, "losses": losses}


if __name__ == "__main__":
    main()
