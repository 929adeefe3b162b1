"""LLaMA-Factory v1: nested YAML with plugins; examples/v1 and src/llamafactory/v1/config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.config.reading import Settings, written_entries
from swiftbox.converters.frozen_layers import trained_layers
from swiftbox.converters.rows import (
    AddedDefault,
    ForeignConfig,
    ForeignTool,
    KeyOutcome,
    Rows,
    Translate,
    adapter_targets,
    adopted,
    no_effect,
    no_effect_rows,
    number,
    refused,
    renamed,
    split_names,
    unsupported,
    unsupported_rows,
)
from swiftbox.converters.shared_values import PARALLELISM, no_tuner
from swiftbox.converters.token_keys import file_beside
from swiftbox.converters.trainer_keys import attention, deepspeed, resume
from swiftbox.language import text

PEFT: Mapping[str, str] = {
    "r": "lora_rank",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "init_lora_weights": "init_lora_weights",
    "adapter_name_or_path": "adapter",
}
FREEZE = ("freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules")
QUANTIZATION: Mapping[str, str] = {
    "quantization_bit": "quant_bits",
    "quantization_type": "bnb_4bit_quant_type",
    "double_quantization": "bnb_4bit_use_double_quant",
}
PREFERENCES = ("pref_beta", "pref_loss", "pref_ftx", "simpo_gamma", "dpo_label_smoothing")


def plugin(value: Any) -> dict[str, Any]:
    """Return the options of a plugin; its name is under `name`."""
    return {str(key): option for key, option in value.items()} if isinstance(value, Mapping) else {}


def peft(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate what is trained: LoRA, or some of the layers."""
    options = plugin(value)
    name = options.pop("name", None)
    if name == "freeze":
        return trained_layers(options, model=foreign.values.get("model"))
    if name != "lora":
        return no_tuner(name)
    quantized = foreign.has("quant_config")
    outcomes = adopted(tuner_type="qlora" if quantized else "lora")
    for key, option in options.items():
        if option is None:
            continue
        if key == "target_modules":
            outcomes += adapter_targets(option, foreign)
        elif key == "modules_to_save":
            outcomes += adopted(modules_to_save=split_names(option))
        elif key in PEFT:
            outcomes.append(KeyOutcome("adopted", {PEFT[key]: option}, within=f".{key}"))
        else:
            outcomes.append(_unknown(key))
    return outcomes


