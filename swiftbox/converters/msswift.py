"""ms-swift: flat YAML or JSON, or a script with `swift sft --key value`; its parameter page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.converters.row import (
    Added,
    Finding,
    Given,
    Rows,
    Tool,
    fixed,
    idle,
    idle_rows,
    left,
    left_rows,
    number,
    refused,
    refused_rows,
    taken,
    targets,
    to,
)
from swiftbox.converters.trainer import TRAINER
from swiftbox.converters.words import (
    MULTIMODAL,
    MULTIMODAL_HINT,
    no_stage,
    no_tuner,
    other_model,
    template,
)
from swiftbox.language import text

PREFERENCES = ("dpo", "orpo", "simpo", "cpo", "kto")
STAGES = {**{name: name for name in (*PREFERENCES, "grpo")}, "rm": "reward"}
TUNERS = ("lora", "full", "adalora", "ia3", "oft", "vera", "llamapro")


def stage_of(given: Given) -> str:
    """Return the stage that a config asks for, in our words."""
    command = str(given.values.get("command", "")).removeprefix("swift ")
    if kind := given.values.get("rlhf_type"):
        return STAGES.get(kind, str(kind))
    return {"pt": "pt", "rlhf": "dpo"}.get(command, "sft")


def command(_value: Any, given: Given) -> list[Finding]:
    """Translate `swift sft | pt | rlhf`; the kind of the last is a key of its own."""
    if given.has("rlhf_type"):
        return [idle(text("rlhf_type says it", "以 rlhf_type 为准"))]
    return taken(stage=stage_of(given))


def rlhf_type(value: Any, _given: Given) -> list[Finding]:
    """Translate the kind of alignment."""
    return taken(stage=STAGES[value]) if value in STAGES else no_stage(value)


def tuner(value: Any, given: Given) -> list[Finding]:
    """Translate what is trained; a quantized base makes LoRA QLoRA."""
    if value == "lora" and given.has("quant_bits"):
        return taken(tuner_type="qlora")
    return taken(tuner_type=value) if value in TUNERS else no_tuner(value)


def dataset(value: Any, _given: Given) -> list[Finding]:
    """Translate `id:subset#n`, one or several."""
    listed = value if isinstance(value, list) else [value]
    sources = [_source(str(one)) for one in listed]
    whole = sources[0] if len(sources) == 1 and isinstance(sources[0], str) else sources
    found = [Finding("taken", {"dataset": whole})]
    if any(str(one).startswith("HF::") for one in listed):
        found += taken(hub="huggingface")
    return found


def _source(written: str) -> Any:
    plain = written.removeprefix("HF::").removeprefix("MS::")
    path, _, count = plain.rpartition("#") if "#" in plain else (plain, "", "")
    name, colon, subset = path.rpartition(":")
    if not colon or Path(path).expanduser().exists() or len(name) < 2:
        return plain
    source: dict[str, Any] = {"path": name, "subset": subset}
    return source | ({"num_samples": int(count)} if count.isdecimal() else {})


def columns(value: Any, _given: Given) -> list[Finding]:
    """Translate renames, given as a mapping or as JSON."""
    try:
        return taken(columns=json.loads(value) if isinstance(value, str) else value)
    except ValueError:
        return [left(text("is not JSON", "不是合法的 JSON"))]


def truncation(value: Any, _given: Given) -> list[Finding]:
    """Translate what happens to rows that are too long."""
    words = {"delete": "drop", "right": "right", "raise": "error"}
    if value in words:
        return taken(truncation=words[value])
    why = text("long rows are cut at the right or dropped here", "此处长行截断右侧或丢弃")
    return [left(why)]


def loss_scale(value: Any, given: Given) -> list[Finding]:
    """Translate which tokens are learned."""
    if value == "default":
        return [idle(text("every answer is learned here too", "此处同样学习每个回答"))]
    if value == "all":
        return taken(train_on_prompt=True)
    if value == "last_round" and stage_of(given) in (*PREFERENCES, "reward", "grpo"):
        return [idle(text("the last answer is compared here too", "此处同样比较最后的回答"))]
    why = text("every answer of a conversation is learned alike", "对话中的每个回答同等学习")
    return [left(why)]


def loss_type(value: Any, given: Given) -> list[Finding]:
    """Translate the loss of a preference stage; in others it names a plugin."""
    if stage_of(given) in (*PREFERENCES, "grpo"):
        return taken(loss_type=value)
    return [left(text("losses of plugins are not loaded", "不加载插件中的损失函数"))]


def quant_bits(value: Any, _given: Given) -> list[Finding]:
    """Translate the bits of the base model; 0 is not quantized."""
    if not number(value):
        return [idle(text("off there, and off here", "原本关闭，此处亦无"))]
    return taken(quant_bits=value)


def task_type(value: Any, _given: Given) -> list[Finding]:
    """Accept language models; refuse classifiers, embeddings and rerankers."""
    if value == "causal_lm":
        return [idle(text("language models are what is trained here", "此处训练的就是语言模型"))]
    return refused(
        text(f"{value} is not done here", f"此处没有 {value}"),
        text("stage=reward trains a head that scores answers", "stage=reward 可训练打分模型"),
        "task_type",
    )


def backend(value: Any, _given: Given) -> list[Finding]:
    """Say that tuners come from one place here."""
    why = text(f"tuners come from peft here, not {value}", f"此处的 tuner 来自 peft，而非 {value}")
    return [idle(why)]


def freeze(value: Any, _given: Given) -> list[Finding]:
    """Ignore that the parts of a multimodal model stay frozen; refuse to train them."""
    if value in (True, "true"):
        return [idle(text("text models have no such part", "文本模型没有该部分"))]
    return refused(text(*MULTIMODAL), text(*MULTIMODAL_HINT))


def hub(value: Any, _given: Given) -> list[Finding]:
    """Translate `USE_HF=1` before the command."""
    return taken(hub="huggingface" if value in (1, True, "true") else "modelscope")


def defaults(ours: Mapping[str, Any], _given: Given) -> Sequence[Added]:
    """Name ms-swift's defaults that differ from ours."""
    full = ours.get("tuner_type") == "full"
    stage = str(ours.get("stage", "sft"))
    found: dict[str, Any] = {
        "lora_dropout": 0.05,
        "weight_decay": 0.1,
        "num_train_epochs": 3.0,
        "warmup_steps": 0.0,
        "truncation": "drop",
        "save_steps": 500,
        "learning_rate": 1e-5 if full else 1e-4,
        "gradient_accumulation_steps": _accumulation(ours),
    }
    if stage in (*PREFERENCES, "grpo"):
        found["beta"] = {"simpo": 2.0, "grpo": 0.04}.get(stage, 0.1)
    if stage in ("simpo", "cpo"):
        found["cpo_alpha"] = 1.0
    if stage == "simpo":
        found["simpo_gamma"] = 1.0
    if stage == "grpo":
        found |= {"temperature": 0.9, "max_completion_length": 512}
        found["gradient_accumulation_steps"] = 1
    why = text("ms-swift's default", "ms-swift 的默认值")
    return [Added(key, value, why) for key, value in found.items()]


