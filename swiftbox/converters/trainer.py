"""Keys that the tools share because they hand them on to the trainer of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.aliases import ALIASES
from swiftbox.converters.row import (
    Finding,
    Given,
    Rows,
    fixed,
    idle,
    idle_rows,
    left,
    left_rows,
    number,
    taken,
    to,
)
from swiftbox.language import text

OPTIMIZERS = {
    "adamw_bnb_8bit": "adamw_8bit",
    "adamw_hf": "adamw_torch",
    "adamw_apex_fused": "adamw_torch_fused",
}
SECRETS = ("_token", "api_key", "secret", "password")


def is_secret(key: str) -> bool:
    """Tell whether the value of a key must not be shown."""
    return key.lower().endswith(SECRETS)


def attention(value: Any, _given: Given) -> list[Finding]:
    """Translate a kernel: the wish for flash attention is `auto`, which takes it where it is."""
    if value is True or "flash" in str(value) or str(value) in ("fa2", "fa3"):
        return taken(
            text(
                "auto takes flash attention wherever it is installed; the result is the same",
                "auto 在已安装时使用 flash attention；结果相同",
            ),
            attn_implementation="auto",
        )
    return [Finding("taken", ALIASES["flash_attn"].translate(value) or {})]


def half(dtype: str) -> Any:
    """Make the row of `bf16: true | false | auto` and its kin."""

    def how(value: Any, _given: Given) -> list[Finding]:
        if str(value).lower() == "true":
            return taken(dtype=dtype)
        if str(value).lower() in ("auto", "full"):
            return taken(dtype="auto")
        return [idle(text("off there; dtype: auto here", "原本关闭；此处为 dtype: auto"))]

    return how


def warmup_ratio(value: Any, given: Given) -> list[Finding]:
    """Translate a share of the run; a number of steps given beside it wins there, and here."""
    if given.has("warmup_steps"):
        return [idle(text("warmup_steps is given, and wins", "已给出 warmup_steps，以其为准"))]
    return taken(warmup_steps=value)


def max_steps(value: Any, _given: Given) -> list[Finding]:
    """Translate the limit of updates; below 1 there is none."""
    limit = number(value)
    if isinstance(limit, (int, float)) and limit < 1:
        return [idle(text("no limit there, and none here", "原本无上限，此处亦无"))]
    return taken(max_steps=value)


def save_strategy(value: Any, _given: Given) -> list[Finding]:
    """Translate when checkpoints are made: here after a number of updates, or at the end."""
    if value in ("no", False):
        return taken(save_steps=0)
    if value == "steps":
        return [idle(text("checkpoints are counted in updates here too", "此处同样按步保存"))]
    return [
        left(
            text(
                "checkpoints are counted in updates here: set save_steps",
                "此处按步数保存检查点：请设 save_steps",
            )
        )
    ]


def eval_strategy(value: Any, _given: Given) -> list[Finding]:
    """Translate when the held-out rows are measured: here after a number of updates."""
    if value == "epoch":
        return [
            left(text("counted in updates here: set eval_steps", "此处按步数：请设 eval_steps"))
        ]
    return [
        idle(
            text(
                "held-out rows (val_size) are measured every eval_steps",
                "留出数据（val_size）每 eval_steps 步评估一次",
            )
        )
    ]


def data_seed(value: Any, given: Given) -> list[Finding]:
    """Translate the seed of the rows: here one seed does for all."""
    if value == given.values.get("seed", 42):
        return [idle(text("the same as seed", "与 seed 相同"))]
    return [left(text("one seed does for all here: set seed", "此处统一使用 seed"))]


def deepspeed(value: Any, given: Given) -> list[Finding]:
    """Read the ZeRO stage out of a name, a mapping, or the config file beside the YAML."""
    stage = _zero_stage(value, given)
    if stage is None:
        return [
            left(
                text(
                    f"no ZeRO stage in {value}: set distributed: zero1 | zero2 | zero3",
                    f"{value} 中看不出 ZeRO 阶段：请设 distributed: zero1 | zero2 | zero3",
                )
            )
        ]
    if stage == 0:
        return taken(distributed="ddp")
    ours = taken(distributed=f"zero{stage}")
    if "offload" in str(value):
        ours.append(left(text("offloading is not done here", "此处不做 offload"), "[offload]"))
    return ours


def _zero_stage(value: Any, given: Given) -> int | None:
    if isinstance(value, Mapping):
        stage = (value.get("zero_optimization") or {}).get("stage")
        return stage if isinstance(stage, int) else None
    file = given.folder / str(value)
    if file.is_file():
        try:
            return _zero_stage(json.loads(file.read_text(encoding="utf-8")), given)
        except (OSError, ValueError):
            return None
    word = Path(str(value)).name.lower()
    if "zero0" in word or "z0" in word:
        return 0
    found = str((ALIASES["deepspeed"].translate(word) or {})["distributed"])
    digit = found.removeprefix("zero")
    return int(digit) if digit in ("1", "2", "3") else None


def fsdp(value: Any, _given: Given) -> list[Finding]:
    """Translate `fsdp: full_shard auto_wrap`, or the same words as a list."""
    words = " ".join(map(str, value)) if isinstance(value, list) else value
    return [Finding("taken", ALIASES["fsdp"].translate(words) or {})]


def fsdp_config(value: Any, _given: Given) -> list[Finding]:
    """Take the sharding strategy out of the options of FSDP; offloading is not done here."""
    if not isinstance(value, Mapping):
        return [left(text("a file of FSDP options is not read", "不读取 FSDP 选项文件"))]
    options = {str(key).removeprefix("fsdp_"): one for key, one in value.items()}
    found: list[Finding] = []
    if strategy := options.get("sharding_strategy"):
        ours = ALIASES["fsdp_sharding_strategy"].translate(strategy) or {}
        found.append(Finding("taken", ours, within=".sharding_strategy"))
    if options.get("reshard_after_forward") is False:
        found += taken(sharding_strategy="SHARD_GRAD_OP")
    if options.get("offload_params"):
        found.append(
            left(text("offloading is not done here", "此处不做 offload"), ".offload_params")
        )
    why = text(
        "layers are wrapped and states saved in one way here", "此处的包裹与保存方式是固定的"
    )
    return [*found, idle(why, "[...]")]


def resume(value: Any, _given: Given) -> list[Finding]:
    """Say how a run is continued here; checkpoints of other tools are none of ours."""
    if value in (False, "false"):
        return [idle(text("off there, and off here", "原本关闭，此处亦无"))]
    return [
        left(
            text(
                "a run here is continued with `swiftbox runs resume`; to go on from an adapter, "
                "set adapter",
                "此处用 `swiftbox runs resume` 继续运行；若要从适配器继续，请设 adapter",
            )
        )
    ]


TRAINER: Rows = {
    "optim": to("optim", OPTIMIZERS),
    "optimizer": to("optim", OPTIMIZERS),
    "bf16": half("bfloat16"),
    "fp16": half("float16"),
    "warmup_ratio": warmup_ratio,
    "max_steps": max_steps,
    "save_strategy": save_strategy,
    "eval_strategy": eval_strategy,
    "evaluation_strategy": eval_strategy,
    "data_seed": data_seed,
    "deepspeed": deepspeed,
    "fsdp": fsdp,
    "fsdp_config": fsdp_config,
    "resume_from_checkpoint": resume,
    "gradient_checkpointing": to(
        "gradient_checkpointing",
        {"unsloth": "true", "offload": "true", "offload_disk": "true"},
    ),
    "flash_attn": attention,
    "attn_impl": attention,
    "attn_implementation": attention,
    "adam_beta1": fixed(0.9),
    "adam_beta2": fixed(0.999),
    "adam_epsilon": fixed(1e-8),
    "neftune_noise_alpha": to("neftune_noise_alpha"),
    **idle_rows(
        "a run has a folder of its own, and overwrites nothing",
        "每次运行都有自己的目录，不会覆盖任何内容",
        "overwrite_output_dir overwrite_cache add_version",
    ),
    **idle_rows(
        "rows are read and checked anew at each start",
        "每次启动都会重新读取并检查数据",
        "load_from_cache_file dataset_prepared_path skip_prepare_dataset tokenized_path",
    ),
    **idle_rows(
        "worker processes are chosen for the machine",
        "工作进程数由机器情况决定",
        "preprocessing_num_workers preprocessing_batch_size dataloader_num_workers "
        "dataloader_pin_memory dataloader_prefetch_factor dataloader_persistent_workers "
        "dataset_num_proc dataset_processes dataset_keep_in_memory packing_num_proc num_proc "
        "lazy_tokenize",
    ),
    **idle_rows(
        "the processes of a run find each other without it",
        "运行中的各进程无需此项即可互相连接",
        "ddp_timeout ddp_backend local_rank world_size ddp_find_unused_parameters ddp "
        "ddp_bucket_cap_mb ddp_broadcast_buffers device_map device",
    ),
    **idle_rows(
        "the loss and the log are always kept in the run folder",
        "损失与日志总会保存在运行目录中",
        "plot_loss logging_dir logging_first_step logging_strategy run_name log_level "
        "disable_tqdm include_num_input_tokens_seen include_tokens_per_second "
        "include_effective_tokens_per_second print_param_status profiler_steps debug "
        "acc_strategy compute_accuracy",
    ),
    **idle_rows(
        "evaluation needs no setting of its own here",
        "此处评估无需单独设置",
        "per_device_eval_batch_size eval_batch_size do_eval eval_accumulation_steps "
        "eval_on_start eval_sample_packing metric_for_best_model greater_is_better "
        "prediction_loss_only metric",
    ),
    **idle_rows(
        "changes speed or memory only; chosen here for the machine",
        "只影响速度或显存；此处由机器情况决定",
        "tf32 torch_compile torch_compile_backend torch_compile_mode use_liger_kernel "
        "enable_liger_kernel use_unsloth use_unsloth_gc gradient_checkpointing_kwargs "
        "use_reentrant_gc low_cpu_mem_usage low_cpu_memory_usage group_by_length "
        "remove_unused_columns use_cache use_kv_cache gc_steps use_logits_to_keep max_memory "
        "accelerator_config average_tokens_across_devices auto_find_batch_size "
        "torch_empty_cache_steps",
    ),
    **idle_rows(
        "checkpoints here are complete, so that every run can continue",
        "此处的检查点总是完整的，任何运行都能继续",
        "save_only_model save_safetensors safe_serialization create_checkpoint_symlink "
        "auto_resume_from_checkpoints ignore_data_skip save_on_each_node use_flash_ckpt",
    ),
    **idle_rows(
        "nothing is uploaded; the trained model stays in the run folder",
        "不会上传任何内容；训练好的模型留在运行目录中",
        "push_to_hub hub_model_id hub_strategy hub_private_repo hub_revision "
        "push_dataset_to_hub hub_private",
    ),
    **idle_rows(
        "secrets are taken from the environment, never from a file",
        "密钥只取自环境变量，绝不写入文件",
        "hub_token hf_hub_token ms_hub_token om_hub_token hf_use_auth_token swanlab_token "
        "swanlab_api_key swanlab_lark_secret wandb_api_key",
    ),
    **idle_rows(
        "the reporter takes it from the environment (WANDB_PROJECT, SWANLAB_PROJ_NAME ...)",
        "上报工具从环境变量读取（WANDB_PROJECT、SWANLAB_PROJ_NAME 等）",
        "wandb_entity wandb_name wandb_run_id wandb_watch wandb_log_model wandb_mode "
        "swanlab_project swanlab_workspace swanlab_exp_name swanlab_run_name swanlab_mode "
        "swanlab_logdir swanlab_lark_webhook_url wandb_run_name",
    ),
    **idle_rows(
        "MODELSCOPE_CACHE and HF_HOME say where downloads go",
        "下载位置由 MODELSCOPE_CACHE 与 HF_HOME 决定",
        "cache_dir download_mode",
    ),
    **left_rows(
        "the last state is what is saved",
        "保存的是最后的状态",
        "load_best_model_at_end early_stopping_steps early_stopping_patience early_stop_interval",
    ),
    **left_rows(
        "no counterpart here",
        "此处没有对应设置",
        "label_smoothing_factor lr_scheduler_kwargs optim_args optim_target_modules "
        "moe_aux_loss_coef router_aux_loss_coef full_determinism predict_with_generate "
        "use_galore use_apollo use_badam use_adam_mini use_muon use_dft_loss enable_dft_loss "
        "enable_channel_loss rope_scaling shift_attn",
    ),
}
