"""Parallelism settings for transformers: FSDP2, DeepSpeed ZeRO and DDP; and saving from FSDP2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import TrainingArguments

from swiftbox.config.train import TrainConfig
from swiftbox.errors import MachineError
from swiftbox.files import read_json, write_json
from swiftbox.language import text


def sharding_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the TrainingArguments of the config's `distributed` strategy."""
    if config.distributed == "fsdp":
        return {
            "fsdp": True,
            "fsdp_config": {
                "version": 2,
                "reshard_after_forward": config.sharding_strategy == "FULL_SHARD",
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "state_dict_type": "FULL_STATE_DICT",
                "activation_checkpointing": config.gradient_checkpointing == "true",
            },
        }
    if config.distributed.startswith("zero"):
        import deepspeed

        deepspeed.init_distributed()  # ZeRO-3 requires it before TrainingArguments
        return {"deepspeed": zero_config(int(config.distributed.removeprefix("zero")), config)}
    if config.distributed == "ddp":
        # The models' buffers are constants. Broadcasting them would tie the forward passes of the
        # processes together, and one that is out of memory could not repeat its own.
        return {"ddp_find_unused_parameters": False, "ddp_broadcast_buffers": False}
    return {}


def for_one_device(arguments: TrainingArguments) -> TrainingArguments:
    """Return the arguments; raise MachineError if this process sees several devices.

    transformers would wrap the model in nn.DataParallel and multiply the rows of a batch.
    """
    if arguments.n_gpu > 1:
        raise MachineError(
            text(
                f"one process sees {arguments.n_gpu} devices and would split every batch over them",
                f"一个进程可见 {arguments.n_gpu} 个设备，会把每个批次拆分到这些设备上",
            ),
            hint=text(
                "use `swiftbox run FILE`, which selects one device, or set distributed: ddp",
                "请用 `swiftbox run FILE` 启动，它只选一个设备；或设 distributed: ddp",
            ),
        )
    return arguments


def is_sharded(config: TrainConfig) -> bool:
    """Return whether the strategy splits the weights, and so places them itself."""
    return config.distributed not in ("none", "ddp")


def save_fsdp_weights(trainer: Any, folder: Path, dtype: torch.dtype) -> None:
    """Save all weights of an FSDP2 model in a number type; every process must call this.

    Trained weights are float32. Each is cast before it is gathered, so that neither the first
    process nor a device ever holds a complete float32 model, nor a second copy of the weights.
    """
    keeps = trainer.args.should_save
    weights: dict[str, torch.Tensor] = {}
    gathered: dict[int, torch.Tensor] = {}  # tied weights stay one tensor, and are saved once
    for name, weight in trainer.model.state_dict(keep_vars=True).items():
        if id(weight) not in gathered:
            value = _complete(weight.detach(), dtype)
            gathered[id(weight)] = value.cpu() if keeps else torch.empty(0)
        weights[name] = gathered[id(weight)]
    trainer._save(str(folder), state_dict=weights)  # what Trainer.save_model calls
    if keeps:  # transformers records the type of the parameters
        config = read_json(folder / "config.json")
        write_json(folder / "config.json", {**config, "dtype": str(dtype).removeprefix("torch.")})


def _complete(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return an entire weight in a number type, cast before its shards are gathered."""
    value = weight.to(dtype) if weight.is_floating_point() else weight
    return value.full_tensor() if isinstance(value, DTensor) else value


def destroy_process_group() -> None:
    """Leave the process group if there is one; its threads can abort the exit otherwise."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def zero_config(stage: int, config: TrainConfig) -> dict[str, Any]:
    """Return the DeepSpeed config of a ZeRO stage (arXiv:1910.02054); the Trainer fills `auto`."""
    return {
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "fp16": {"enabled": config.dtype == "float16"},
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "gradient_clipping": config.max_grad_norm,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }
