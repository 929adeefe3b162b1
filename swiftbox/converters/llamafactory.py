"""LLaMA-Factory: flat YAML; examples/ and src/llamafactory/hparams of its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.converters.dataset_info import dataset
from swiftbox.converters.frozen_layers import trained_layers
from swiftbox.converters.galore_keys import galore_rows
from swiftbox.converters.intervals import interval_rows
from swiftbox.converters.rows import (
    AddedDefault,
    ForeignConfig,
    ForeignTool,
    KeyOutcome,
    Rows,
    adapter_targets,
    adopted,
    no_effect,
    no_effect_rows,
    refused,
    refused_rows,
    renamed,
    split_names,
    unsupported,
    unsupported_rows,
    whole_number,
)
from swiftbox.converters.shared_values import (
    FUSION,
    PARALLELISM,
    frozen_language_model,
    frozen_part,
    media_rows,
    no_stage,
    no_tuner,
    other_model,
    recomputation,
    template,
)
from swiftbox.converters.token_keys import described_tokens, resized, tokens
from swiftbox.converters.trainer_keys import TRAINER, pure_half
from swiftbox.language import text

STAGES = {"rm": "reward"}


def stage(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the stage; ORPO and SimPO are losses of `dpo` there and stages here."""
    if value not in ("pt", "sft", "rm", "dpo", "kto"):
        return no_stage(value)
    if value == "dpo" and foreign.values.get("pref_loss") in ("orpo", "simpo"):
        return adopted(stage=foreign.values["pref_loss"])
    return adopted(stage=STAGES.get(value, value))


