"""Which weights are trained, and how: fields, each with the tuners that use it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.language import text

LORA = {"tuner_type": ("lora", "qlora")}
LOW_RANK = {"tuner_type": ("lora", "qlora", "adalora")}
LAYERS = {"tuner_type": ("lora", "qlora", "adalora", "ia3", "oft", "vera")}
"""Tuners that add parameters to named layers; the base is not changed."""
ADALORA = {"tuner_type": ("adalora",)}
FULL = {"tuner_type": ("full",)}

FULL_TUNERS = ("full", "llamapro")
"""Tuners that save a whole model, not an adapter."""

INITS = ("true", "gaussian", "pissa", "pissa_niter_16", "olora", "eva", "lora_ga")

CHANGED_BASE = ("pissa", "olora", "lora_ga")
"""Beginnings of init_lora_weights that change the base."""


class TunerChoice(Frozen):
    """The tuner; the first group, since it decides which other fields apply."""

    tuner_type: Literal["lora", "full", "qlora", "adalora", "ia3", "oft", "vera", "llamapro"] = (
        setting(
            "lora",
            label_zh="微调方式",
            en="what is trained: lora (a small adapter), full (all weights), qlora (lora on a "
            "4-bit base)",
            zh="训练什么：lora（小适配器）、full（全部参数）、qlora（4 位基座上的 lora）等",
            section="method",
            essential=True,
        )
    )


class LoraFields(Frozen):
    """Low-rank adapters (arXiv:2106.09685), their variants and initializations."""

    lora_rank: int = setting(
        8,
        label_zh="LoRA 秩",
        en="LoRA rank: size of the adapter",
        zh="LoRA 秩：适配器的大小",
        section="method",
        essential=True,
        only=LORA,
        ge=1,
        le=4096,
    )
    lora_alpha: float = setting(
        32,
        label_zh="LoRA 缩放系数",
        en="LoRA scale: the adapter is multiplied by lora_alpha / lora_rank",
        zh="LoRA 缩放系数：适配器乘以 lora_alpha / lora_rank",
        section="method",
        only=LOW_RANK,
        gt=0,
        limit=1_000_000,
    )
    lora_dropout: float = setting(
        0.0,
        label_zh="LoRA 丢弃率",
        en="dropout on the input of the adapter",
        zh="适配器输入上的 dropout",
        section="method",
        only={"tuner_type": (*LOW_RANK["tuner_type"], "vera")},
        ge=0,
        lt=1,
    )
    target_modules: str | list[str] = setting(
        "all-linear",
        label_zh="目标层",
        en="layers that get an adapter: all-linear, a name, a list of names, or a regular "
        "expression",
        zh="加适配器的层：all-linear、名称、名称列表或正则表达式",
        section="method",
        only=LAYERS,
        min_length=1,
    )
    exclude_modules: list[str] = setting(
        [],
        label_zh="排除层",
        en="matched layers to leave out: names or regular expressions",
        zh="从匹配的层中排除的层：名称或正则表达式",
        section="method",
        only=LAYERS,
    )
    layers_to_transform: list[Annotated[int, Field(ge=0, le=10_000)]] = setting(
        [],
        label_zh="层号",
        en="indices of the blocks that get an adapter, from 0; empty: all",
        zh="加适配器的层号，从 0 开始；留空表示全部",
        section="method",
        only=LAYERS,
    )
    modules_to_save: list[str] = setting(
        [],
        label_zh="完整训练的层",
        en="further layers to train in full and save with the adapter, such as embed_tokens",
        zh="另外完整训练并随适配器保存的层，例如 embed_tokens",
        section="method",
        only=LAYERS,
    )
    target_parameters: list[str] = setting(
        [],
        label_zh="目标参数",
        en="parameters that get an adapter, such as the fused experts mlp.experts.down_proj",
        zh="加适配器的参数，例如 MoE 的融合专家 mlp.experts.down_proj",
        section="method",
        only=LORA,
    )
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=4096)]] = setting(
        {},
        label_zh="分层秩",
        en="ranks of individual layers, such as {q_proj: 16}; names or regular expressions",
        zh="个别层的秩，例如 {q_proj: 16}；名称或正则表达式",
        section="method",
        only=LORA,
    )
    alpha_pattern: dict[str, Annotated[float, Field(gt=0, le=1_000_000)]] = setting(
        {},
        label_zh="分层缩放系数",
        en="scales of individual layers, such as {q_proj: 64}; names or regular expressions",
        zh="个别层的缩放系数，例如 {q_proj: 64}；名称或正则表达式",
        section="method",
        only=LORA,
    )
    use_dora: bool = setting(
        False,
        label_zh="启用 DoRA",
        en="DoRA: learn magnitude and direction of the weights separately (arXiv:2402.09353)",
        zh="DoRA：分开学习权重的大小与方向（arXiv:2402.09353）",
        section="method",
        only=LORA,
    )
    use_rslora: bool = setting(
        False,
        label_zh="启用 rsLoRA",
        en="rsLoRA: scale by lora_alpha / sqrt(lora_rank) (arXiv:2312.03732)",
        zh="rsLoRA：按 lora_alpha / sqrt(lora_rank) 缩放（arXiv:2312.03732）",
        section="method",
        only=LORA,
    )
    init_lora_weights: str = setting(
        "true",
        label_zh="LoRA 初始化",
        en="initialization: true, gaussian, pissa, pissa_niter_16, olora, eva or lora_ga",
        zh="初始化方式：true、gaussian、pissa、pissa_niter_16、olora、eva 或 lora_ga",
        section="method",
        only=LORA,
    )
    lora_plus_lr_ratio: float | None = setting(
        None,
        label_zh="LoRA+ 学习率倍数",
        en="LoRA+: learning rate of the B matrices over that of A, such as 16 (arXiv:2402.12354)",
        zh="LoRA+：B 矩阵与 A 矩阵的学习率之比，例如 16（arXiv:2402.12354）",
        section="method",
        only=LORA,
        ge=1,
        limit=1_000_000,
    )

    @field_validator("init_lora_weights")
    @classmethod
    def _known_init(cls, value: str) -> str:
        if value not in INITS and not re.fullmatch(r"pissa_niter_[1-9]\d?", value):
            known = ", ".join(INITS)
            raise ValueError(text(f"should be one of {known}", f"应为其中之一：{known}"))
        return value

    @field_validator("target_modules", mode="after")
    @classmethod
    def _no_empty_names(cls, value: Any) -> Any:
        if isinstance(value, list) and not all(value):
            raise ValueError(text("should not hold empty names", "不应含空名称"))
        return value


class QuantFields(Frozen):
    """Adapters on quantized weights: QLoRA (arXiv:2305.14314), GPTQ and AWQ bases."""

    quant_bits: int | None = setting(
        None,
        label_zh="量化位数",
        en="bits of the frozen base: 4 or 8; turns lora into qlora, whose default is 4",
        zh="冻结基座的位数：4 或 8；设置后 lora 即为 qlora，qlora 默认 4",
        section="method",
        only=LORA,
        ge=4,
        le=8,
    )
    quant_method: Literal["bnb", "gptq", "awq"] = setting(
        "bnb",
        label_zh="量化方法",
        en="bnb quantizes while loading; gptq and awq: the base is already quantized that way",
        zh="bnb 在加载时量化；gptq、awq 表示基座已按该方法量化",
        section="method",
        only=LORA,
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting(
        "nf4",
        label_zh="4 位类型",
        en="4-bit data type: nf4 (for normally distributed weights) or fp4",
        zh="4 位数据类型：nf4（适合正态分布的权重）或 fp4",
        section="method",
        only=LORA,
    )
    bnb_4bit_use_double_quant: bool = setting(
        True,
        label_zh="双重量化",
        en="quantize the 4-bit scales too: saves 0.4 bits per weight",
        zh="对 4 位的缩放系数再次量化：每个权重省 0.4 位",
        section="method",
        only=LORA,
    )

    @field_validator("quant_bits")
    @classmethod
    def _four_or_eight(cls, value: int | None) -> int | None:
        if value not in (None, 4, 8):
            raise ValueError(text("should be 4 or 8", "应为 4 或 8"))
        return value


class OtherTunerFields(Frozen):
    """AdaLoRA, (IA)3, OFT, VeRA, block expansion, and frozen parts of full tuning."""

    adalora_init_r: int = setting(
        12,
        label_zh="AdaLoRA 初始秩",
        en="AdaLoRA: initial rank of every layer (arXiv:2303.10512)",
        zh="AdaLoRA：各层的初始秩（arXiv:2303.10512）",
        section="method",
        only=ADALORA,
        ge=1,
        le=4096,
    )
    adalora_target_r: int = setting(
        8,
        label_zh="AdaLoRA 目标秩",
        en="AdaLoRA: average rank at the end",
        zh="AdaLoRA：结束时的平均秩",
        section="method",
        only=ADALORA,
        ge=1,
        le=4096,
    )
    adalora_tinit: float = setting(
        0.1,
        label_zh="AdaLoRA 初始步数",
        en="AdaLoRA: updates before ranks are pruned; below 1: a share of all updates",
        zh="AdaLoRA：开始裁剪秩之前的步数；小于 1 表示占总步数的比例",
        section="method",
        only=ADALORA,
        ge=0,
        limit=100_000_000,
    )
    adalora_tfinal: float = setting(
        0.3,
        label_zh="AdaLoRA 收尾步数",
        en="AdaLoRA: updates after ranks are last pruned; below 1: a share of all updates",
        zh="AdaLoRA：最后一次裁剪之后的步数；小于 1 表示占总步数的比例",
        section="method",
        only=ADALORA,
        ge=0,
        limit=100_000_000,
    )
    adalora_deltaT: int = setting(
        10,
        label_zh="AdaLoRA 裁剪间隔",
        en="AdaLoRA: updates from one pruning to the next",
        zh="AdaLoRA：每隔多少步裁剪一次",
        section="method",
        only=ADALORA,
        ge=1,
        limit=1_000_000,
    )
    adalora_orth_reg_weight: float = setting(
        0.5,
        label_zh="AdaLoRA 正交惩罚",
        en="AdaLoRA: weight of the orthogonality penalty",
        zh="AdaLoRA：正交惩罚项的权重",
        section="method",
        only=ADALORA,
        ge=0,
        limit=1000,
    )
    feedforward_modules: list[str] = setting(
        [],
        label_zh="前馈层",
        en="(IA)3: target_modules whose input is scaled; empty: chosen by name (arXiv:2205.05638)",
        zh="(IA)3：target_modules 中缩放输入的层；留空按名称判断（arXiv:2205.05638）",
        section="method",
        only={"tuner_type": ("ia3",)},
    )
    oft_block_size: int = setting(
        32,
        label_zh="OFT 块大小",
        en="OFT: size of the rotated blocks; must divide the widths of the layers "
        "(arXiv:2306.07280)",
        zh="OFT：旋转块的大小，须整除各层宽度（arXiv:2306.07280）",
        section="method",
        only={"tuner_type": ("oft",)},
        ge=2,
        limit=65_536,
    )
    vera_rank: int = setting(
        256,
        label_zh="VeRA 秩",
        en="VeRA: rank of the random matrices that all layers share (arXiv:2310.11454)",
        zh="VeRA：各层共享的随机矩阵的秩（arXiv:2310.11454）",
        section="method",
        only={"tuner_type": ("vera",)},
        ge=1,
        limit=65_536,
    )
    llamapro_num_new_blocks: int = setting(
        4,
        label_zh="LLaMA Pro 新增层数",
        en="LLaMA Pro: number of new blocks, spread evenly; only they are trained "
        "(arXiv:2401.02415)",
        zh="LLaMA Pro：均匀插入的新层数；只训练这些层（arXiv:2401.02415）",
        section="method",
        only={"tuner_type": ("llamapro",)},
        ge=1,
        limit=1000,
    )
    freeze_parameters: list[str] = setting(
        [],
        label_zh="冻结参数",
        en="parameters to freeze: parts of names, or regular expressions",
        zh="要冻结的参数：名称的一部分或正则表达式",
        section="method",
        only=FULL,
    )
    trainable_parameters: list[str] = setting(
        [],
        label_zh="可训练参数",
        en="exceptions from freeze_parameters; without it: the only parameters to train",
        zh="不受 freeze_parameters 冻结的参数；未设 freeze_parameters 时只训练这些",
        section="method",
        only=FULL,
    )
    neftune_noise_alpha: float | None = setting(
        None,
        label_zh="NEFTune 噪声",
        en="NEFTune: noise on the embeddings during training, such as 5 (arXiv:2310.05914)",
        zh="NEFTune：训练时在嵌入上加噪声，例如 5（arXiv:2310.05914）",
        section="method",
        gt=0,
        limit=10_000,
    )


class TunerFields(OtherTunerFields, QuantFields, LoraFields, TunerChoice):
    """The trained weights: an adapter, a part of the model, or all of it."""
