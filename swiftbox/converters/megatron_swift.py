"""Megatron-SWIFT: `megatron sft | pt | rlhf --key value`, with keys of ms-swift and of Megatron.

Devices that share a model there train on rows side by side here, so the rows per update, which
Megatron states as a whole, are spread over all devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.converters.msswift import MS_SWIFT, long_rows
from swiftbox.converters.msswift_distillation import GKD_DEFAULTS
from swiftbox.converters.msswift_values import CLASSIFICATION, PREFERENCES, stage_of
from swiftbox.converters.rows import (
    AddedDefault,
    ForeignConfig,
    ForeignTool,
    KeyOutcome,
    Rows,
    adopted,
    no_effect,
    no_effect_rows,
    refused,
    refused_rows,
    renamed,
    replaced,
    split_names,
    unsupported,
    unsupported_rows,
    whole_number,
)
from swiftbox.converters.shared_values import FUSION, PARALLELISM, recomputation
from swiftbox.language import text

SCHEDULES = {"inverse-square-root": "inverse_sqrt", "WSD": "warmup_stable_decay"}
LAYERS: Mapping[str, tuple[str, ...]] = {
    "linear_qkv": ("q_proj", "k_proj", "v_proj"),
    "linear_proj": ("o_proj",),
    "linear_fc1": ("gate_proj", "up_proj"),
    "linear_fc2": ("down_proj",),
    "word_embeddings": ("embed_tokens",),
    "output_layer": ("lm_head",),
}
"""Megatron's names of layers, and those of the same weights in transformers' Llama and Qwen."""

MAX_ROWS = 65_536
"""The largest per_device_train_batch_size."""

USUAL_ROWS = 16
"""Megatron-SWIFT's default of global_batch_size."""


