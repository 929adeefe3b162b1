"""axolotl: YAML with nested datasets; examples/ and src/axolotl/utils/schemas of its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swiftbox.converters.axolotl_adapters import ADAPTER_ROWS
from swiftbox.converters.axolotl_datasets import datasets, held_out, pretraining, raw_text
from swiftbox.converters.intervals import interval_rows
from swiftbox.converters.rows import (
    AddedDefault,
    ForeignConfig,
    ForeignTool,
    KeyOutcome,
    Rows,
    adopted,
    no_effect,
    no_effect_rows,
    refused_rows,
    renamed,
    replaced,
    split_names,
    unsupported,
    unsupported_rows,
    whole_number,
)
from swiftbox.converters.shared_values import (
    PARALLELISM,
    frozen_part,
    media_rows,
    no_stage,
    no_tuner,
    template,
)
from swiftbox.converters.token_keys import special_tokens, tokens
from swiftbox.converters.trainer_keys import TRAINER
from swiftbox.language import text

INTERVALS = interval_rows(epochs_key="num_epochs", default_epochs=1.0)
STAGES = ("dpo", "orpo", "simpo", "kto", "grpo")


def stage(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate `rl:`; IPO is a loss of DPO."""
    if value == "ipo":
        return adopted(stage="dpo", loss_type="ipo")
    return adopted(stage=value) if value in STAGES else no_stage(value)


def adapter(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate what is trained; a quantized base makes LoRA QLoRA."""
    if value == "lora" and (foreign.has("load_in_8bit") or foreign.has("load_in_4bit")):
        return adopted(tuner_type="qlora")
    return adopted(tuner_type=value) if value in ("lora", "qlora") else no_tuner(value)


def quantized(bits: int) -> Any:
    """Make the row of `load_in_4bit` or `load_in_8bit`."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        if value:
            return adopted(quant_bits=bits)
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]

    return translate


