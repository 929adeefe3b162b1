"""Names of our settings in other tools: one row each, applied when a YAML is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Translate = Callable[[Any], Mapping[str, Any] | None]
"""Translate a foreign value into our keys and values; None if the alias does not apply to it."""

STAGES = (
    *("pt", "sft", "dpo", "orpo", "simpo", "cpo", "kto"),
    *("gkd", "reward", "classification", "grpo"),
)
TUNERS = ("lora", "qlora", "full", "adalora", "ia3", "oft", "vera", "llamapro")


@dataclass(frozen=True)
class Alias:
    """One foreign key and its meaning in our keys."""

    name: str
    translate: Translate


def renamed(key: str, values: Mapping[Any, Any] | None = None) -> Translate:
    """Move the value to our key, after replacing those in `values`."""

    def translate(value: Any) -> Mapping[str, Any]:
        hashable = isinstance(value, (str, int, float, bool))
        return {key: (values or {}).get(value, value) if hashable else value}

    return translate


def flag(key: str, when_true: Any, when_false: Any = None) -> Translate:
    """Translate a boolean; false adds nothing unless `when_false` is given."""

    def translate(value: Any) -> Mapping[str, Any]:
        if value is True or str(value).lower() == "true":
            return {key: when_true}
        if when_false is None:
            return {}
        return {key: when_false}

    return translate


def implied(_value: Any) -> Mapping[str, Any]:
    """Translate a key that says what happens here without it."""
    return {}


def train_type(value: Any) -> Mapping[str, Any]:
    """Translate `train_type`, which stands for the stage, the tuner or the strategy."""
    word = str(value).lower()
    if word in TUNERS:
        return {"tuner_type": word}
    if word in ("ddp", "fsdp", "zero1", "zero2", "zero3", "none"):
        return {"distributed": word}
    if word == "deepspeed":
        return {"distributed": "zero2"}
    return {"stage": STAGE_WORDS.get(word, word)}


def adapter_word(value: Any) -> Mapping[str, Any] | None:
    """Translate axolotl's `adapter: lora`; any other value belongs to our key of that name."""
    return {"tuner_type": value} if value in ("lora", "qlora") else None


def adapters_word(value: Any) -> Mapping[str, Any] | None:
    """Translate a list of adapters; a mapping of adapters, or none, belongs to our key."""
    return None if value is None or isinstance(value, dict) else {"adapter": value}


def deepspeed(value: Any) -> Mapping[str, Any]:
    """Read the ZeRO stage from `deepspeed: zero3` or the name of a config file."""
    word = str(value).lower()
    for stage in "321":
        if f"zero{stage}" in word or f"z{stage}" in word or f"zero_{stage}" in word:
            return {"distributed": f"zero{stage}"}
    return {"distributed": word}


def fsdp(value: Any) -> Mapping[str, Any]:
    """Read the sharding strategy from `fsdp: full_shard auto_wrap`."""
    word = str(value).upper()
    if word in ("", "FALSE", "NONE"):
        return {}
    if "SHARD_GRAD_OP" in word:
        return {"distributed": "fsdp", "sharding_strategy": "SHARD_GRAD_OP"}
    return {"distributed": "fsdp"}


def attention(value: Any) -> Mapping[str, Any]:
    """Translate the values of `flash_attn` and `attn_impl`."""
    names = {
        "fa2": "flash_attention_2",
        "fa3": "flash_attention_3",
        "flash_attn": "flash_attention_2",
        "flex": "flex_attention",
        "disabled": "eager",
        "True": "flash_attention_2",
        "False": "auto",
    }
    return {"attn_implementation": names.get(str(value), value)}


def schedule_arguments(value: Any) -> Mapping[str, Any] | None:
    """Take arguments of transformers' schedules that are keys here out of their mapping."""
    if not isinstance(value, dict) or OWN_ARGUMENTS.keys().isdisjoint(value):
        return None
    ours = {OWN_ARGUMENTS[key]: value[key] for key in value if key in OWN_ARGUMENTS}
    rest = {key: value[key] for key in value if key not in OWN_ARGUMENTS}
    return ours | ({"lr_scheduler_kwargs": rest} if rest else {})


OWN_ARGUMENTS = {
    "min_lr": "min_lr",
    "lr_end": "min_lr",
    "min_lr_rate": "min_lr_rate",
    "min_lr_ratio": "min_lr_rate",
    "num_decay_steps": "num_decay_steps",
    "num_warmup_steps": "warmup_steps",
}
QUANTIZERS = {"bitsandbytes": "bnb", "bnb_4bit": "bnb"}
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "half": "float16"}
SHARDING = {
    "HYBRID_SHARD": "FULL_SHARD",
    "full_shard": "FULL_SHARD",
    "shard_grad_op": "SHARD_GRAD_OP",
}

LOSSES = {"sppo_hard": "sppo"}
STAGE_WORDS = {
    "rm": "reward",
    "reward_modeling": "reward",
    "pretrain": "pt",
    "seq_cls": "classification",
    "cls": "classification",
}

