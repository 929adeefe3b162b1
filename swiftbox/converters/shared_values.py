"""Values with one meaning in several tools: templates, reference models, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swiftbox.config.aliases import STAGES
from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Rows,
    adopted,
    no_effect,
    no_effect_rows,
    refused,
    replaced,
    unsupported,
    unsupported_rows,
)
from swiftbox.language import text

MULTIMODAL = (
    "images, video and audio are not supported here",
    "此处不训练图像、视频与音频",
)
MULTIMODAL_HINT = (
    "use a text model and text data: delete this key and set model=... dataset=...",
    "请改用文本模型与文本数据：删除该键并给出 model=... dataset=...",
)


TEXT_ONLY = (
    "only text is trained here: rows with images, video or audio are refused",
    "此处只训练文本：含图像、视频或音频的行会被拒绝",
)


def shared_rows(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate how many devices work on one row: here each device has rows to itself."""
    if value in (1, "1", False):
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    return [
        unsupported(
            text(
                "each device trains on its rows here, so an update has more rows: lower "
                "gradient_accumulation_steps",
                "此处每个设备各有自己的行，每次更新的行数更多：请调小 gradient_accumulation_steps",
            )
        )
    ]


SHARED_ROWS = (
    "tensor_model_parallel_size pipeline_model_parallel_size context_parallel_size "
    "tensor_parallel_size sequence_parallel_size sequence_parallel_degree cp_size"
).split()
"""Keys of several tools: devices that work on the same rows, so fewer rows make an update."""

PARALLELISM = no_effect_rows(
    "how a model is spread over devices is chosen here for the machine",
    "模型如何分布到各设备由机器情况决定",
    "expert_model_parallel_size expert_tensor_parallel_size sequence_parallel "
    "virtual_pipeline_model_parallel_size pipeline_model_parallel_layout "
    "decoder_first_pipeline_num_layers decoder_last_pipeline_num_layers "
    "use_distributed_optimizer overlap_grad_reduce overlap_param_gather tp_comm_overlap "
    "dp_shard_size dp_replicate_size expert_parallel_size",
) | dict.fromkeys(SHARED_ROWS, shared_rows)
FUSION = no_effect_rows(
    "changes speed or memory only; chosen here for the machine",
    "只影响速度或显存；此处由机器情况决定",
    "recompute_method recompute_num_layers recompute_modules cross_entropy_loss_fusion "
    "cross_entropy_fusion_impl masked_softmax_fusion gradient_accumulation_fusion "
    "apply_rope_fusion bias_activation_fusion moe_permute_fusion moe_grouped_gemm "
    "moe_shared_expert_overlap moe_token_dispatcher_type moe_router_dtype",
)
"""Options of Megatron."""


def recomputation(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate which activations Megatron computes again."""
    kinds = {"full": "true", "selective": "selective", "none": "false"}
    return adopted(gradient_checkpointing=replaced(value, kinds))


def media_rows(keys: str) -> Rows:
    """Return the rows of settings for images, video and audio."""
    return unsupported_rows(*TEXT_ONLY, keys)


def frozen_part(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate whether a part for images or audio is frozen, which text does not reach."""
    if value in (True, "true"):
        return [no_effect(text("this part is not trained here either", "此处同样不训练该部分"))]
    return [unsupported(text("this part is not trained here", "此处不训练该部分"))]


def frozen_language_model(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Refuse to freeze the language model, the only part that is trained here."""
    if value in (False, "false"):
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    return refused(text(*MULTIMODAL), text(*MULTIMODAL_HINT))


def template(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the name of a chat template: swiftbox uses the tokenizer's template."""
    name = str(value)
    if name in ("chatml", "auto") or name.endswith(".jinja"):
        path = foreign.folder / name
        return adopted(template=str(path) if path.is_file() else name)
    if name.startswith("tokenizer_default"):
        return adopted(template="auto")
    return adopted(
        text(
            f"{name}: the tokenizer's own template is used, so that what trains is what serves",
            f"{name}：使用分词器自带的模板，训练与推理保持一致",
        ),
        template="auto",
    )


def no_stage(value: Any) -> list[KeyOutcome]:
    """Refuse a stage that there is not here."""
    known = ", ".join(STAGES)
    if value == "ppo":
        hint = text(
            "stage=grpo trains from reward functions without a value model; "
            "stage=dpo from preference data",
            "stage=grpo 用奖励函数训练，无需价值模型；stage=dpo 用偏好数据",
        )
    else:
        hint = text(f"give stage=...: one of {known}", f"请给出 stage=...，可选：{known}")
    return refused(text(f"{value} is not supported here", f"此处没有 {value}"), hint, "stage")


def no_tuner(value: Any) -> list[KeyOutcome]:
    """Refuse a tuner that there is not here."""
    return refused(
        text(f"{value} is not supported here", f"此处没有 {value}"),
        text(
            "give tuner_type=lora or tuner_type=full", "请给出 tuner_type=lora 或 tuner_type=full"
        ),
        "tuner_type",
    )


def other_model(model_key: str) -> Callable[[Any, ForeignConfig], list[KeyOutcome]]:
    """Make the row of a reference model: here it is what training starts from."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if value == foreign.values.get(model_key):
            return [
                no_effect(
                    text("this is also the reference model in swiftbox", "此处的参考模型正是它")
                )
            ]
        return [
            unsupported(
                text(
                    "the reference model is where training starts: its model and adapter",
                    "参考模型就是训练的起点：其模型与适配器",
                )
            )
        ]

    return translate
