"""ms-swift: flat YAML or JSON, or a script with `swift sft --key value`; its parameter page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.converters.exported_rows import EXPORT_ROWS
from swiftbox.converters.galore_keys import galore_rows
from swiftbox.converters.intervals import interval_rows
from swiftbox.converters.msswift_distillation import (
    DISTILLATION_ROWS,
    GKD_DEFAULTS,
    distillation,
)
from swiftbox.converters.msswift_parameters import PARAMETER_ROWS
from swiftbox.converters.msswift_values import (
    CLASSIFICATION,
    PREFERENCES,
    STAGES,
    loss_scale,
    loss_type,
    names,
    stage_of,
    system,
    thinking,
    truncation,
)
from swiftbox.converters.rows import (
    AddedDefault,
    ForeignConfig,
    ForeignTool,
    KeyOutcome,
    Rows,
    Translate,
    adapter_targets,
    adopted,
    constant,
    no_effect,
    no_effect_rows,
    number,
    refused,
    renamed,
    replaced,
    unsupported,
    unsupported_rows,
)
from swiftbox.converters.shared_values import (
    TEXT_ONLY,
    frozen_language_model,
    frozen_part,
    media_rows,
    no_stage,
    no_tuner,
    other_model,
    shared_rows,
    template,
)
from swiftbox.converters.token_keys import tokens
from swiftbox.converters.trainer_keys import TRAINER
from swiftbox.language import text

READINGS = (("DAMO_NLP/jd", "cls"), ("sentence-transformers/stsb", "reg"))
"""Datasets with the name of a reading that ms-swift has for them, not of a subset."""

TUNERS = ("lora", "full", "adalora", "ia3", "oft", "vera", "llamapro")


def command(_value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate `swift sft | pt | rlhf`; the kind of the last is a separate key."""
    if foreign.has("rlhf_type"):
        return [no_effect(text("set by rlhf_type", "以 rlhf_type 为准"))]
    return adopted(stage=stage_of(foreign))


