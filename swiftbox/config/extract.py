"""What a `task: extract` YAML says: a fully trained model, its base, the size of the adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import HubFields, require_no_empty_names
from swiftbox.config.task import TaskConfig


class ExtractedNames(TaskConfig):
    """Which model was trained from which base."""

    tuned_model: str = setting(
        label_zh="微调后的模型",
        en="model whose weights were all trained: run, folder or id",
        zh="全参数微调得到的模型：运行、目录或 id",
        section="model",
        essential=True,
        min_length=1,
    )
    model: str | None = setting(
        None,
        label_zh="模型",
        en="its base: folder or id; empty: the one that its run recorded",
        zh="其基座：目录或 id；留空则用其训练运行所记录的基座",
        section="model",
        essential=True,
        min_length=1,
    )


class ExtractConfig(HubFields, ExtractedNames):
    """Fields of an extraction."""

    task: Literal["extract"] = setting(
        "extract",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    lora_rank: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = setting(
        64,
        label_zh="LoRA 秩",
        en="rank of the adapter; auto: for each layer the smallest that keeps kept_energy",
        zh="适配器的秩；auto：每层取能保留 kept_energy 的最小秩",
        section="method",
        essential=True,
    )
    kept_energy: float = setting(
        0.9,
        label_zh="保留能量",
        en="share of the squared change of a layer that its factors keep",
        zh="各层分解后保留的变化量（平方和）的比例",
        section="method",
        only={"lora_rank": ("auto",)},
        gt=0,
        le=1,
    )
    max_rank: int = setting(
        256,
        label_zh="最大秩",
        en="largest rank that auto may choose",
        zh="auto 可选的最大秩",
        section="method",
        only={"lora_rank": ("auto",)},
        ge=1,
        le=4096,
    )
    target_modules: str | list[str] = setting(
        "all-linear",
        label_zh="目标层",
        en="layers that get an adapter: all-linear (with fused experts) or a list of names",
        zh="加适配器的层：all-linear（含融合的专家）或名称列表",
        section="method",
        min_length=1,
    )
    modules_to_save: list[str] = setting(
        [],
        label_zh="完整保存的层",
        en="layers saved whole with the adapter, such as [embed_tokens, lm_head]",
        zh="随适配器完整保存的层，例如 [embed_tokens, lm_head]",
        section="method",
    )
    other_changes: Literal["drop", "save"] = setting(
        "drop",
        label_zh="其余变化",
        en="changes of norms, biases and embeddings: drop reports how large they are; save keeps "
        "those layers whole, which vLLM does not load",
        zh="归一化层、偏置、词嵌入等的变化：drop 舍弃并报告大小；save 完整保存这些层（vLLM "
        "无法加载）",
        section="method",
        essential=True,
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        label_zh="数据类型",
        en="data type of the adapter; auto: float32",
        zh="适配器的数据类型；auto：float32",
        section="run",
    )

    @field_validator("target_modules", "modules_to_save")
    @classmethod
    def _has_names(cls, value: str | list[str]) -> str | list[str]:
        names: str | list[str] = require_no_empty_names(value)
        return names
