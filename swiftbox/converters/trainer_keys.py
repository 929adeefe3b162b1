"""Keys that the tools share because they pass them to the trainer of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.aliases import ALIASES
from swiftbox.converters.galore_keys import optimizer_arguments
from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Rows,
    adopted,
    no_effect,
    no_effect_rows,
    number,
    renamed,
    unsupported,
    unsupported_rows,
)
from swiftbox.language import text

OPTIMIZERS = {
    "adamw_bnb_8bit": "adamw_8bit",
    "adamw_torch_8bit": "adamw_8bit",
    "ao_adamw_8bit": "adamw_8bit",
    "paged_adamw": "adamw_torch",
    "paged_adamw_32bit": "adamw_torch",
    "adamw_hf": "adamw_torch",
    "adamw_apex_fused": "adamw_torch_fused",
}
NEAREST_OPTIMIZERS = {
    "adamw_torch_8bit": ("8-bit states of bitsandbytes", "使用 bitsandbytes 的 8 位状态"),
    "ao_adamw_8bit": ("8-bit states of bitsandbytes", "使用 bitsandbytes 的 8 位状态"),
    "paged_adamw": ("the states stay on the device", "状态保留在设备上"),
    "paged_adamw_32bit": ("the states stay on the device", "状态保留在设备上"),
}
"""Optimizers that compute the same, and what differs."""
OFFLOADING = {"legacy": True, "disk": True, "auto": False}
OFFLOADED = ("unsloth", "offload", "offload_disk")
SECRETS = ("_token", "api_key", "secret", "password")


def is_secret(key: str) -> bool:
    """Tell whether the value of a key must not be shown."""
    return key.lower().endswith(SECRETS)


def attention(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate an attention kernel; flash attention becomes `auto`, which uses it if installed."""
    if value is True or "flash" in str(value) or str(value) in ("fa2", "fa3", "xformers"):
        return adopted(
            text(
                "auto uses flash attention where it is installed; the result is the same",
                "auto 在已安装时使用 flash attention；结果相同",
            ),
            attn_implementation="auto",
        )
    return [KeyOutcome("adopted", ALIASES["flash_attn"].translate(value) or {})]


