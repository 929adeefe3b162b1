"""What a `task: merge` YAML says: which adapters go into which base, in what numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import as_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class MergeConfig(TaskConfig):
    """Fields of a merge."""

    task: Literal["merge"] = setting(
        "merge",
        label_zh="任务",
        en="what this file asks for",
        zh="本文件要做什么",
        section="task",
    )
    adapter: str | list[str] = setting(
        label_zh="适配器",
        en="run, folder or id of the adapter, or a list of them, merged one after the other",
        zh="适配器所在的运行、目录或 id，或其列表，依次合并",
        section="model",
        essential=True,
        min_length=1,
    )
    model: str | None = setting(
        None,
        label_zh="模型",
        en="base model, unquantized: folder or id; empty: the one the adapter was trained on",
        zh="未量化的基座模型：目录或 id；留空则用适配器训练时的基座",
        section="model",
        essential=True,
        min_length=1,
    )
    hub: Literal["modelscope", "huggingface", "local"] = setting(
        "modelscope",
        label_zh="模型社区",
        en="where an id is fetched from; a folder that exists is always used as it is",
        zh="模型 id 从哪里下载；已存在的目录总是直接使用",
        section="model",
    )
    revision: str | None = setting(
        None,
        label_zh="模型版本",
        en="branch, tag or commit of the model on the hub",
        zh="模型在社区上的分支、标签或提交号",
        section="model",
    )
    trust_remote_code: bool = setting(
        False,
        label_zh="信任远程代码",
        en="run Python code that comes with the model; only for a source you trust",
        zh="允许执行模型自带的 Python 代码；仅用于可信来源",
        section="model",
    )
    merge_base: Literal["auto", "full", "dequantized"] = setting(
        "auto",
        label_zh="合并基座",
        en="full (auto): the base's own weights; dequantized: what an NF4 adapter was trained on",
        zh="full（auto）：基座的原始权重；dequantized：NF4 适配器训练时所见的权重",
        section="model",
        essential=True,
    )
    dtype: Literal["auto", "stored", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="number type that is written; stored (auto): each weight as the base has it",
        zh="写出的数值类型；stored（auto）：与基座中各权重相同",
        section="run",
        essential=True,
    )
    max_shard_size: str = setting(
        "5GB",
        label_zh="分片大小",
        en="largest weight file, such as 5GB or 500MB",
        zh="单个权重文件的最大大小，例如 5GB 或 500MB",
        section="run",
    )

    @field_validator("adapter")
    @classmethod
    def _named(cls, value: str | list[str]) -> str | list[str]:
        if not all(isinstance(one, str) and one for one in as_list(value)):
            raise ValueError(text("should not be empty", "不能为空"))
        return value

    @field_validator("max_shard_size")
    @classmethod
    def _a_size(cls, value: str) -> str:
        found = re.fullmatch(r"(\d+)\s*([KMGT]i?B)", value.strip(), re.IGNORECASE)
        if found is None or int(found[1]) == 0:
            raise ValueError(
                text("should be a size such as 5GB or 500MB", "应为大小，例如 5GB 或 500MB")
            )
        return found[1] + found[2].upper().replace("I", "i")


@dataclass(frozen=True)
class Quantization:
    """How the base of a training was quantized, under the names that its settings have."""

    quant_bits: int
    bnb_4bit_quant_type: str
    bnb_4bit_use_double_quant: bool
    dtype: str

    def __str__(self) -> str:
        """Name it as people do."""
        return self.bnb_4bit_quant_type.upper() if self.quant_bits == 4 else "INT8"
