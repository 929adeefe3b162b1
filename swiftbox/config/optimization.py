"""How the weights are updated: batches, learning rate, optimizer and data type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.config.tuners import FULL_TUNERS

ADAM = (
    "auto",
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_8bit",
    "lora_fa",
    "galore_adamw",
)
"""Optimizers with the settings of Adam; auto chooses from these."""


class BatchFields(Frozen):
    """How many rows an update has, how large it is, and how many there are."""

    per_device_train_batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = setting(
        "auto",
        label_zh="每卡批大小",
        en="rows per device and forward pass; auto: the fastest that fits",
        zh="每个设备每次前向的行数；auto：放得下的最快值",
        section="train",
        essential=True,
    )
    gradient_accumulation_steps: int = setting(
        16,
        label_zh="梯度累积步数",
        en="forward passes per update; rows per update = this x batch size x devices; with "
        "per_device_train_batch_size: auto, the rows per update and device",
        zh="每次更新累积的前向次数；每次更新的行数 = 此值 x 批大小 x 设备数；"
        "per_device_train_batch_size 为 auto 时，是每个设备每次更新的行数",
        section="train",
        essential=True,
        ge=1,
        limit=1_000_000,
    )
    learning_rate: float = setting(
        1.0e-4,
        label_zh="学习率",
        en="peak learning rate; if not set, the usual one for the stage and the tuner",
        zh="最高学习率；不填则用该阶段与微调方式的常用值",
        section="train",
        essential=True,
        gt=0,
        lt=10,
    )
    num_train_epochs: float = setting(
        1.0,
        label_zh="训练轮数",
        en="number of passes over the data",
        zh="遍历数据的次数",
        section="train",
        essential=True,
        gt=0,
        limit=10_000,
    )
    max_steps: int | None = setting(
        None,
        label_zh="最大步数",
        en="stop after this many updates; overrides num_train_epochs",
        zh="最多更新多少步；优先于 num_train_epochs",
        section="train",
        ge=1,
        limit=100_000_000,
    )

    @property
    def micro_batch(self) -> int:
        """Return the rows per device and forward pass of a settled config."""
        if self.per_device_train_batch_size == "auto":
            raise ValueError("per_device_train_batch_size: auto is not settled yet")
        return self.per_device_train_batch_size


class OptimizerFields(Frozen):
    """How the weights are updated."""

    weight_decay: float = setting(
        0.0,
        label_zh="权重衰减",
        en="weight decay of AdamW",
        zh="AdamW 的权重衰减",
        section="train",
        ge=0,
        le=1,
    )
    max_grad_norm: float = setting(
        1.0,
        label_zh="梯度裁剪",
        en="norm that gradients are clipped to; 0: no clipping",
        zh="梯度裁剪的范数上限；0 表示不裁剪",
        section="train",
        ge=0,
        limit=1_000_000,
    )
    adam_beta1: float = setting(
        0.9,
        label_zh="Adam 一阶系数",
        en="Adam: decay of the mean of gradients",
        zh="Adam：梯度均值的衰减系数",
        section="train",
        only={"optim": ADAM},
        ge=0,
        lt=1,
    )
    adam_beta2: float = setting(
        0.999,
        label_zh="Adam 二阶系数",
        en="Adam: decay of the mean of squared gradients",
        zh="Adam：梯度平方均值的衰减系数",
        section="train",
        only={"optim": ADAM},
        ge=0,
        lt=1,
    )
    adam_epsilon: float | None = setting(
        None,
        label_zh="Adam 分母常数",
        en="Adam: added to the denominator; empty: 1e-8, for lora_fa 1e-6",
        zh="Adam：加在分母上的小数；留空为 1e-8，lora_fa 为 1e-6",
        section="train",
        only={"optim": ADAM},
        gt=0,
        le=1,
    )
    optim: Literal[
        "auto",
        "adamw_torch",
        "adamw_torch_fused",
        "adamw_8bit",
        "paged_adamw_8bit",
        "adafactor",
        "sgd",
        "lora_fa",
        "galore_adamw",
    ] = setting(
        "auto",
        label_zh="优化器",
        en="optimizer; auto: the fastest exact one; one with less state if only that fits",
        zh="优化器；auto：最快的精确实现；放不下时改用状态更小的",
        section="train",
    )
    galore_rank: int = setting(
        128,
        label_zh="GaLore 秩",
        en="GaLore: rank that gradients of full training are projected to (arXiv:2403.03507)",
        zh="GaLore：全参数训练的梯度投影到的秩（arXiv:2403.03507）",
        section="train",
        only={"optim": ("galore_adamw",)},
        ge=1,
        limit=65_536,
    )
    galore_update_proj_gap: int = setting(
        200,
        label_zh="GaLore 投影间隔",
        en="GaLore: updates between recomputations of the projection",
        zh="GaLore：每隔多少步重新计算投影",
        section="train",
        only={"optim": ("galore_adamw",)},
        ge=1,
        limit=1_000_000,
    )
    galore_scale: float = setting(
        0.25,
        label_zh="GaLore 缩放系数",
        en="GaLore: factor on the projected updates",
        zh="GaLore：投影后更新量的系数",
        section="train",
        only={"optim": ("galore_adamw",)},
        gt=0,
        limit=1000,
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="data type of weights and computation",
        zh="权重与计算的数据类型",
        section="train",
        essential=True,
    )
    attn_implementation: Literal[
        "auto",
        "sdpa",
        "varlen",
        "eager",
        "flash_attention_2",
        "flash_attention_3",
        "flex_attention",
    ] = setting(
        "auto",
        label_zh="注意力实现",
        en="attention implementation; varlen: torch's own for joined rows, without a mask",
        zh="注意力的实现；varlen：torch 自带、用于拼接样本、不需要掩码",
        section="train",
    )
    gradient_checkpointing: Literal["auto", "true", "false", "selective"] = setting(
        "auto",
        label_zh="梯度检查点",
        en="recompute activations to save memory; selective: only what is cheap to recompute; "
        "auto: as little as fits",
        zh="重算激活以节省显存；selective：只重算代价小的部分；auto：在放得下的前提下尽量少重算",
        section="train",
    )
    activation_offload: bool = setting(
        False,
        label_zh="激活值卸载",
        en="keep activations in main memory between forward and backward pass; exact, slower",
        zh="前向与反向之间把激活值放在主机内存；结果精确，但较慢",
        section="train",
    )
    pure_bf16: bool = setting(
        False,
        label_zh="纯 bfloat16",
        en="full training with weights and gradients in bfloat16, by stochastic rounding: 12 bytes "
        "per weight, 6 with optim: adamw_8bit, instead of 18",
        zh="全参数训练的权重与梯度都用 bfloat16，并随机舍入：每个权重 12 字节，"
        "optim: adamw_8bit 时 6 字节，而不是 18 字节",
        section="train",
        only={"tuner_type": FULL_TUNERS},
    )
    use_liger_kernel: bool = setting(
        False,
        label_zh="Liger 内核",
        en="fused norm, MLP and rotary kernels of liger-kernel, compared with the model before "
        "training",
        zh="使用 liger-kernel 的归一化、MLP 与旋转位置融合内核；训练前会与原模型核对",
        section="train",
    )
    torch_compile: bool = setting(
        False,
        label_zh="编译模型",
        en="compile the model with torch.compile: a slow first step, faster ones after it",
        zh="用 torch.compile 编译模型：第一步很慢，之后较快",
        section="train",
    )
    seed: int = setting(
        42,
        label_zh="随机种子",
        en="seed for shuffling, dropout and adapter initialization",
        zh="随机种子（打乱、dropout、适配器初始化）",
        section="train",
        ge=0,
        lt=2**32,
    )