def quantization(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the quantization of the base model."""
    options = plugin(value)
    name = options.pop("name", "auto")
    outcomes = adopted(quant_method="bnb") if name in ("auto", "bnb") else [_unknown("name")]
    for key, option in options.items():
        if key in QUANTIZATION and option is not None:
            outcomes.append(KeyOutcome("adopted", {QUANTIZATION[key]: option}, within=f".{key}"))
        elif option is not None:
            outcomes.append(_unknown(key))
    return outcomes


def distribution(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate how training is spread over devices."""
    options = plugin(value)
    name = options.pop("name", None)
    if name == "deepspeed":
        return deepspeed(options.get("config_file"), foreign)
    outcomes = adopted(distributed="fsdp" if name in ("fsdp2", "fsdpturbo") else name)
    for key in options:
        why = text("chosen for the machine", "由机器情况决定")
        outcomes.append(no_effect(why, f".{key}"))
    return outcomes


def kernels(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the kernels; here they are chosen for the machine, except those of liger."""
    if "liger" in str(plugin(value).get("name")):
        return adopted(use_liger_kernel=True)
    why = text("kernels are chosen for the machine", "内核由机器情况决定")
    return [no_effect(why)]


def optimizer(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Say that the optimizers of plugins are not here."""
    name = plugin(value).get("name")
    return [unsupported(text(f"there is no {name} here", f"此处没有 {name}"))]


def batch(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the rows per update, if one device trains on them."""
    rows = number(foreign.values.get("micro_batch_size", 1))
    total = number(value)
    if not isinstance(rows, int) or not isinstance(total, int) or rows < 1 or total % rows:
        return [
            unsupported(text("set gradient_accumulation_steps", "请设 gradient_accumulation_steps"))
        ]
    why = text("on one device: divide it by the devices", "按单设备计算：请除以设备数")
    return adopted(why, gradient_accumulation_steps=total // rows)


def train_dataset(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate a dataset, or the YAML that lists several."""
    return _sources("dataset", value, foreign)


def eval_dataset(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the held-out dataset, or the YAML that lists several."""
    return _sources("val_dataset", value, foreign)


def _sources(ours: str, value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    name = str(value)
    if not name.endswith((".yaml", ".yml")):
        return [KeyOutcome("adopted", {ours: name})]
    listed = datasets_of(name, foreign)
    if not listed:
        return refused(
            text(
                f"{name}, which lists the datasets, cannot be read here",
                f"此处无法读取列出数据集的 {name}",
            ),
            text(f"give the data: {ours}=PATH", f"请给出数据：{ours}=路径"),
            ours,
        )
    outcomes: list[KeyOutcome] = []
    sources: list[dict[str, Any]] = []
    for dataset, options in listed.items():
        source = {"path": str(options.get("path") or dataset)}
        for theirs, key in (("split", "split"), ("size", "num_samples"), ("weight", "weight")):
            if options.get(theirs) not in (None, "train"):
                source[key] = options[theirs]
        sources.append(source)
        outcomes += [
            unsupported(text(f"{key} is not read", f"不读取 {key}"), f"[{dataset}].{key}")
            for key in options
            if key not in ("path", "source", "split", "converter", "size", "weight")
        ]
    paths = [source["path"] if len(source) == 1 else source for source in sources]
    single = len(paths) == 1 and isinstance(paths[0], str)
    return [KeyOutcome("adopted", {ours: paths[0] if single else paths}), *outcomes]


def datasets_of(name: str, foreign: ForeignConfig) -> dict[str, dict[str, Any]]:
    """Return the entries of a YAML of datasets; empty if it cannot be read."""
    content = file_beside(name, foreign)
    entries = written_entries(content, Settings(name)) if content is not None else {}
    return {key: entry.value for key, entry in entries.items() if isinstance(entry.value, dict)}


def preference(ours: str) -> Translate:
    """Return the row of an option of preference learning, whose stage the command names."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        loss = foreign.values.get("pref_loss", "sigmoid")
        stage = loss if loss in ("orpo", "simpo") else "dpo"
        if ours == "loss_type":
            return adopted(stage=stage) if stage != "dpo" else adopted(stage=stage, loss_type=loss)
        if not value:
            return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
        return [KeyOutcome("adopted", {"stage": stage, ours: value})]

    return translate


def defaults(ours: Mapping[str, Any], foreign: ForeignConfig) -> Sequence[AddedDefault]:
    """Name the defaults of LLaMA-Factory v1 that differ from ours."""
    why = text("LLaMA-Factory's default", "LLaMA-Factory 的默认值")
    values: dict[str, Any] = {
        "hub": "huggingface",
        "tuner_type": "full",
        "dtype": "bfloat16",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 3.0,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0.0,
        "weight_decay": 0.01,
        "gradient_checkpointing": "true",
        "save_steps": 0,
    }
    added = [AddedDefault(key, value, why) for key, value in values.items()]
    listed = datasets_of(str(foreign.values.get("train_dataset")), foreign).values()
    if any(options.get("converter") == "pair" for options in listed):
        added.append(AddedDefault("stage", "dpo", text("the data are pairs", "数据为偏好对")))
        added.append(AddedDefault("beta", 0.1, why))
    elif "stage" not in ours:
        command = text("as with `llamafactory-cli sft`", "与 `llamafactory-cli sft` 相同")
        added.append(AddedDefault("stage", "sft", command))
    return added


def _unknown(key: str) -> KeyOutcome:
    return unsupported(text("no counterpart in swiftbox", "此处没有对应设置"), f".{key}")


ROWS: Rows = {
    "train_dataset": train_dataset,
    "eval_dataset": eval_dataset,
    "peft_config": peft,
    "quant_config": quantization,
    "dist_config": distribution,
    "kernel_config": kernels,
    "optim_config": optimizer,
    "global_batch_size": batch,
    "flash_attn": attention,
    "bf16": renamed("dtype", {True: "bfloat16", False: "float32"}),
    "enable_activation_checkpointing": renamed(
        "gradient_checkpointing", {True: "true", False: "false"}
    ),
    **PARALLELISM,
    "custom_chat_template": renamed("template"),
    "resume_from_checkpoint": resume,
    "pref_beta": preference("beta"),
    "pref_loss": preference("loss_type"),
    "pref_ftx": preference("rpo_alpha"),
    "simpo_gamma": preference("simpo_gamma"),
    "dpo_label_smoothing": preference("label_smoothing"),
    **no_effect_rows(
        "language models are trained here",
        "此处训练的就是语言模型",
        "model_class",
    ),
    **no_effect_rows(
        "weights are placed in the way that suits the machine",
        "权重的放置方式由机器情况决定",
        "init_config batching_workers dp_size mp_replicate_size mp_shard_size dist_timeout "
        "cp_mode save_ckpt_as_hf full_determinism",
    ),
    **no_effect_rows(
        "rows are joined without padding wherever it is exact",
        "只要结果精确，样本就首尾相接而不填充",
        "batching_strategy",
    ),
    **no_effect_rows(
        "it is not a matter of training",
        "与训练无关",
        "sample_backend max_new_tokens",
    ),
    **unsupported_rows(
        "no counterpart in swiftbox",
        "此处没有对应设置",
        "lr_scheduler_config save_epochs ld_alpha",
    ),
}

LLAMAFACTORY_V1 = ForeignTool(
    name="llamafactory-v1",
    title="LLaMA-Factory v1",
    marks=tuple(
        "model_class peft_config kernel_config dist_config quant_config init_config optim_config "
        "lr_scheduler_config train_dataset batching_strategy sample_backend "
        "enable_activation_checkpointing cp_mode custom_chat_template".split()
    ),
    rows=ROWS,
    defaults=defaults,
)
