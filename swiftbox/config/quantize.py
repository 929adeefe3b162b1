"""What a `task: quantize` YAML says: the model, the method and bits, and the accepted loss."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import DatasetSource, HubFields, as_list, source_in_a_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text

Method = Literal["bnb", "gptq", "awq", "fp8", "w8a8", "gguf"]

GROUPED = ("gptq", "awq")
"""Methods with one scale per group of weights."""

CALIBRATED = ("gptq", "awq", "w8a8")
"""Methods that calibrate on the inputs of the layers."""

BITS = {
    "bnb": (4, 8),
    "gptq": (2, 3, 4, 8),
    "awq": (4,),
    "fp8": (8,),
    "w8a8": (8,),
    "gguf": (4, 5, 6, 8, 16),
}
"""Bits that each method can write."""

GROUP_SIZES = (-1, 16, 32, 64, 128, 256, 512, 1024)
"""-1: one scale per row."""


class QuantizedNames(TaskConfig):
    """Which model is quantized, or which adapter is merged first."""

    model: str | None = setting(
        None,
        label_zh="模型",
        en="unquantized model: folder, run or id; empty: the one the adapter was trained on",
        zh="未量化的模型：目录、运行或 id；留空则用适配器训练时的基座",
        section="model",
        essential=True,
        min_length=1,
    )
    adapter: str | list[str] | None = setting(
        None,
        label_zh="适配器",
        en="run, folder or id of an adapter, or a list; merged first, in float32",
        zh="适配器所在的运行、目录或 id，或其列表；会先以 float32 合并",
        section="model",
        essential=True,
        min_length=1,
    )


class QuantizeConfig(HubFields, QuantizedNames):
    """Fields of a quantization."""

    task: Literal["quantize"] = setting(
        "quantize",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    method: Method = setting(
        "bnb",
        label_zh="量化方法",
        en="bnb: NF4 or INT8, no data; gptq, awq: 4 bits, calibrated on data; fp8, w8a8: for "
        "vLLM; gguf: for llama.cpp",
        zh="bnb：NF4 或 INT8，无需数据；gptq、awq：用数据校准的 4 位；fp8、w8a8：用于 vLLM；gguf："
        "用于 llama.cpp",
        section="method",
        essential=True,
    )
    bits: int | None = setting(
        None,
        label_zh="量化位数",
        en="bits per weight; empty: 4, or 8 for fp8, w8a8, and for bnb below 1B parameters; in "
        "gguf 4: Q4_K_M, 5: Q5_K_M, 6: Q6_K, 8: Q8_0, 16: F16",
        zh="每个权重的位数；留空为 4，fp8、w8a8 以及不足 1B 参数的 bnb 为 8；gguf 中 4：Q4_K_M，"
        "5：Q5_K_M，6：Q6_K，8：Q8_0，16：F16",
        section="method",
        essential=True,
        ge=2,
        le=16,
    )
    group_size: int | None = setting(
        None,
        label_zh="分组大小",
        en="weights that share a scale in gptq and awq; empty: 128; -1: a whole row",
        zh="gptq、awq 中共用一个缩放系数的权重数；留空为 128；-1 表示整行",
        section="method",
        ge=-1,
        limit=65_536,
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting(
        "nf4",
        label_zh="4 位类型",
        en="4-bit data type: nf4 (for normally distributed weights) or fp4",
        zh="4 位数据类型：nf4（适合正态分布的权重）或 fp4",
        section="method",
        only={"method": ("bnb",)},
    )
    bnb_4bit_use_double_quant: bool = setting(
        True,
        label_zh="双重量化",
        en="quantize the 4-bit scales too: saves 0.4 bits per weight",
        zh="对 4 位的缩放系数再次量化：每个权重省 0.4 位",
        section="method",
        only={"method": ("bnb",)},
    )
    dtype: Literal["auto", "stored", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="data type of what is not quantized; auto: that of the model, float16 for awq",
        zh="未量化部分的数据类型；auto：与模型相同，awq 为 float16",
        section="method",
    )
    max_perplexity_ratio: float | None = setting(
        None,
        label_zh="困惑度比上限",
        en="maximum perplexity after / before, on text that is not used for calibration; a result "
        "above it is rejected; empty: 1.05 for 8 bits, 1.25 for 4",
        zh="量化后与量化前困惑度之比的上限（在未用于校准的文本上测量），超过则拒绝结果；留空：8 "
        "位 1.05，4 位 1.25",
        section="method",
        essential=True,
        gt=1,
        le=100,
    )
    calibration_dataset: str | list[str | DatasetSource] | None = setting(
        None,
        label_zh="校准数据集",
        en="rows like those the model will see (a fifth is held out to measure perplexity); "
        "empty: a built-in set",
        zh="与实际用途相近的数据（留出五分之一用于测量困惑度）；留空用内置数据",
        section="data",
        essential=True,
        min_length=1,
    )
    columns: dict[str, str] = setting(
        {},
        label_zh="列改名",
        en="what the columns of the calibration rows are, such as {Question: query}",
        zh="校准数据中各列的含义，例如 {Question: query}",
        section="data",
    )
    calibration_samples: int = setting(
        128,
        label_zh="校准样本数",
        en="text segments used for calibration",
        zh="用于校准的文本段数",
        section="data",
        only={"method": CALIBRATED},
        ge=1,
        limit=1_000_000,
    )
    calibration_length: int = setting(
        512,
        label_zh="校准长度",
        en="tokens per text segment, for calibration and for measuring perplexity",
        zh="每段文本的 token 数（校准与测量均用）",
        section="data",
        ge=16,
        limit=1_000_000,
    )
    keep_merged: bool = setting(
        False,
        label_zh="保留合并模型",
        en="keep the merged model from before quantization",
        zh="保留量化前的合并模型",
        section="run",
    )

    @field_validator("calibration_dataset", mode="before")
    @classmethod
    def _in_a_list(cls, value: Any) -> Any:
        return source_in_a_list(value)

    @field_validator("adapter", "calibration_dataset")
    @classmethod
    def _is_not_empty(cls, value: Any) -> Any:
        if value is not None and not all(as_list(value)):
            raise ValueError(text("should not be empty", "不能为空"))
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> QuantizeConfig:
        problems = (_bits(self), _group_size(self), _dtype(self), _model_or_adapter(self))
        if any(problems):
            raise ValueError("\n".join(filter(None, problems)))
        return self


def _bits(config: QuantizeConfig) -> str:
    supported = BITS[config.method]
    if config.bits is None or config.bits in supported:
        return ""
    listed = ", ".join(map(str, supported))
    others = ", ".join(name for name, bits in BITS.items() if config.bits in bits)
    fix = text(f"; or method: {others}", f"；或 method: {others}") if others else ""
    return text(
        f"bits: method: {config.method} does not support {config.bits} bits; "
        f"set bits: {listed}{fix}",
        f"bits: method: {config.method} 不支持 {config.bits} 位；请设 bits: {listed}{fix}",
    )


def _group_size(config: QuantizeConfig) -> str:
    if config.group_size is None:
        return ""
    if config.method not in GROUPED:
        return text(
            f"group_size: {config.group_size} has no effect with method: {config.method}, whose "
            "group size is fixed; remove group_size, or set method: gptq",
            f"group_size: method: {config.method} 的缩放粒度固定，{config.group_size} 无意义；"
            "请去掉 group_size，或设 method: gptq",
        )
    if config.group_size not in GROUP_SIZES:
        listed = ", ".join(map(str, GROUP_SIZES))
        return text(
            f"group_size: should be one of {listed} (got {config.group_size})",
            f"group_size: 应为其中之一：{listed}（当前为 {config.group_size}）",
        )
    return ""


def _dtype(config: QuantizeConfig) -> str:
    if config.method == "awq" and config.dtype not in ("auto", "float16"):
        return text(
            f"dtype: awq kernels compute in float16, not {config.dtype}; set dtype: auto",
            f"dtype: awq 以 float16 计算，不支持 {config.dtype}；请设 dtype: auto",
        )
    return ""


def _model_or_adapter(config: QuantizeConfig) -> str:
    if config.model is None and config.adapter is None:
        return text(
            "model: is required, unless an adapter names its base",
            "model: 必填，除非适配器记录了其基座",
        )
    return ""