def _accumulation(ours: Mapping[str, Any]) -> int:
    """Return the passes that make the 16 rows per update which ms-swift wants at least."""
    rows = number(ours.get("per_device_train_batch_size", 1))
    devices = number(ours.get("num_devices", 1))
    if not isinstance(rows, int) or not isinstance(devices, int) or rows * devices < 1:
        return 16
    return max(1, -(-16 // (rows * devices)))


SAME = (
    "use_dora use_rslora freeze_parameters target_parameters beta rpo_alpha label_smoothing "
    "cpo_alpha simpo_gamma desirable_weight undesirable_weight center_rewards_coefficient "
    "loss_weights reward_funcs reward_weights num_generations max_completion_length "
    "temperature top_p epsilon"
)

ROWS: Rows = {
    **TRAINER,
    **{key: to(key) for key in SAME.split()},
    "command": command,
    "rlhf_type": rlhf_type,
    "train_type": tuner,
    "tuner_type": tuner,
    "sft_type": tuner,
    "model_revision": to("revision"),
    "dataset": dataset,
    "columns": columns,
    "template": template,
    "truncation_strategy": truncation,
    "target_modules": targets,
    "lora_target_modules": targets,
    "target_regex": to("target_modules"),
    "lora_dropout_p": to("lora_dropout"),
    "init_weights": to("init_lora_weights", {True: "true", False: "false"}),
    "init_lora_weights": to("init_lora_weights", {True: "true", False: "false"}),
    "lorap_lr_ratio": to("lora_plus_lr_ratio"),
    "lora_lr_ratio": to("lora_plus_lr_ratio"),
    "quant_bits": quant_bits,
    "quantization_bit": quant_bits,
    "quant_method": to("quant_method"),
    "bnb_4bit_quant_type": fixed("nf4"),
    "bnb_4bit_use_double_quant": fixed(True),
    "loss_scale": loss_scale,
    "loss_type": loss_type,
    "ref_model": other_model("model"),
    "ref_adapters": other_model("adapters"),
    "task_type": task_type,
    "tuner_backend": backend,
    "freeze_vit": freeze,
    "freeze_aligner": freeze,
    "train_dataloader_shuffle": fixed(True),
    "dataset_shuffle": fixed(True),
    "use_chat_template": idle_rows("the stage decides it", "由 stage 决定", "x")["x"],
    "NPROC_PER_NODE": to("num_devices"),
    "USE_HF": hub,
    **idle_rows(
        "stays in the environment: set it before swiftbox as before",
        "仍属环境变量：照旧写在 swiftbox 之前",
        "CUDA_VISIBLE_DEVICES ASCEND_RT_VISIBLE_DEVICES PYTORCH_CUDA_ALLOC_CONF OMP_NUM_THREADS "
        "MASTER_PORT MASTER_ADDR WANDB_API_KEY SWANLAB_API_KEY HF_TOKEN HF_ENDPOINT "
        "MODELSCOPE_CACHE TOKENIZERS_PARALLELISM ENABLE_AUDIO_OUTPUT",
    ),
    **idle_rows(
        "the family is read from config.json",
        "模型家族取自 config.json",
        "model_type model_kwargs check_model load_args load_data_args ignore_args_error "
        "local_repo_path ref_model_type",
    ),
    **idle_rows(
        "plugins of ms-swift are not loaded",
        "不加载 ms-swift 插件",
        "custom_register_path plugin",
    ),
    **idle_rows(
        "it is not a matter of training",
        "与训练无关",
        "stream max_new_tokens top_k repetition_penalty num_beams stop_words infer_backend "
        "merge_lora max_shard_size response_prefix template_backend strict padding_side "
        "vllm_gpu_memory_utilization vllm_max_model_len vllm_tensor_parallel_size vllm_device "
        "log_completions sleep_level offload_model offload_optimizer use_ray ray_exp_name "
        "device_groups gpu_memory_utilization tensor_parallel_size vllm_enforce_eager",
    ),
    **left_rows(
        "answers are generated by the trainer itself",
        "由训练器自身生成回答",
        "use_vllm vllm_mode vllm_server_host vllm_server_port use_lmdeploy",
    ),
    **left_rows(
        "plugins of ms-swift are not loaded; write reward functions as my_rewards.py:name",
        "不加载 ms-swift 插件；奖励函数请写作 my_rewards.py:name",
        "external_plugins",
    ),
    **left_rows(
        "fills {{NAME}} and {{AUTHOR}} of swift/self-cognition there; here rows are learned as "
        "they stand: put the names into the rows",
        "在 swift/self-cognition 中替换 {{NAME}}、{{AUTHOR}}；此处按原样学习：请把名字写入数据",
        "model_name model_author",
    ),
    **left_rows(
        "the system prompt belongs into the rows",
        "系统提示应写在数据中",
        "system",
    ),
    **left_rows(
        "held-out rows come out of the training data here: set val_size",
        "此处的评估数据从训练数据中留出：请设 val_size",
        "val_dataset",
    ),
    **left_rows(
        "no counterpart here",
        "此处没有对应设置",
        "cached_dataset streaming interleave_prob stopping_strategy shuffle_buffer_size "
        "custom_dataset_info agent_template norm_bbox sequence_parallel_size packing_length "
        "lora_bias lora_dtype freeze_parameters_ratio freeze_parameters_regex "
        "trainable_parameters trainable_parameters_regex new_special_tokens ld_alpha max_epochs "
        "lisa_activated_layers lora_ga_batch_size lora_ga_iters lora_ga_max_length "
        "llamapro_num_new_blocks adalora_target_r adalora_init_r zero_hpz_partition_size "
        "deepspeed_autotp_size resume_only_model eval_use_evalscope NNODES NODE_RANK "
        "num_iterations epsilon_high",
    ),
    **refused_rows(
        *MULTIMODAL,
        MULTIMODAL_HINT,
        "max_pixels vit_lr aligner_lr vit_gradient_checkpointing MAX_PIXELS VIDEO_MAX_PIXELS "
        "FPS_MAX_FRAMES MIN_PIXELS IMAGE_MAX_TOKEN_NUM VIDEO_MAX_TOKEN_NUM",
    ),
    **refused_rows(
        "distillation from a teacher is not done here",
        "此处不支持从教师模型蒸馏",
        ("stage=sft learns the teacher's answers as data", "stage=sft 可学习教师给出的回答"),
        "teacher_model",
    ),
}

MS_SWIFT = Tool(
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
