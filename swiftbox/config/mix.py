"""What a `task: mix` YAML says: several adapters or models, and how they become one."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import HubFields, require_no_empty_names
from swiftbox.config.merge import require_shard_size
from swiftbox.config.task import TaskConfig
from swiftbox.formatting import counted
from swiftbox.language import text

SPARSE = ("ties", "dare_linear", "dare_ties")
"""Methods that drop a share of each change."""

RANDOM = ("dare_linear", "dare_ties")
AVERAGED = ("linear", "dare_linear", "slerp")
"""Methods that add up; without weights each part has the same share."""

UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

SUM_TOLERANCE = 1e-6
"""Weights such as 0.333333 and 0.666667 are meant to add up to 1."""


class MixedNames(TaskConfig):
    """Which adapters or models are mixed."""

    adapter: list[str] | None = setting(
        None,
        label_zh="适配器",
        en="two or more LoRA adapters of one base, to become one adapter: runs, folders or ids",
        zh="同一基座的两个或更多 LoRA 适配器，混合为一个适配器：运行、目录或 id",
        section="model",
        essential=True,
    )
    tuned_model: list[str] | None = setting(
        None,
        label_zh="微调后的模型",
        en="two or more models of one architecture, to become one model: runs, folders or ids",
        zh="同一架构的两个或更多模型，混合为一个模型：运行、目录或 id",
        section="model",
        essential=True,
    )
    model: str | None = setting(
        None,
        label_zh="模型",
        en="their base: folder or id; empty: the one that their runs recorded, or none if no "
        "change from it is needed",
        zh="它们的基座：目录或 id；留空则用其运行所记录的基座；不需要与基座比较时可没有",
        section="model",
        essential=True,
        min_length=1,
    )


class MixConfig(HubFields, MixedNames):
    """Fields of a mix."""

    task: Literal["mix"] = setting(
        "mix",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    method: Literal["linear", "ties", "dare_linear", "dare_ties", "slerp"] = setting(
        "linear",
        label_zh="混合方法",
        en="linear: weighted sum; ties: trims small changes, keeps the majority's sign; dare_*: "
        "drops changes at random; slerp: between two models",
        zh="linear：加权和；ties：去掉较小的变化，再按多数符号合并；dare_*：随机丢弃变化；slerp：两个模型之间"
        "的球面插值",
        section="method",
        essential=True,
    )
    weights: list[Annotated[float, Field(ge=-100, le=100)]] = setting(
        [],
        label_zh="权重",
        en="weight of each, in their order; empty: equal shares of 1, or 1 each for ties and "
        "dare_ties, which average",
        zh="各部分的权重，按其顺序；留空：均分为 1；ties 与 dare_ties 会取平均，故各为 1",
        section="method",
        essential=True,
    )
    density: float = setting(
        0.5,
        label_zh="保留比例",
        en="share of each change that ties or dare keep",
        zh="ties、dare 对每处变化保留的比例",
        section="method",
        only={"method": SPARSE},
        gt=0,
        le=1,
    )
    seed: int = setting(
        42,
        label_zh="随机种子",
        en="seed of what dare drops; the same seed gives the same bits",
        zh="dare 随机丢弃所用的种子；相同的种子得到逐位相同的结果",
        section="method",
        only={"method": RANDOM},
        ge=0,
        le=2**63 - 1,
    )
    lora_rank: int | None = setting(
        None,
        label_zh="LoRA 秩",
        en="rank of a mixed adapter; empty: the sum of the ranks for linear, which is exact; "
        "otherwise the largest",
        zh="混合后适配器的秩；留空：linear 为各秩之和（精确），其余取最大的秩",
        section="method",
        ge=1,
        le=4096,
    )
    dtype: Literal["auto", "stored", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="data type of the result; auto: that of each weight of the first model; float32 for "
        "adapters",
        zh="结果的数据类型；auto：与第一个模型的各权重相同，适配器为 float32",
        section="run",
    )
    max_shard_size: str = setting(
        "5GB",
        label_zh="分片大小",
        en="maximum size of a weight file, such as 5GB or 500MB",
        zh="单个权重文件的最大大小，例如 5GB 或 500MB",
        section="run",
    )

    @field_validator("adapter", "tuned_model")
    @classmethod
    def _has_names(cls, value: list[str] | None) -> list[str] | None:
        names: list[str] | None = require_no_empty_names(value)
        return names

    @field_validator("max_shard_size")
    @classmethod
    def _is_size(cls, value: str) -> str:
        return require_shard_size(value)

    @model_validator(mode="after")
    def _is_consistent(self) -> MixConfig:
        problems = (_kinds(self), _weights(self), _method(self), _dtype(self))
        if any(problems):
            raise ValueError("\n".join(filter(None, problems)))
        return self

    @property
    def names(self) -> list[str]:
        """Return the adapters or models that are mixed."""
        return self.adapter or self.tuned_model or []

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the weight of each part."""
        count = len(self.names)
        usual = 1.0 / count if self.method in AVERAGED else 1.0
        return tuple(self.weights) or (usual,) * count

    @property
    def shard_bytes(self) -> int:
        """Return the maximum size of a weight file in bytes."""
        size = self.max_shard_size
        number, unit = int("".join(filter(str.isdigit, size))), size.lstrip("0123456789")
        return number * (UNITS[unit[0]] if unit[1:] == "B" else 1024 ** (" KMGT".index(unit[0])))

    @property
    def needs_base(self) -> bool:
        """Tell whether changes from the base are mixed, not the models themselves."""
        is_average = math.isclose(sum(self.shares), 1.0, abs_tol=SUM_TOLERANCE)
        return self.adapter is not None or not (
            self.method == "slerp" or (self.method == "linear" and is_average)
        )


def _kinds(config: MixConfig) -> str:
    if (config.adapter is None) == (config.tuned_model is None):
        return text(
            "adapter: give either adapters, or models as tuned_model",
            "adapter: 请给出适配器，或以 tuned_model 给出模型，二者取一",
        )
    if len(config.names) < 2:
        key = "tuned_model" if config.adapter is None else "adapter"
        return text(f"{key}: should name two or more", f"{key}: 应写两个或更多")
    return ""


def _weights(config: MixConfig) -> str:
    count = len(config.names)
    if config.weights and count and len(config.weights) != count:
        return text(
            f"weights: {counted(len(config.weights), 'weight')} for {counted(count, 'part')}",
            f"weights: 有 {len(config.weights)} 个权重，而要混合 {count} 个",
        )
    if config.weights and not any(config.weights):
        return text("weights: at least one should not be 0", "weights: 不能全为 0")
    return ""


def _method(config: MixConfig) -> str:
    if config.method != "slerp":
        return ""
    if config.adapter is not None:
        return text(
            "method: slerp is between two models; set method: linear for adapters",
            "method: slerp 用于两个模型之间；适配器请设 method: linear",
        )
    if len(config.names) != 2:
        return text("method: slerp takes two models", "method: slerp 只能用于两个模型")
    is_point = all(weight >= 0 for weight in config.shares)
    if not is_point or not math.isclose(sum(config.shares), 1.0, abs_tol=SUM_TOLERANCE):
        return text(
            "weights: of slerp should be at least 0 and add up to 1",
            "weights: slerp 的权重应不小于 0 且和为 1",
        )
    return ""


def _dtype(config: MixConfig) -> str:
    if config.adapter is not None and config.dtype == "stored":
        return text(
            "dtype: adapters have one data type; set dtype: float32",
            "dtype: 适配器只有一种数据类型；请设 dtype: float32",
        )
    return ""