def rows_per_update(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the rows of an update, spread over the devices."""
    total, batch = whole_number(value, 0), batch_of(value, foreign)
    if batch is None:
        return [unsupported(text("is not a number of rows", "不是行数"))]
    rows = batch["per_device_train_batch_size"] * batch["gradient_accumulation_steps"]
    rows *= whole_number(foreign.values.get("NPROC_PER_NODE"), 1)
    differs = text(
        f"{rows} rows per update: as many for each device", f"每次更新 {rows} 行：各设备行数相同"
    )
    return [KeyOutcome("adopted", batch, "" if rows == total else differs)]


def batch_of(value: Any, foreign: ForeignConfig) -> dict[str, int] | None:
    """Return the batch of a device with as many rows per pass as the file says, or fewer.

    A total that cannot be divided by the devices is rounded up.
    """
    total, devices = whole_number(value, 0), whole_number(foreign.values.get("NPROC_PER_NODE"), 1)
    rows = whole_number(foreign.values.get("micro_batch_size"), 1)
    if min(total, devices, rows) < 1:
        return None
    per_device = -(-total // devices)
    largest = min(rows, per_device, MAX_ROWS)
    size = next(size for size in range(largest, 0, -1) if per_device % size == 0)
    return {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": per_device // size,
    }


def optimizer(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the optimizer; Megatron's adam is AdamW."""
    if value in ("adam", "sgd"):
        return adopted(optim="adamw_torch" if value == "adam" else "sgd")
    return [unsupported(text(f"there is no {value} here", f"此处没有 {value}"))]


def target_modules(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the layers that get an adapter."""
    if "all-linear" in split_names(value):
        return adopted(target_modules="all-linear")
    return adopted(target_modules=layers(value))


def modules_to_save(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the layers that are trained in full."""
    return adopted(modules_to_save=layers(value))


def layers(value: Any) -> list[str]:
    """Return names of layers from Megatron's names."""
    return [name for module in split_names(value) for name in LAYERS.get(module, (module,))]


def finetune(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate that training begins with weights only."""
    if value in (True, "true"):
        return [no_effect(text("a run starts from weights here too", "此处同样只从权重开始"))]
    return [
        unsupported(
            text(
                "continue a run with `swiftbox runs resume`", "请用 `swiftbox runs resume` 继续运行"
            )
        )
    ]


def own_format(_value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Refuse weights in Megatron's own format, unless the same are named in the usual one."""
    if foreign.has("model"):
        return [no_effect(text("the weights of model are used", "使用 model 的权重"))]
    return refused(
        text("weights in Megatron's format are not read", "不读取 Megatron 格式的权重"),
        text("give the model in the usual format: model=...", "请给出通用格式的模型：model=..."),
        "model",
    )


def decay_style(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the shape of the schedule."""
    return adopted(lr_scheduler_type=replaced(value, SCHEDULES))


def defaults(ours: Mapping[str, Any], foreign: ForeignConfig) -> Sequence[AddedDefault]:
    """Name Megatron-SWIFT's defaults that differ from ours."""
    full = ours.get("tuner_type", "full") == "full"
    values: dict[str, Any] = {
        "tuner_type": "full",
        "adam_beta2": 0.95,
        "eval_steps": ours.get("save_steps") or 500,
        "lora_dropout": 0.05,
        "weight_decay": 0.1,
        "warmup_steps": 0.0,
        "truncation": "drop" if "max_length" in ours else "error",
        "save_steps": 500,
        "learning_rate": 1e-5 if full else 1e-4,
        "gradient_checkpointing": "selective",
        **(batch_of(USUAL_ROWS, foreign) or {}),
    }
    stage = stage_of(foreign)
    if stage in (*PREFERENCES, "grpo"):
        values["beta"] = 0.04 if stage == "grpo" else 0.1
    if stage == CLASSIFICATION:
        values["use_chat_template"] = True
    if stage == "grpo":
        values |= {"loss_type": "grpo", "temperature": 0.9, "max_completion_length": 512}
    if stage == "gkd":
        values |= GKD_DEFAULTS
    why = text("Megatron-SWIFT's default", "Megatron-SWIFT 的默认值")
    because = {"truncation": long_rows()} if "max_length" not in ours else {}
    return [AddedDefault(key, value, because.get(key, why)) for key, value in values.items()]


ROWS: Rows = {
    **MS_SWIFT.rows,
    "lr": renamed("learning_rate"),
    "min_lr": renamed("min_lr"),
    "lr_warmup_fraction": renamed("warmup_steps"),
    "lr_warmup_iters": renamed("warmup_steps"),
    "lr_decay_style": decay_style,
    "train_iters": renamed("max_steps"),
    "max_epochs": renamed("num_train_epochs"),
    "save_interval": renamed("save_steps"),
    "eval_interval": renamed("eval_steps"),
    "clip_grad": renamed("max_grad_norm"),
    "adam_eps": renamed("adam_epsilon"),
    "global_batch_size": rows_per_update,
    **no_effect_rows("part of global_batch_size", "已并入 global_batch_size", "micro_batch_size"),
    "gpus": renamed("num_devices"),
    "recompute_granularity": recomputation,
    "optimizer": optimizer,
    "target_modules": target_modules,
    "modules_to_save": modules_to_save,
    "finetune": finetune,
    **dict.fromkeys(("load", "mcore_model"), own_format),
    **PARALLELISM,
    **no_effect_rows(
        "global_batch_size states the rows of an update",
        "每次更新的行数由 global_batch_size 给出",
        "tensor_model_parallel_size pipeline_model_parallel_size context_parallel_size",
    ),
    **FUSION,
    **no_effect_rows(
        "changes speed or memory only; chosen here for the machine",
        "只影响速度或显存；此处由机器情况决定",
        "attention_backend optimizer_cpu_offload optimizer_offload_fraction "
        "use_precision_aware_optimizer exp_avg_dtype exp_avg_sq_dtype offload_bridge "
        "linear_decoupled_in_proj use_megatron_fsdp padding_free "
        "MULTI_STREAM_MEMORY_REUSE HCCL_SOCKET_IFNAME",
    ),
    **no_effect_rows(
        "checkpoints here are complete, so that every run can continue",
        "此处的检查点总是完整的，任何运行都能继续",
        "no_save_optim no_save_rng no_load_optim no_load_rng async_save",
    ),
    **no_effect_rows(
        "all held-out rows are evaluated",
        "评估全部验证数据",
        "eval_iters",
    ),
    **unsupported_rows(
        "no counterpart in swiftbox",
        "此处没有对应设置",
        "moe_aux_loss_coeff moe_z_loss_coeff moe_expert_capacity_factor mtp_num_layers fp8_format "
        "fp8_recipe fp8_param_gather fp4_format lr_wsd_decay_style lr_wsd_decay_iters "
        "lr_decay_iters calculate_per_token_loss tau_pos tau_neg use_gym_env gym_env rollout "
        "colocate_groups",
    ),
    **refused_rows(
        "weights in Megatron's format are not read",
        "不读取 Megatron 格式的权重",
        ("give the adapter in peft's format: adapter=...", "请给出 peft 格式的适配器：adapter=..."),
        "mcore_adapter mcore_ref_model mcore_ref_adapter",
    ),
}

MEGATRON_SWIFT = ForeignTool(
    name="megatron-swift",
    title="Megatron-SWIFT",
    marks=tuple(
        "recompute_method recompute_num_layers lr_warmup_fraction lr_warmup_iters train_iters "
        "no_save_optim no_save_rng cross_entropy_loss_fusion attention_backend "
        "moe_permute_fusion mcore_model finetune global_batch_size lr min_lr "
        "gradient_accumulation_fusion recompute_granularity".split()
    ),
    rows=ROWS,
    defaults=defaults,
)