def optimizer(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the name of an optimizer, which a switch of GaLore replaces."""
    if foreign.has("use_galore"):
        return [no_effect(text("set by use_galore", "以 use_galore 为准"))]
    why = NEAREST_OPTIMIZERS.get(value, ("", "")) if isinstance(value, str) else ("", "")
    known = OPTIMIZERS.get(value, value) if isinstance(value, str) else value
    return adopted(text(*why), optim=known)


def best_metric(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate what an evaluation is judged by: the loss, or a reward of the method."""
    name = str(value).removeprefix("eval_")
    if name == "loss" or name.startswith("reward"):
        return adopted(metric_for_best_model=name)
    why = text(f"{value} is not measured here", f"此处不计算 {value}")
    return [unsupported(why)]


def half(dtype: str) -> Any:
    """Return the row of `bf16: true | false | auto | full`, or of fp16."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if str(value).lower() == "true":
            return adopted(dtype=dtype)
        if str(value).lower() == "full":
            return pure_half(dtype, trains_adapter=foreign.has("adapter"))
        if str(value).lower() == "auto":
            return adopted(dtype="auto")
        return [no_effect(text("off; swiftbox uses dtype: auto", "原本关闭；此处为 dtype: auto"))]

    return translate


def pure_half(dtype: str, *, trains_adapter: bool) -> list[KeyOutcome]:
    """Translate weights that are trained in 16 bits; those of an adapter are float32 here."""
    if dtype != "bfloat16" or trains_adapter:
        why = text("trained weights stay in float32 here", "此处被训练的权重保持 float32")
        return adopted(why, dtype=dtype)
    return adopted(dtype=dtype, pure_bf16=True)


def checkpointing(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate checkpoints of activations; unsloth and axolotl can keep them in main memory."""
    if str(value).lower() in OFFLOADED:
        return adopted(gradient_checkpointing="true", activation_offload=True)
    return adopted(gradient_checkpointing=value)


def offloaded_checkpoints(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate a switch for checkpoints that are kept in main memory."""
    if not value:
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    return checkpointing("unsloth", foreign)


def warmup_ratio(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate a share of the run; an explicit number of steps takes precedence."""
    if foreign.has("warmup_steps"):
        return [
            no_effect(
                text("warmup_steps is set and takes precedence", "已给出 warmup_steps，以其为准")
            )
        ]
    return adopted(warmup_steps=value)


def max_steps(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the limit of steps; below 1 means no limit."""
    limit = number(value)
    if isinstance(limit, (int, float)) and limit < 1:
        return [no_effect(text("no limit, as in swiftbox", "原本无上限，此处亦无"))]
    return adopted(max_steps=value)


def data_seed(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the seed of the data; swiftbox has a single seed."""
    if value == foreign.values.get("seed", 42):
        return [no_effect(text("the same as seed", "与 seed 相同"))]
    return [unsupported(text("there is only one seed; set seed", "此处统一使用 seed；请设 seed"))]


def deepspeed(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Read the ZeRO stage from a name, a mapping, or a config file beside the YAML."""
    stage = _zero_stage(value, foreign)
    if stage is None:
        return [
            unsupported(
                text(
                    f"no ZeRO stage in {value}: set distributed: zero1 | zero2 | zero3",
                    f"{value} 中看不出 ZeRO 阶段：请设 distributed: zero1 | zero2 | zero3",
                )
            )
        ]
    if stage == 0:
        return adopted(distributed="ddp")
    ours = adopted(distributed=f"zero{stage}")
    if "offload" in str(value):
        ours.append(
            unsupported(
                text("offloading is not supported here", "此处不支持卸载到内存或磁盘"), "[offload]"
            )
        )
    return ours


def _zero_stage(value: Any, foreign: ForeignConfig) -> int | None:
    if isinstance(value, Mapping):
        zero = value.get("zero_optimization")
        stage = zero.get("stage") if isinstance(zero, Mapping) else None
        return stage if isinstance(stage, int) else None
    file = foreign.folder / str(value)
    if file.is_file():
        try:
            return _zero_stage(json.loads(file.read_text(encoding="utf-8")), foreign)
        except (OSError, ValueError, RecursionError):  # it may name itself
            return None
    word = Path(str(value)).name.lower()
    if "zero0" in word or "z0" in word:
        return 0
    strategy = str((ALIASES["deepspeed"].translate(word) or {})["distributed"])
    digit = strategy.removeprefix("zero")
    return int(digit) if digit in ("1", "2", "3") else None


def fsdp(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate `fsdp: full_shard auto_wrap`, or the same words as a list."""
    options = " ".join(map(str, value)) if isinstance(value, list) else value
    return [KeyOutcome("adopted", ALIASES["fsdp"].translate(options) or {})]


def fsdp_config(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the sharding strategy of the FSDP options; offloading is unsupported."""
    if not isinstance(value, Mapping):
        return [unsupported(text("files with FSDP options are not read", "不读取 FSDP 选项文件"))]
    options = {str(key).removeprefix("fsdp_"): option for key, option in value.items()}
    outcomes: list[KeyOutcome] = []
    if strategy := options.get("sharding_strategy"):
        ours = ALIASES["fsdp_sharding_strategy"].translate(strategy) or {}
        outcomes.append(KeyOutcome("adopted", ours, within=".sharding_strategy"))
    if options.get("reshard_after_forward") is False:
        outcomes += adopted(sharding_strategy="SHARD_GRAD_OP")
    if options.get("offload_params"):
        outcomes.append(
            unsupported(
                text("offloading is not supported here", "此处不支持卸载到内存或磁盘"),
                ".offload_params",
            )
        )
    why = text(
        "layers are wrapped and states are saved in a fixed way", "此处的包裹与保存方式是固定的"
    )
    return [*outcomes, no_effect(why, "[...]")]


def resume(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Explain how to continue a run; checkpoints of other tools cannot be resumed."""
    if value in (False, "false"):
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    return [
        unsupported(
            text(
                "continue a run with `swiftbox runs resume`; to continue from an adapter, "
                "set adapter",
                "此处用 `swiftbox runs resume` 继续运行；若要从适配器继续，请设 adapter",
            )
        )
    ]


TRAINER: Rows = {
    "optim": optimizer,
    "optimizer": optimizer,
    "metric_for_best_model": best_metric,
    "optim_args": optimizer_arguments,
    "bf16": half("bfloat16"),
    "fp16": half("float16"),
    "warmup_ratio": warmup_ratio,
    "max_steps": max_steps,
    "data_seed": data_seed,
    "deepspeed": deepspeed,
    "fsdp": fsdp,
    "fsdp_config": fsdp_config,
    "resume_from_checkpoint": resume,
    **unsupported_rows(
        "the options of a launcher are not read: set distributed and num_devices",
        "不读取启动器的选项：请设 distributed 与 num_devices",
        "launcher",
    ),
    "gradient_checkpointing": checkpointing,
    "use_unsloth_gc": offloaded_checkpoints,
    "activation_offloading": renamed("activation_offload", OFFLOADING),
    "torch_compile": renamed("torch_compile"),
    "use_liger_kernel": renamed("use_liger_kernel"),
    "enable_liger_kernel": renamed("use_liger_kernel"),
    "flash_attn": attention,
    "attn_impl": attention,
    "attn_implementation": attention,
    "neftune_noise_alpha": renamed("neftune_noise_alpha"),
    **no_effect_rows(
        "every run has a separate folder and overwrites nothing",
        "每次运行都有自己的目录，不会覆盖任何内容",
        "overwrite_output_dir overwrite_cache add_version",
    ),
    **no_effect_rows(
        "rows are read and checked again at every start",
        "每次启动都会重新读取并检查数据",
        "load_from_cache_file dataset_prepared_path skip_prepare_dataset tokenized_path",
    ),
    **no_effect_rows(
        "worker processes are chosen for the machine",
        "工作进程数由机器情况决定",
        "preprocessing_num_workers preprocessing_batch_size dataloader_num_workers "
        "dataloader_pin_memory dataloader_prefetch_factor dataloader_persistent_workers "
        "dataset_num_proc dataset_processes dataset_keep_in_memory packing_num_proc num_proc "
        "lazy_tokenize",
    ),
    **no_effect_rows(
        "the processes of a run find each other without it",
        "运行中的各进程无需此项即可互相连接",
        "ddp_timeout ddp_backend local_rank world_size ddp_find_unused_parameters ddp "
        "ddp_bucket_cap_mb ddp_broadcast_buffers device_map device",
    ),
    **no_effect_rows(
        "the loss and the log are always kept in the run folder",
        "损失与日志总会保存在运行目录中",
        "plot_loss logging_dir logging_first_step logging_strategy run_name log_level "
        "disable_tqdm include_num_input_tokens_seen include_tokens_per_second "
        "include_effective_tokens_per_second print_param_status profiler_steps debug "
        "acc_strategy compute_accuracy",
    ),
    **no_effect_rows(
        "evaluation needs no separate setting here",
        "此处评估无需单独设置",
        "per_device_eval_batch_size eval_batch_size do_eval eval_accumulation_steps "
        "eval_on_start eval_sample_packing prediction_loss_only metric",
    ),
    **no_effect_rows(
        "changes speed or memory only; chosen here for the machine",
        "只影响速度或显存；此处由机器情况决定",
        "tf32 torch_compile_backend torch_compile_mode use_unsloth gradient_checkpointing_kwargs "
        "use_reentrant_gc low_cpu_mem_usage low_cpu_memory_usage group_by_length "
        "remove_unused_columns use_cache use_kv_cache gc_steps use_logits_to_keep max_memory "
        "accelerator_config average_tokens_across_devices auto_find_batch_size "
        "torch_empty_cache_steps",
    ),
    **no_effect_rows(
        "checkpoints here are complete, so that every run can continue",
        "此处的检查点总是完整的，任何运行都能继续",
        "save_only_model save_safetensors safe_serialization create_checkpoint_symlink "
        "auto_resume_from_checkpoints ignore_data_skip save_on_each_node use_flash_ckpt",
    ),
    **no_effect_rows(
        "nothing is uploaded; the trained model stays in the run folder",
        "不会上传任何内容；训练好的模型留在运行目录中",
        "push_to_hub hub_model_id hub_strategy hub_private_repo hub_revision "
        "push_dataset_to_hub hub_private",
    ),
    **no_effect_rows(
        "secrets are taken from the environment, never from a file",
        "密钥只取自环境变量，绝不写入文件",
        "hub_token hf_hub_token ms_hub_token om_hub_token hf_use_auth_token swanlab_token "
        "swanlab_api_key swanlab_lark_secret wandb_api_key",
    ),
    **no_effect_rows(
        "the reporter takes it from the environment (WANDB_PROJECT, SWANLAB_PROJ_NAME ...)",
        "上报工具从环境变量读取（WANDB_PROJECT、SWANLAB_PROJ_NAME 等）",
        "wandb_entity wandb_name wandb_run_id wandb_watch wandb_log_model wandb_mode "
        "swanlab_project swanlab_workspace swanlab_exp_name swanlab_run_name swanlab_mode "
        "swanlab_logdir swanlab_lark_webhook_url wandb_run_name",
    ),
    **no_effect_rows(
        "MODELSCOPE_CACHE and HF_HOME say where downloads go",
        "下载位置由 MODELSCOPE_CACHE 与 HF_HOME 决定",
        "cache_dir download_mode",
    ),
    **unsupported_rows(
        "no counterpart in swiftbox",
        "此处没有对应设置",
        "optim_target_modules "
        "moe_aux_loss_coef router_aux_loss_coef full_determinism predict_with_generate "
        "use_apollo use_badam use_adam_mini use_muon use_dft_loss enable_dft_loss "
        "enable_channel_loss rope_scaling shift_attn",
    ),
}