def all_linear(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the switch that gives every linear layer an adapter."""
    if value:
        return adopted(target_modules="all-linear")
    return [no_effect(text("set by lora_target_modules", "以 lora_target_modules 为准"))]


def target_modules(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the layers that get an adapter, unless all of them do."""
    if foreign.has("lora_target_linear"):
        return [no_effect(text("lora_target_linear covers them", "lora_target_linear 已包含"))]
    return adopted(target_modules=value if isinstance(value, str) else split_names(value))


def liger(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate a kernel of liger-kernel; here all that suit the model are used."""
    if value:
        return adopted(use_liger_kernel=True)
    return [no_effect(text("off", "原本关闭"))]


def kernel(ours: str, en: str = "", zh: str = "") -> Any:
    """Make the row of a switch that chooses an attention kernel."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        if not value:
            return [no_effect(text("off; swiftbox uses auto", "原本关闭；此处为 auto"))]
        return adopted(text(en, zh), attn_implementation=ours)

    return translate


def inline_template(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate a template of one's own: a file is adopted, text has to become one."""
    file = foreign.folder / str(value)
    if "\n" not in str(value) and "{" not in str(value) and file.is_file():
        return adopted(template=str(file))
    return [
        unsupported(
            text(
                "a template has to be a file: write it to x.jinja and set template: x.jinja",
                "此处模板为文件：请写入 x.jinja 并设 template: x.jinja",
            )
        )
    ]


def chat_template(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the name of a template; `jinja` points to the key beside it."""
    if value == "jinja":
        return [no_effect(text("set by chat_template_jinja", "以 chat_template_jinja 为准"))]
    return template(value, foreign)


def reporter(name: str) -> Any:
    """Make the row of a switch that reports to a service."""

    def translate(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
        return adopted(report_to=name) if value else [no_effect(text("off", "原本关闭"))]

    return translate


def shuffled(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Accept that rows are shuffled in every epoch."""
    if value:
        return [no_effect(text("rows are shuffled here too", "此处同样打乱各行"))]
    return [unsupported(text("rows are always shuffled", "此处总会打乱各行"))]


def trl(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the nested options of online reinforcement learning."""
    ours = ("beta", "max_completion_length", "reward_funcs", "reward_weights", "num_generations")
    further = ("temperature", "top_p", "epsilon", "loss_type")
    outcomes: list[KeyOutcome] = []
    for name, option in (value if isinstance(value, Mapping) else {}).items():
        if name in ours + further and option is not None:
            outcomes.append(KeyOutcome("adopted", {name: option}, within=f".{name}"))
        elif option not in (None, False, ""):
            outcomes.append(
                unsupported(text("no counterpart in swiftbox", "此处没有对应设置"), f".{name}")
            )
    return outcomes


def total_batch(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the rows per update, from which the accumulation follows."""
    rows = foreign.values.get("micro_batch_size")
    if foreign.has("gradient_accumulation_steps") or not isinstance(rows, int) or rows < 1:
        return [
            no_effect(
                text("set by gradient_accumulation_steps", "以 gradient_accumulation_steps 为准")
            )
        ]
    return adopted(gradient_accumulation_steps=max(1, whole_number(value, rows) // rows))


def wandb(_value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the project of a reporter to the reporter."""
    why = text("the project comes from WANDB_PROJECT", "项目名取自 WANDB_PROJECT")
    return adopted(why, report_to="wandb")


def orpo_alpha(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the weight of the odds ratio, which is ORPO's beta."""
    return adopted(beta=value)


def bf16(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate bfloat16; without an adapter, axolotl trains the 16-bit weights themselves."""
    outcomes = list(TRAINER["bf16"](value, foreign))
    if foreign.has("adapter") or str(value).lower() not in ("true", "auto"):
        return outcomes
    why = text(
        "trained weights are float32 here; pure_bf16: true trains 16-bit ones",
        "此处被训练的权重为 float32；pure_bf16: true 训练 16 位权重",
    )
    return [replace(outcome, why=why) for outcome in outcomes]


def fsdp_options(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the options of FSDP, which switch it on."""
    return [*adopted(distributed="fsdp"), *TRAINER["fsdp_config"](value, foreign)]


def longest(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate what happens to rows that are too long."""
    truncations = {"drop": "drop", "truncate": "right", "raise": "error"}
    return adopted(truncation=replaced(value, truncations))


def reward_model(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the switch that trains a reward model."""
    return adopted(stage="reward") if value else [no_effect(text("off", "原本关闭"))]


def defaults(ours: Mapping[str, Any], foreign: ForeignConfig) -> Sequence[AddedDefault]:
    """Name axolotl's defaults that differ from ours."""
    values: dict[str, Any] = {
        "hub": "huggingface",
        "tuner_type": "full",
        "max_length": 512,
        "truncation": "drop",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "warmup_steps": 0.03,
    }
    once_per_epoch = INTERVALS["saves_per_epoch"](1, foreign)[0].ours
    if not any(map(foreign.has, ("save_steps", "saves_per_epoch", "save_strategy"))):
        values |= once_per_epoch
    if "stage" not in ours and raw_text(foreign):
        values["stage"] = "pt"
    if ours.get("stage") in ("dpo", "kto", "orpo", "simpo"):
        values["beta"] = 0.1
    if ours.get("stage") == "simpo":
        values |= {"simpo_gamma": 0.5, "cpo_alpha": 1.0}
    why = text("axolotl's default", "axolotl 的默认值")
    because = {"stage": text("all data is raw text", "数据均为纯文本")}
    return [AddedDefault(key, value, because.get(key, why)) for key, value in values.items()]


FLASH = (
    "auto uses flash attention where it is installed; the result is the same",
    "auto 在已安装时使用 flash attention；结果相同",
)

ROWS: Rows = {
    **TRAINER,
    "rl": stage,
    "reward_model": reward_model,
    "adapter": adapter,
    "load_in_8bit": quantized(8),
    "load_in_4bit": quantized(4),
    "lora_target_linear": all_linear,
    "lora_target_modules": target_modules,
    "lora_target_parameters": renamed("target_parameters"),
    "lora_modules_to_save": renamed("modules_to_save"),
    "peft_use_dora": renamed("use_dora"),
    "peft_use_rslora": renamed("use_rslora"),
    "peft_init_lora_weights": renamed("init_lora_weights"),
    "loraplus_lr_ratio": renamed("lora_plus_lr_ratio"),
    **ADAPTER_ROWS,
    "datasets": datasets,
    "test_datasets": held_out,
    "default_system_message": renamed("system"),
    "tokens": tokens("new_tokens"),
    "shuffle_merged_datasets": shuffled,
    **INTERVALS,
    "pretraining_dataset": pretraining,
    "revision_of_model": renamed("revision"),
    "chat_template": chat_template,
    "chat_template_jinja": inline_template,
    "special_tokens": special_tokens,
    "fsdp_config": fsdp_options,
    "trl": trl,
    "rl_beta": renamed("beta"),
    "dpo_beta": renamed("beta"),
    "orpo_alpha": orpo_alpha,
    "rpo_alpha": renamed("rpo_alpha"),
    "simpo_gamma": renamed("simpo_gamma"),
    "cpo_alpha": renamed("cpo_alpha"),
    "dpo_label_smoothing": renamed("label_smoothing"),
    "dpo_loss_type": renamed("loss_type"),
    "dpo_loss_weights": renamed("loss_weights"),
    "kto_desirable_weight": renamed("desirable_weight"),
    "kto_undesirable_weight": renamed("undesirable_weight"),
    "center_rewards_coefficient": renamed("center_rewards_coefficient"),
    "precompute_ref_log_probs": renamed("precompute_ref_log_probs"),
    "batch_size": total_batch,
    "excess_length_strategy": longest,
    "wandb_project": wandb,
    **{f"use_{name}": reporter(name) for name in ("wandb", "swanlab", "tensorboard")},
    "flash_attention": kernel("auto", *FLASH),
    "sdp_attention": kernel("sdpa"),
    "eager_attention": kernel("eager"),
    "flex_attention": kernel("flex_attention"),
    "attention": TRAINER["attn_implementation"],
    **dict.fromkeys(("bf16", "bfloat16"), bf16),
    **dict.fromkeys(("liger_rope", "liger_rms_norm", "liger_glu_activation"), liger),
    "float16": TRAINER["fp16"],
    "float32": renamed("dtype", {True: "float32", False: "auto"}),
    **no_effect_rows(
        "the class is read from config.json",
        "模型类取自 config.json",
        "model_type tokenizer_type is_llama_derived_model is_mistral_derived_model "
        "is_falcon_derived_model is_qwen_derived_model base_model_config cls_model_config "
        "type_of_model tokenizer_use_fast tokenizer_legacy gptq num_labels",
    ),
    **no_effect_rows(
        "an unknown key is always an error here",
        "此处未知的键总是错误",
        "strict",
    ),
    **no_effect_rows(
        "rows are joined without padding wherever it is exact",
        "只要结果精确，样本就首尾相接而不填充",
        "pad_to_sequence_len batch_flattening sample_packing_group_size sample_packing_bin_size "
        "sample_packing_sequentially sample_packing_eff_est multipack_real_batches "
        "total_num_tokens eval_table_size eval_max_new_tokens pad_to_multiple_of",
    ),
    **PARALLELISM,
    **no_effect_rows(
        "what ends a turn is read from the chat template",
        "轮次的结束符取自对话模板",
        "eot_tokens",
    ),
    **no_effect_rows(
        "LoRA weights are stored the way the layer needs",
        "LoRA 权重按层所需的方式存储",
        "lora_fan_in_fan_out",
    ),
    **no_effect_rows(
        "changes speed or memory only; chosen here for the machine",
        "只影响速度或显存；此处由机器情况决定",
        "liger_layer_norm liger_rms_norm_gated use_kernels use_scattermoe use_sonicmoe "
        "experts_implementation fused_attn_kernel tiled_mlp flex_attn_compile_kwargs "
        "experimental_skip_move_to_device gemma4_hybrid_attn_impl dsv4_fp4_grouped_mode "
        "use_dsv4_kernels use_glm_dsa_kernels llama4_linearized_experts "
        "streaming_multipack_buffer_size relora_cpu_offload gptq_disable_exllama "
        "liger_fused_linear_cross_entropy liger_cross_entropy lora_mlp_kernel lora_qkv_kernel "
        "lora_o_kernel flash_attn_cross_entropy flash_attn_rms_norm flash_attn_fuse_qkv "
        "flash_attn_fuse_mlp unsloth_cross_entropy_loss unsloth_lora_mlp unsloth_lora_qkv "
        "unsloth_lora_o unsloth_rms_norm unsloth_rope lora_on_cpu qlora_sharded_model_loading "
        "cut_cross_entropy embeddings_skip_upcast xformers_attention "
        "fsdp_version fsdp_final_state_dict_type dpo_use_logits_to_keep gpu_memory_limit",
    ),
    **no_effect_rows(
        "plugins of axolotl are not loaded; each of their keys is listed by itself",
        "不加载 axolotl 插件；其各键单独列出",
        "plugins",
    ),
    **no_effect_rows(
        "nothing is sent to it",
        "不会向其发送内容",
        "use_mlflow mlflow_tracking_uri mlflow_experiment_name hf_mlflow_log_artifacts "
        "use_comet comet_project_name comet_api_key use_ray ray_num_workers "
        "resources_per_worker vllm swanlab_experiment_name swanlab_description "
        "swanlab_log_completions swanlab_completion_log_interval swanlab_completion_max_buffer",
    ),
    **unsupported_rows(
        "a run that goes wrong is stopped by hand",
        "异常的运行需手动停止",
        "loss_watchdog_threshold loss_watchdog_patience",
    ),
    **unsupported_rows(
        "no counterpart in swiftbox",
        "此处没有对应设置",
        "added_tokens_overrides resize_token_embeddings_to_32x s2_attention relora "
        "tokenizer_config rl_adapter_ref_model dpo_use_weighting "
        "dataset_exact_deduplication min_sample_len max_prompt_len "
        "cosine_constant_lr_ratio embedding_lr embedding_lr_scale lr_groups "
        "lr_quadratic_warmup peft_layers_pattern peft "
        "loraplus_lr_embedding fp8 qat quantization use_pose "
        "overrides_of_model_config overrides_of_model_kwargs streaming fix_untrained_tokens "
        "quantize_moe_experts model_quantization_config model_quantization_config_kwargs "
        "model_config tokenizer_use_mistral_common use_onebitllms "
        "lisa_n_layers lisa_step_interval lisa_layers_attribute jagged_restart_steps "
        "diffusion reinit_weights relora_prune_ratio use_eaft eaft_alpha eaft_k",
    ),
    **media_rows(
        "processor_type image_size image_resize_algorithm is_multimodal image_base_path",
    ),
    "freeze_mm_modules": frozen_part,
    **refused_rows(
        "process reward models are not trained here",
        "此处不训练过程奖励模型",
        (
            "stage=reward trains a reward model from preferences",
            "stage=reward 用偏好数据训练奖励模型",
        ),
        "process_reward_model",
    ),
}

AXOLOTL = ForeignTool(
    name="axolotl",
    title="axolotl",
    marks=tuple(
        "base_model datasets pretraining_dataset sequence_len micro_batch_size num_epochs "
        "val_set_size dataset_prepared_path sample_packing pad_to_sequence_len lora_r "
        "lora_target_linear lora_target_modules load_in_8bit load_in_4bit rl "
        "saves_per_epoch evals_per_epoch train_on_inputs special_tokens lora_model_dir".split()
    ),
    rows=ROWS,
    defaults=defaults,
)
