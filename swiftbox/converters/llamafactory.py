"""LLaMA-Factory: flat YAML; examples/ and src/llamafactory/hparams of its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.converters.dataset_info import dataset
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
    names,
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

STAGES = {"rm": "reward"}


def stage(value: Any, given: Given) -> list[Finding]:
    """Translate the stage; ORPO and SimPO are losses of `dpo` there and stages here."""
    if value not in ("pt", "sft", "rm", "dpo", "kto"):
        return no_stage(value)
    if value == "dpo" and given.values.get("pref_loss") in ("orpo", "simpo"):
        return taken(stage=given.values["pref_loss"])
    return taken(stage=STAGES.get(value, value))


def loss(value: Any, given: Given) -> list[Finding]:
    """Translate the preference loss, which names the stage in two cases."""
    if given.values.get("stage") != "dpo":
        return [idle(text("matters only with stage: dpo", "仅在 stage: dpo 时有意义"))]
    if value in ("orpo", "simpo"):
        return taken(stage=value)
    if value == "kto_pair":
        hint = text("choose loss_type=sigmoid, or stage=kto", "请选 loss_type=sigmoid 或 stage=kto")
        return refused(text("kto_pair is not done here", "此处没有 kto_pair"), hint, "loss_type")
    return taken(loss_type=value)


def sft_loss(value: Any, given: Given) -> list[Finding]:
    """Translate the weight of the language-modelling loss beside the preference loss."""
    if not value:
        return [idle(text("off there, and off here", "原本关闭，此处亦无"))]
    return taken(
        **{"cpo_alpha" if given.values.get("pref_loss") == "simpo" else "rpo_alpha": value}
    )


def only_with(stages: tuple[str, ...], ours: str) -> Any:
    """Make a row of an option that is ignored in other stages."""

    def how(value: Any, given: Given) -> list[Finding]:
        if given.values.get("stage", "sft") in stages:
            return taken(**{ours: value})
        listed = " | ".join(stages)
        return [idle(text(f"matters only with stage: {listed}", f"仅在 stage: {listed} 时有意义"))]

    return how


def gamma(value: Any, given: Given) -> list[Finding]:
    """Translate SimPO's margin, which other losses ignore."""
    if given.values.get("pref_loss") == "simpo":
        return taken(simpo_gamma=value)
    return [idle(text("matters only with pref_loss: simpo", "仅在 pref_loss: simpo 时有意义"))]


def tuner(value: Any, given: Given) -> list[Finding]:
    """Translate what is trained; a quantized base makes LoRA QLoRA."""
    if value == "lora" and given.has("quantization_bit"):
        return taken(tuner_type="qlora")
    if value in ("lora", "full", "oft"):
        return taken(tuner_type=value)
    return no_tuner(value)


def pissa(value: Any, given: Given) -> list[Finding]:
    """Translate PiSSA; its rounds of fast SVD are part of the name here."""
    if not value:
        return [idle(text("off there, and off here", "原本关闭，此处亦无"))]
    rounds = given.values.get("pissa_iter", 16)
    return taken(init_lora_weights=f"pissa_niter_{rounds}" if rounds > 0 else "pissa")


def gradient_checkpointing(value: Any, _given: Given) -> list[Finding]:
    """Translate the switch that turns it off."""
    return taken(gradient_checkpointing="false" if value else "true")


def packing(value: Any, given: Given) -> list[Finding]:
    """Translate packing; here the examples of a row never see each other."""
    if value and not given.has("neat_packing"):
        return taken(
            text(
                "packed examples do not see each other here",
                "此处装在同一行的样本彼此不可见",
            ),
            packing=True,
        )
    return taken(packing=bool(value) or given.has("neat_packing"))


def train_type(value: Any, _given: Given) -> list[Finding]:
    """Refuse to guess: the word belongs to ms-swift and to us."""
    return [left(text(f"no key of LLaMA-Factory ({value})", f"不是 LLaMA-Factory 的键（{value}）"))]


def modules(value: Any, _given: Given) -> list[Finding]:
    """Translate further modules that are trained in full."""
    return taken(modules_to_save=names(value))


def swanlab(value: Any, given: Given) -> list[Finding]:
    """Translate the switch of a reporter."""
    if not value or "report_to" in given.values:
        return [idle(text("report_to says it", "以 report_to 为准"))]
    return taken(report_to="swanlab")


