"""What a `task: merge` YAML says: the adapters, the base, and how the result is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import HubFields, require_no_empty_names
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class MergedNames(TaskConfig):
    """Which adapters are merged into which base."""

    adapter: str | list[str] = setting(
        label_zh="适配器",
        en="run, folder or id of the adapter, or a list, merged one after the other",
        zh="适配器所在的运行、目录或 id，或其列表，依次合并",
        section="model",
        essential=True,
        min_length=1,
    )
    model: str | None = setting(
        None,
        label_zh="模型",
        en="unquantized base model: folder or id; empty: the one the adapter was trained on",
        zh="未量化的基座模型：目录或 id；留空则用适配器训练时的基座",
        section="model",
        essential=True,
        min_length=1,
    )


class MergeConfig(HubFields, MergedNames):
    """Fields of a merge."""

    task: Literal["merge"] = setting(
        "merge",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    merge_base: Literal["auto", "full", "dequantized"] = setting(
        "auto",
        label_zh="合并基座",
        en="full (auto): the original weights of the base; dequantized: the weights an NF4 "
        "adapter was trained on",
        zh="full（auto）：基座的原始权重；dequantized：NF4 适配器训练时所见的权重",
        section="model",
        essential=True,
    )
    dtype: Literal["auto", "stored", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="data type of the result; stored (auto): that of each weight of the base",
        zh="结果的数据类型；stored（auto）：与基座中各权重相同",
        section="run",
        essential=True,
    )
    max_shard_size: str = setting(
        "5GB",
        label_zh="分片大小",
        en="maximum size of a weight file, such as 5GB or 500MB",
        zh="单个权重文件的最大大小，例如 5GB 或 500MB",
        section="run",
    )

    @field_validator("adapter")
    @classmethod
    def _has_names(cls, value: str | list[str]) -> Any:
        return require_no_empty_names(value)

    @field_validator("max_shard_size")
    @classmethod
    def _is_size(cls, value: str) -> str:
        return require_shard_size(value)


def require_shard_size(value: str) -> str:
    """Return the size of a file as it is usually written; raise ValueError for another text."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]i?B)", value.strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ValueError(
            text("should be a size such as 5GB or 500MB", "应为大小，例如 5GB 或 500MB")
        )
    return match[1] + match[2].upper().replace("I", "i")


@dataclass(frozen=True)
class Quantization:
    """How the base of a training was quantized, under the names of its settings."""

    quant_bits: int
    bnb_4bit_quant_type: str
    bnb_4bit_use_double_quant: bool
    dtype: str

    def __str__(self) -> str:
        """Return its usual name."""
        return self.bnb_4bit_quant_type.upper() if self.quant_bits == 4 else "INT8"
