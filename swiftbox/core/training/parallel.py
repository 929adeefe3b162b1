"""What `distributed:` means to transformers: FSDP2 and DeepSpeed ZeRO settings from a config."""

from __future__ import annotations

from typing import Any

import torch

from swiftbox.config.train import TrainConfig


def sharding_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the TrainingArguments of the strategy; empty for one process and for DDP."""
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

        deepspeed.init_distributed()  # ZeRO-3 wants it before TrainingArguments look for it
        return {"deepspeed": zero(int(config.distributed.removeprefix("zero")), config)}
    if config.distributed == "ddp":
        return {"ddp_find_unused_parameters": False}
    return {}


def leave_group() -> None:
    """Part from the other processes; threads left to themselves can abort the exit."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def zero(stage: int, config: TrainConfig) -> dict[str, Any]:
    """Return the DeepSpeed config of a ZeRO stage (arXiv:1910.02054); sizes follow the Trainer."""
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