def rlhf_type(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the kind of alignment."""
    stage = replaced(value, STAGES)
    if stage == "gkd":
        return distillation(foreign)
    if stage == "grpo" and not any(map(foreign.has, ("reward_funcs", "teacher_model"))):
        return adopted(stage=stage) + no_reward()
    return adopted(stage=stage) if stage in STAGES.values() else no_stage(value)


def no_reward() -> list[KeyOutcome]:
    """Refuse a reward that is not a function: of an environment, or of a server's rollouts."""
    return refused(
        text(
            "the reward comes from an environment (gym), which is not run here: there are no "
            "reward_funcs",
            "奖励来自环境（gym），此处不运行环境：没有给出 reward_funcs",
        ),
        text(
            "score the answers by a function: reward_funcs=my_rewards.py:name",
            "请用函数为回答评分：reward_funcs=my_rewards.py:函数名",
        ),
        "reward_funcs",
    )


def tuner(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate what is trained; a quantized base makes LoRA QLoRA."""
    if value == "lora" and foreign.has("quant_bits"):
        return adopted(tuner_type="qlora")
    if value == "lora_llm":  # all of a multimodal model's other parts are trained in full
        return adopted(text(*TEXT_ONLY), tuner_type="lora")
    return adopted(tuner_type=value) if value in TUNERS else no_tuner(value)


def dataset(value: Any, _foreign: ForeignConfig, *, key: str = "dataset") -> list[KeyOutcome]:
    """Translate `id:subset#n`, one or several; `key` is the setting of ours that names them."""
    listed = value if isinstance(value, list) else [value]
    sources = [_source(str(name)) for name in listed]
    paths = sources[0] if len(sources) == 1 and isinstance(sources[0], str) else sources
    outcomes = [KeyOutcome("adopted", {key: paths})]
    if any(str(name).startswith("HF::") for name in listed):
        outcomes += adopted(hub="huggingface")
    return outcomes


def val_dataset(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the datasets of held-out rows, with which none are taken from the others."""
    return dataset(value, foreign, key="val_dataset")


def held_out_share(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the share of held-out rows, which a dataset of them replaces."""
    if foreign.has("val_dataset"):
        return [no_effect(text("set by val_dataset", "以 val_dataset 为准"))]
    return adopted(val_size=value)


def _source(written: str) -> Any:
    plain = written.removeprefix("HF::").removeprefix("MS::")
    path, _, count = plain.rpartition("#") if "#" in plain else (plain, "", "")
    name, colon, subset = path.rpartition(":")
    if not colon or Path(path).expanduser().exists() or len(name) < 2:
        return plain
    source: dict[str, Any] = {"path": name, "subset": subset}
    if (name, subset) in READINGS:
        del source["subset"]
    return source | ({"num_samples": int(count)} if count.isdecimal() else {})


def columns(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate renames, given as a mapping or as JSON."""
    try:
        return adopted(columns=json.loads(value) if isinstance(value, str) else value)
    except ValueError:
        return [unsupported(text("is not JSON", "不是合法的 JSON"))]


def quant_bits(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the bits of the base model; 0 is not quantized."""
    if not number(value):
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    return adopted(quant_bits=value)


def task_type(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Accept language models and classifiers; refuse embeddings and rerankers."""
    if value == "causal_lm":
        return [no_effect(text("language models are trained here", "此处训练的就是语言模型"))]
    if value == "seq_cls" and foreign.has("rlhf_type"):
        return [no_effect(text("set by rlhf_type", "以 rlhf_type 为准"))]
    if value == "seq_cls":
        return adopted(stage=CLASSIFICATION)
    return refused(
        text(f"{value} is not supported here", f"此处没有 {value}"),
        text("stage=reward trains a head that scores answers", "stage=reward 可训练打分模型"),
        "task_type",
    )


def of_classifier(ours: str) -> Translate:
    """Return a row for a key of classifiers, which means nothing to other stages."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if stage_of(foreign) == CLASSIFICATION:
            return adopted(**{ours: value})
        return [no_effect(text("the stage decides it", "由 stage 决定"))]

    return translate


def packing(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate packing, which joins the rows of a classifier as they are here anyway."""
    if stage_of(foreign) == CLASSIFICATION:
        return [no_effect(text("rows are joined without padding", "样本拼接而不填充"))]
    return adopted(packing=value)


def backend(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Say that tuners come from one place here."""
    why = text(f"tuners come from peft, not from {value}", f"此处的 tuner 来自 peft，而非 {value}")
    return [no_effect(why)]


def hub(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate `USE_HF=1` before the command."""
    return adopted(hub="huggingface" if value in (1, True, "true") else "modelscope")


def defaults(ours: Mapping[str, Any], _foreign: ForeignConfig) -> Sequence[AddedDefault]:
    """Name ms-swift's defaults that differ from ours."""
    full = ours.get("tuner_type") == "full"
    stage = str(ours.get("stage", "sft"))
    values: dict[str, Any] = {
        "adam_beta2": 0.95,
        "eval_steps": ours.get("save_steps") or 500,
        "lora_dropout": 0.05,
        "weight_decay": 0.1,
        "num_train_epochs": 3.0,
        "warmup_steps": 0.0,
        "truncation": "drop" if "max_length" in ours else "error",
        "save_steps": 500,
        "learning_rate": 1e-5 if full else 1e-4,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": _accumulation(ours),
    }
    if stage in (*PREFERENCES, "grpo"):
        values["beta"] = {"simpo": 2.0, "grpo": 0.04}.get(stage, 0.1)
    if stage == CLASSIFICATION:
        values["use_chat_template"] = True
    if stage in ("simpo", "cpo"):
        values["cpo_alpha"] = 1.0
    if stage == "simpo":
        values["simpo_gamma"] = 1.0
    if ours.get("tuner_type") == "adalora":
        values |= {"adalora_tinit": 0.0, "adalora_tfinal": 0.0, "adalora_deltaT": 1}
    if stage == "gkd":
        values |= GKD_DEFAULTS
    if stage == "grpo":
        values["loss_type"] = "grpo"
        values |= {"temperature": 0.9, "max_completion_length": 512}
        values["gradient_accumulation_steps"] = 1
    why = text("ms-swift's default", "ms-swift 的默认值")
    because = {"truncation": long_rows()} if "max_length" not in ours else {}
    return [AddedDefault(key, value, because.get(key, why)) for key, value in values.items()]


def long_rows() -> str:
    """Return why long rows stop a run: the file leaves their length to the model."""
    return text(
        "the limit is the model's context there: set max_length",
        "原工具以模型的上下文长度为上限：请设 max_length",
    )


def _accumulation(ours: Mapping[str, Any]) -> int:
    """Return the passes that make the 16 rows per update which ms-swift wants at least."""
    rows = number(ours.get("per_device_train_batch_size", 1))
    devices = number(ours.get("num_devices", 1))
    if not isinstance(rows, int) or not isinstance(devices, int) or rows * devices < 1:
        return 16
    return max(1, -(-16 // (rows * devices)))


SAME = (
    "use_dora use_rslora target_parameters beta rpo_alpha label_smoothing "
    "cpo_alpha simpo_gamma desirable_weight undesirable_weight center_rewards_coefficient "
    "loss_weights reward_funcs reward_weights num_generations max_completion_length "
    "temperature top_p epsilon"
)

ROWS: Rows = {
    **TRAINER,
    **{key: renamed(key) for key in SAME.split()},
    "command": command,
    "rlhf_type": rlhf_type,
    "train_type": tuner,
    "tuner_type": tuner,
    "sft_type": tuner,
    "model_revision": renamed("revision"),
    "dataset": dataset,
    "columns": columns,
    "template": template,
    "truncation_strategy": truncation,
    "target_modules": adapter_targets,
    "lora_target_modules": adapter_targets,
    "target_regex": renamed("target_modules"),
    "lora_dropout_p": renamed("lora_dropout"),
    "init_weights": renamed("init_lora_weights", {True: "true", False: "false"}),
    "init_lora_weights": renamed("init_lora_weights", {True: "true", False: "false"}),
    "lorap_lr_ratio": renamed("lora_plus_lr_ratio"),
    "lora_lr_ratio": renamed("lora_plus_lr_ratio"),
    "quant_bits": quant_bits,
    "quantization_bit": quant_bits,
    "quant_method": renamed("quant_method"),
    "val_dataset": val_dataset,
    "split_dataset_ratio": held_out_share,
    "system": system,
    "model_name": names("model_name"),
    "model_author": names("model_author"),
    "enable_thinking": thinking,
    "new_special_tokens": tokens("new_special_tokens"),
    **interval_rows(epochs_key="num_train_epochs", default_epochs=3.0),
    **galore_rows(
        "galore_update_proj_gap",
        {"galore_rank": 128, "galore_update_proj_gap": 50, "galore_scale": 1.0},
    ),
    **PARAMETER_ROWS,
    "loss_scale": loss_scale,
    "loss_type": loss_type,
    "ref_model": other_model("model"),
    "ref_adapters": other_model("adapters"),
    "task_type": task_type,
    "tuner_backend": backend,
    "freeze_vit": frozen_part,
    "freeze_aligner": frozen_part,
    "train_dataloader_shuffle": constant(True),
    "dataset_shuffle": constant(True),
    **{key: of_classifier(key) for key in ("use_chat_template", "num_labels", "problem_type")},
    "packing": packing,
    **no_effect_rows("benchmarks: task: evaluate", "评测请用 task: evaluate", "eval_dataset"),
    "sequence_parallel_size": shared_rows,
    "NPROC_PER_NODE": renamed("num_devices"),
    "USE_HF": hub,
    **no_effect_rows(
        "stays in the environment: set it before swiftbox as before",
        "仍属环境变量：照旧写在 swiftbox 之前",
        "CUDA_VISIBLE_DEVICES ASCEND_RT_VISIBLE_DEVICES PYTORCH_CUDA_ALLOC_CONF OMP_NUM_THREADS "
        "MASTER_PORT MASTER_ADDR WANDB_API_KEY SWANLAB_API_KEY HF_TOKEN HF_ENDPOINT "
        "MODELSCOPE_CACHE TOKENIZERS_PARALLELISM ENABLE_AUDIO_OUTPUT",
    ),
    **no_effect_rows(
        "the family is read from config.json",
        "模型家族取自 config.json",
        "model_type model_kwargs check_model load_args load_data_args ignore_args_error "
        "local_repo_path ref_model_type",
    ),
    **no_effect_rows(
        "plugins of ms-swift are not loaded",
        "不加载 ms-swift 插件",
        "custom_register_path plugin",
    ),
    **no_effect_rows(
        "it is not a matter of training",
        "与训练无关",
        "stream max_new_tokens top_k repetition_penalty num_beams stop_words infer_backend "
        "merge_lora max_shard_size response_prefix template_backend strict padding_side "
        "vllm_gpu_memory_utilization vllm_max_model_len vllm_tensor_parallel_size vllm_device "
        "log_completions sleep_level offload_model offload_optimizer use_ray ray_exp_name "
        "device_groups gpu_memory_utilization tensor_parallel_size vllm_enforce_eager "
        "move_model_batches vllm_enable_lora async_generate experts_impl log_entropy "
        "log_rollout_offpolicy_metrics bnb_4bit_compute_dtype bnb_4bit_quant_storage "
        "CELOSS_PARALLEL_SIZE PYTORCH_NPU_ALLOC_CONF dataloader_drop_last eval_dataset_args "
        "eval_limit ENV",
    ),
    **unsupported_rows(
        "answers are generated by the trainer itself",
        "由训练器自身生成回答",
        "use_vllm vllm_mode vllm_server_host vllm_server_port use_lmdeploy",
    ),
    **unsupported_rows(
        "plugins of ms-swift are not loaded; write reward functions as my_rewards.py:name",
        "不加载 ms-swift 插件；奖励函数请写作 my_rewards.py:name",
        "external_plugins",
    ),
    **unsupported_rows(
        "no counterpart in swiftbox",
        "此处没有对应设置",
        "streaming interleave_prob stopping_strategy shuffle_buffer_size "
        "custom_dataset_info agent_template norm_bbox packing_length "
        "lora_bias lora_dtype ld_alpha max_epochs lora_ga_batch_size lora_ga_iters "
        "lora_ga_max_length lisa_activated_layers zero_hpz_partition_size deepspeed_autotp_size "
        "resume_only_model eval_use_evalscope NNODES NODE_RANK num_iterations epsilon_high "
        "overlong_filter steps_per_generation importance_sampling_level advantage_estimator "
        "scale_rewards dynamic_sample kl_in_reward delta top_entropy_quantile "
        "multi_turn_scheduler max_turns add_non_thinking_prefix llamapro_num_groups",
    ),
    **media_rows(
        "max_pixels vit_lr aligner_lr vit_gradient_checkpointing MAX_PIXELS VIDEO_MAX_PIXELS "
        "FPS FPS_MAX_FRAMES MIN_PIXELS VIDEO_MIN_PIXELS IMAGE_MAX_TOKEN_NUM "
        "VIDEO_MAX_TOKEN_NUM image_area",
    ),
    "freeze_llm": frozen_language_model,
    **DISTILLATION_ROWS,
    **EXPORT_ROWS,
}

MS_SWIFT = ForeignTool(
    name="ms-swift",
    title="ms-swift",
    marks=tuple(
        "train_type sft_type rlhf_type torch_dtype split_dataset_ratio dataset_num_proc "
        "load_from_cache_file attn_impl loss_scale model_author model_name truncation_strategy "
        "model_id_or_path use_hf external_plugins lazy_tokenize custom_dataset_info "
        "target_regex lora_dropout_p lorap_lr_ratio init_weights add_version system".split()
    ),
    rows=ROWS,
    defaults=defaults,
)