def defaults(ours: Mapping[str, Any], given: Given) -> Sequence[Added]:
    """Name LLaMA-Factory's defaults that differ from ours."""
    found: dict[str, Any] = {
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
        found["lora_alpha"] = 2 * int(given.values.get("lora_rank", 8))
    if ours.get("stage") in ("dpo", "orpo", "simpo", "kto"):
        found["beta"] = 0.1
    if ours.get("stage") == "simpo":
        found |= {"simpo_gamma": 0.5, "cpo_alpha": 0.0}
    if ours.get("stage") == "pt" and "packing" not in given.values:
        found["packing"] = True
    why = text("LLaMA-Factory's default", "LLaMA-Factory 的默认值")
    return [Added(key, value, why) for key, value in found.items()]


ROWS: Rows = {
    **TRAINER,
    "stage": stage,
    "finetuning_type": tuner,
    "model_revision": to("revision", {"main": None}),
    "lora_target": targets,
    "oft_target": targets,
    "additional_target": modules,
    "loraplus_lr_ratio": to("lora_plus_lr_ratio"),
    "pissa_init": pissa,
    "use_dora": to("use_dora"),
    "use_rslora": to("use_rslora"),
    "quantization_bit": to("quant_bits"),
    "quantization_method": to("quant_method", {"bitsandbytes": "bnb"}),
    "quantization_type": fixed("nf4"),
    "double_quantization": fixed(True),
    "dataset": dataset,
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
    "use_swanlab": swanlab,
    **idle_rows("this file trains", "本文件用于训练", "do_train"),
    **idle_rows(
        "part of what another key became",
        "已并入其他键",
        "dataset_dir max_samples pissa_iter",
    ),
    **idle_rows(
        "the tokenizer of the model is used as it is",
        "按模型自带的分词器使用",
        "use_fast_tokenizer",
    ),
    **idle_rows(
        "it is not a matter of training",
        "与训练无关",
        "infer_backend infer_dtype offload_folder export_dir do_predict max_new_tokens top_k "
        "top_p temperature do_sample repetition_penalty length_penalty num_beams ray_run_name "
        "ray_storage_path ray_num_workers resources_per_worker placement_strategy pissa_convert "
        "media_dir ignore_pad_token_for_loss eval_num_beams eval_on_each_dataset tool_format "
        "upcast_layernorm upcast_lmhead_output quantization_device_map",
    ),
    **left_rows(
        "every answer of a conversation is learned",
        "对话中的每个回答都会学习",
        "mask_history",
    ),
    **left_rows(
        "held-out rows come out of the training data here: set val_size",
        "此处的评估数据从训练数据中留出：请设 val_size",
        "eval_dataset",
    ),
    **left_rows(
        "all rows of every set are taken, as often as the epochs say",
        "各数据集的全部行都会使用，次数由训练轮数决定",
        "mix_strategy interleave_probs streaming buffer_size",
    ),
    **left_rows(
        "no counterpart here",
        "此处没有对应设置",
        "resize_vocab add_tokens add_special_tokens new_special_tokens_config "
        "init_special_tokens split_special_tokens mixture_of_depths train_from_scratch "
        "use_llama_pro loraplus_lr_embedding create_new_adapter ld_alpha pref_bco_weight "
        "pure_bf16 disable_shuffling fp8 use_mca module_dropout oft_rank oft_block_size "
        "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules galore_target "
        "galore_rank galore_update_interval galore_scale use_v1_kernels "
        "ref_model_quantization_bit",
    ),
    **refused_rows(
        *MULTIMODAL,
        MULTIMODAL_HINT,
        "image_max_pixels image_min_pixels image_resolution image_do_pan_and_scan "
        "crop_to_patches video_max_pixels video_min_pixels video_resolution video_fps "
        "video_maxlen use_audio_in_video audio_sampling_rate visual_inputs freeze_vision_tower "
        "freeze_multi_modal_projector freeze_language_model train_mm_proj_only",
    ),
    **refused_rows(
        "reinforcement learning with a reward model is not done here",
        "此处不支持基于奖励模型的强化学习",
        (
            "stage=grpo trains from reward functions; stage=dpo from preferences",
            "可用 stage=grpo（奖励函数）或 stage=dpo（偏好数据）",
        ),
        "reward_model reward_model_adapters reward_model_type",
    ),
}

LLAMAFACTORY = Tool(
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