def loss(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the preference loss, which names the stage in two cases."""
    if foreign.values.get("stage") != "dpo":
        return [no_effect(text("has an effect only with stage: dpo", "仅在 stage: dpo 时有意义"))]
    if value in ("orpo", "simpo"):
        return adopted(stage=value)
    if value == "kto_pair":
        hint = text("choose loss_type=sigmoid, or stage=kto", "请选 loss_type=sigmoid 或 stage=kto")
        return refused(
            text("kto_pair is not supported here", "此处没有 kto_pair"), hint, "loss_type"
        )
    return adopted(loss_type=value)


def sft_loss(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the weight of the language-modelling loss beside the preference loss."""
    if not value:
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    return adopted(
        **{"cpo_alpha" if foreign.values.get("pref_loss") == "simpo" else "rpo_alpha": value}
    )


def only_with(stages: tuple[str, ...], ours: str) -> Any:
    """Make a row of an option that is ignored in other stages."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if foreign.values.get("stage", "sft") in stages:
            return adopted(**{ours: value})
        listed = " | ".join(stages)
        return [
            no_effect(
                text(f"has an effect only with stage: {listed}", f"仅在 stage: {listed} 时有意义")
            )
        ]

    return translate


def gamma(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate SimPO's margin, which other losses ignore."""
    if foreign.values.get("pref_loss") == "simpo":
        return adopted(simpo_gamma=value)
    return [
        no_effect(
            text("has an effect only with pref_loss: simpo", "仅在 pref_loss: simpo 时有意义")
        )
    ]


def tuner(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate what is trained; a quantized base makes LoRA QLoRA."""
    if value == "freeze":
        return trained_layers(foreign.values, model=foreign.values.get("model_name_or_path"))
    if value == "lora" and foreign.has("quantization_bit"):
        return adopted(tuner_type="qlora")
    if value in ("lora", "full", "oft"):
        return adopted(tuner_type=value)
    return no_tuner(value)


def quantization_bit(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the bits of the base; here only LoRA is trained on a quantized one."""
    if value and foreign.values.get("finetuning_type") == "oft":
        why = text(
            "OFT is trained on weights that are not quantized here",
            "此处的 OFT 在未量化的权重上训练",
        )
        return [unsupported(why)]
    return adopted(quant_bits=value)


def oft_rank(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Accept 0, with which the size of the blocks decides."""
    if not value:
        return [no_effect(text("set by oft_block_size", "以 oft_block_size 为准"))]
    return [unsupported(text("set oft_block_size instead", "请改设 oft_block_size"))]


def thinking(_value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the switches of a reasoning template, which are its variables."""
    named = ("enable_thinking", "preserve_thinking")
    variables = {name: foreign.values[name] for name in named if name in foreign.values}
    return adopted(
        chat_template_kwargs={key: on for key, on in variables.items() if on is not None}
    )


def mask_history(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate that only the last answer of a conversation is learned."""
    if not value:
        return [no_effect(text("every answer is learned, as in swiftbox", "此处同样学习每个回答"))]
    return adopted(turns="last")


def mix_strategy(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Accept that all rows of every set are learned; here they are always shuffled together."""
    if value == "concat":
        return [no_effect(text("the same here", "此处相同"))]
    why = text(
        "all rows of every set are learned: give each set a weight in dataset",
        "各数据集的全部行都会学习：请在 dataset 中为每个数据集设 weight",
    )
    return [unsupported(why)]


def initial_tokens(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Accept how new tokens start; descriptions are not read."""
    if value == "noise_init":
        return [no_effect(text("the usual start is used", "使用通常的初始化"))]
    why = text("descriptions of tokens are not used", "不使用词元的说明文字")
    return [unsupported(why)]


def eval_dataset(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate names of held-out datasets."""
    return dataset(value, foreign, key="val_dataset")


def pissa(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate PiSSA; its rounds of fast SVD are part of the name here."""
    if not value:
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    rounds = whole_number(foreign.values.get("pissa_iter"), 16)
    return adopted(init_lora_weights=f"pissa_niter_{rounds}" if rounds > 0 else "pissa")


def gradient_checkpointing(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the switch that turns it off."""
    return adopted(gradient_checkpointing="false" if value else "true")


def pure_bf16(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate weights that are trained in bfloat16."""
    if not value:
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    trains_adapter = foreign.values.get("finetuning_type", "lora") not in ("full", "freeze")
    return pure_half("bfloat16", trains_adapter=trains_adapter)


def packing(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate packing; here the examples of a row never see each other."""
    if value and not foreign.has("neat_packing"):
        return adopted(
            text(
                "packed examples do not attend to each other here",
                "此处装在同一行的样本彼此不可见",
            ),
            packing=True,
        )
    return adopted(packing=bool(value) or foreign.has("neat_packing"))


def train_type(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Refuse to guess: it is a key of ms-swift and of swiftbox."""
    return [
        unsupported(
            text(f"not a key of LLaMA-Factory ({value})", f"不是 LLaMA-Factory 的键（{value}）")
        )
    ]


def modules(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate further modules that are trained in full."""
    return adopted(modules_to_save=split_names(value))


def swanlab(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the switch of a reporter."""
    if not value or "report_to" in foreign.values:
        return [no_effect(text("set by report_to", "以 report_to 为准"))]
    return adopted(report_to="swanlab")


def defaults(ours: Mapping[str, Any], foreign: ForeignConfig) -> Sequence[AddedDefault]:
    """Name LLaMA-Factory's defaults that differ from ours."""
    values: dict[str, Any] = {
        "hub": "huggingface",
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "learning_rate": 5e-5,
        "num_train_epochs": 3.0,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.0,
        "save_steps": 500,
    }
    if ours.get("tuner_type", "lora") in ("lora", "qlora"):
        values["lora_alpha"] = 2 * whole_number(foreign.values.get("lora_rank"), 8)
    if ours.get("stage") in ("dpo", "orpo", "simpo", "kto"):
        values["beta"] = 0.1
    if ours.get("stage") == "simpo":
        values |= {"simpo_gamma": 0.5, "cpo_alpha": 0.0}
    if ours.get("stage") == "pt" and "packing" not in foreign.values:
        values["packing"] = True
    why = text("LLaMA-Factory's default", "LLaMA-Factory 的默认值")
    return [AddedDefault(key, value, why) for key, value in values.items()]


ROWS: Rows = {
    **TRAINER,
    "stage": stage,
    "finetuning_type": tuner,
    "model_revision": renamed("revision", {"main": None}),
    "lora_target": adapter_targets,
    "oft_target": adapter_targets,
    "additional_target": modules,
    "loraplus_lr_ratio": renamed("lora_plus_lr_ratio"),
    "pissa_init": pissa,
    "use_dora": renamed("use_dora"),
    "use_rslora": renamed("use_rslora"),
    **interval_rows(epochs_key="num_train_epochs", default_epochs=3.0),
    **galore_rows(
        "galore_update_interval",
        {"galore_rank": 16, "galore_update_proj_gap": 200, "galore_scale": 2.0},
    ),
    "quantization_bit": quantization_bit,
    "quantization_method": renamed("quant_method", {"bitsandbytes": "bnb"}),
    "quantization_type": renamed("bnb_4bit_quant_type"),
    "double_quantization": renamed("bnb_4bit_use_double_quant"),
    "oft_block_size": renamed("oft_block_size"),
    "oft_rank": oft_rank,
    "dataset": dataset,
    "eval_dataset": eval_dataset,
    "mask_history": mask_history,
    "mix_strategy": mix_strategy,
    "default_system": renamed("system"),
    "enable_thinking": thinking,
    "preserve_thinking": thinking,
    "add_tokens": tokens("new_tokens"),
    "add_special_tokens": tokens("new_special_tokens"),
    "new_special_tokens_config": described_tokens,
    "init_special_tokens": initial_tokens,
    "resize_vocab": resized,
    "template": template,
    "packing": packing,
    "train_type": train_type,
    "pref_beta": only_with(("dpo", "kto"), "beta"),
    "pref_loss": loss,
    "pref_ftx": sft_loss,
    "simpo_gamma": gamma,
    "dpo_label_smoothing": only_with(("dpo",), "label_smoothing"),
    "kto_chosen_weight": only_with(("kto",), "desirable_weight"),
    "kto_rejected_weight": only_with(("kto",), "undesirable_weight"),
    "ref_model": other_model("model_name_or_path"),
    "ref_model_adapters": other_model("adapter_name_or_path"),
    "disable_gradient_checkpointing": gradient_checkpointing,
    "pure_bf16": pure_bf16,
    "use_swanlab": swanlab,
    **PARALLELISM,
    **FUSION,
    "recompute_granularity": recomputation,
    **no_effect_rows("this file trains", "本文件用于训练", "do_train"),
    **no_effect_rows(
        "part of what another key became",
        "已并入其他键",
        "dataset_dir max_samples pissa_iter freeze_trainable_layers freeze_trainable_modules "
        "freeze_extra_modules use_llama_pro",
    ),
    **no_effect_rows(
        "the model's tokenizer is used unchanged",
        "按模型自带的分词器使用",
        "use_fast_tokenizer",
    ),
    **no_effect_rows(
        "it is not a matter of training",
        "与训练无关",
        "infer_backend infer_dtype offload_folder export_dir do_predict max_new_tokens top_k "
        "top_p temperature do_sample repetition_penalty length_penalty num_beams ray_run_name "
        "ray_storage_path ray_num_workers resources_per_worker placement_strategy pissa_convert "
        "media_dir ignore_pad_token_for_loss eval_num_beams eval_on_each_dataset tool_format "
        "upcast_layernorm upcast_lmhead_output quantization_device_map badam_verbose "
        "kt_cpu_activation kt_config ray_init_kwargs data_shared_file_system",
    ),
    **unsupported_rows(
        "all rows of every set are adopted, as often as the epochs say",
        "各数据集的全部行都会使用，次数由训练轮数决定",
        "interleave_probs streaming buffer_size",
    ),
    **unsupported_rows(
        "no counterpart in swiftbox",
        "此处没有对应设置",
        "split_special_tokens mixture_of_depths train_from_scratch loraplus_lr_embedding "
        "create_new_adapter ld_alpha pref_bco_weight disable_shuffling fp8 fp8_backend "
        "fp8_enable_fsdp_float8_all_gather use_mca use_megatron_bridge use_hyper_parallel "
        "module_dropout use_v1_kernels ref_model_quantization_bit use_asft_loss asft_alpha "
        "use_eaft_loss eaft_alpha use_kt kt_weight_path kt_non_expert_weight_path "
        "apollo_target apollo_rank apollo_scale apollo_scale_type apollo_layerwise badam_mode "
        "badam_switch_mode badam_switch_interval",
    ),
    **media_rows(
        "image_max_pixels image_min_pixels image_resolution image_do_pan_and_scan "
        "crop_to_patches video_max_pixels video_min_pixels video_resolution video_fps "
        "video_maxlen use_audio_in_video audio_sampling_rate visual_inputs",
    ),
    **dict.fromkeys(("freeze_vision_tower", "freeze_multi_modal_projector"), frozen_part),
    **dict.fromkeys(("freeze_language_model", "train_mm_proj_only"), frozen_language_model),
    **refused_rows(
        "reinforcement learning with a reward model is not supported here",
        "此处不支持基于奖励模型的强化学习",
        (
            "stage=grpo trains from reward functions; stage=dpo from preferences",
            "可用 stage=grpo（奖励函数）或 stage=dpo（偏好数据）",
        ),
        "reward_model reward_model_adapters reward_model_type",
    ),
}

LLAMAFACTORY = ForeignTool(
    name="llamafactory",
    title="LLaMA-Factory",
    marks=tuple(
        "model_name_or_path finetuning_type lora_target cutoff_len dataset_dir do_train "
        "preprocessing_num_workers overwrite_cache plot_loss max_samples pref_beta pref_loss "
        "pref_ftx quantization_bit neat_packing adapter_name_or_path".split()
    ),
    rows=ROWS,
    defaults=defaults,
)