_RENAMED = {
    "model": ("model_name_or_path", "base_model", "model_id", "model_id_or_path"),
    "adapter": ("adapter_name_or_path", "lora_model_dir"),
    "tuner_type": ("finetuning_type", "sft_type"),
    "lora_rank": ("lora_r", "r"),
    "lora_plus_lr_ratio": ("lorap_lr_ratio", "loraplus_lr_ratio"),
    "quant_bits": ("quantization_bit",),
    "freeze_parameters": ("freeze_parameters_regex",),
    "trainable_parameters": ("trainable_parameters_regex", "unfrozen_parameters"),
    "neftune_noise_alpha": ("neftune_alpha",),
    "dataset": ("datasets", "dataset_name"),
    "val_dataset": ("eval_dataset", "val_datasets", "validation_dataset"),
    "val_size": ("val_set_size", "split_dataset_ratio", "test_split_size"),
    "template": ("chat_template",),
    "max_length": ("cutoff_len", "sequence_len", "max_seq_length"),
    "train_on_prompt": ("train_on_inputs",),
    "per_device_train_batch_size": ("micro_batch_size", "batch_size"),
    "num_train_epochs": ("num_epochs",),
    "optim": ("optimizer",),
    "lr_scheduler_type": ("lr_scheduler",),
    "warmup_steps": ("warmup_ratio",),
    "min_lr": ("lr_min", "cosine_min_lr"),
    "min_lr_rate": ("cosine_min_lr_ratio", "min_lr_ratio"),
    "adam_epsilon": ("adam_eps",),
    "new_tokens": ("add_tokens",),
    "new_special_tokens": ("add_special_tokens",),
    "early_stopping_patience": ("early_stopping_steps", "early_stop_interval"),
    "gradient_checkpointing": ("activation_checkpointing",),
    "activation_offload": ("activation_offloading",),
    "use_liger_kernel": ("enable_liger_kernel",),
    "packing": ("sample_packing", "neat_packing"),
}

ALIASES: Mapping[str, Alias] = {
    alias.name: alias
    for alias in (
        *(Alias(name, renamed(key)) for key, names in _RENAMED.items() for name in names),
        *(
            Alias(name, renamed("target_modules", {"all": "all-linear", True: "all-linear"}))
            for name in ("lora_target", "lora_target_modules", "lora_target_linear")
        ),
        Alias("adapters", adapters_word),
        *(Alias(name, attention) for name in ("attn_impl", "flash_attn")),
        *(Alias(name, renamed("stage", STAGE_WORDS)) for name in ("rlhf_type", "rl")),
        Alias("load_in_4bit", flag("quant_bits", 4)),
        Alias("load_in_8bit", flag("quant_bits", 8)),
        Alias("quantization_method", renamed("quant_method", QUANTIZERS)),
        Alias("double_quantization", renamed("bnb_4bit_use_double_quant")),
        Alias("quantization_type", renamed("bnb_4bit_quant_type")),
        Alias("pissa_init", flag("init_lora_weights", "pissa")),
        Alias("resize_vocab", implied),
        Alias("use_galore", flag("optim", "galore_adamw")),
        Alias("use_hf", flag("hub", "huggingface", "modelscope")),
        Alias("lr_scheduler_kwargs", schedule_arguments),
        Alias("train_type", train_type),
        Alias("adapter", adapter_word),
        Alias("train_on_completions", flag("train_on_prompt", False, True)),
        Alias("assistant_only_loss", flag("train_on_prompt", False, True)),
        Alias("torch_dtype", renamed("dtype", DTYPES)),
        Alias("bf16", flag("dtype", "bfloat16")),
        Alias("fp16", flag("dtype", "float16")),
        Alias("deepspeed", deepspeed),
        Alias("fsdp", fsdp),
        *(Alias(name, renamed("beta")) for name in ("pref_beta", "rl_beta")),
        *(Alias(name, renamed("loss_type", LOSSES)) for name in ("pref_loss", "dpo_loss_type")),
        Alias("pref_ftx", renamed("rpo_alpha")),
        Alias("dpo_label_smoothing", renamed("label_smoothing")),
        Alias("kto_chosen_weight", renamed("desirable_weight")),
        Alias("kto_rejected_weight", renamed("undesirable_weight")),
        Alias("fsdp_sharding_strategy", renamed("sharding_strategy", SHARDING)),
    )
}

RATIOS = frozenset({"warmup_ratio", "split_dataset_ratio"})
"""Names whose value is a share in other tools; ours take a number of steps or rows from 1 on."""

TASK_KEYS: Mapping[str, frozenset[str]] = {"evaluate": frozenset({"batch_size"})}
"""Names that are keys of a task, although they are aliases in others."""

VALUE_ALIASES: Mapping[str, Mapping[Any, Any]] = {
    "loss_type": LOSSES,
    "stage": STAGE_WORDS,
    "target_modules": {"all": "all-linear"},
    "init_lora_weights": {"lora-ga": "lora_ga", "default": "true"},
    "quant_method": QUANTIZERS,
    "dtype": DTYPES,
    "sharding_strategy": SHARDING,
}
"""Foreign values under keys that are also ours."""
