"""What a `task: quantize` YAML says: which model, to how many bits, and how far it may suffer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text

Method = Literal["bnb", "gptq", "awq", "fp8", "w8a8", "gguf"]

GROUPED = ("gptq", "awq")
"""Methods with one scale per group of weights."""

CALIBRATED = ("gptq", "awq", "w8a8")
"""Methods that look at what the layers are given."""

BITS = {
    "bnb": (4, 8),
    "gptq": (2, 3, 4, 8),
    "awq": (4,),
    "fp8": (8,),
    "w8a8": (8,),
    "gguf": (8, 16),
}
"""What each can write; https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py"""

GROUPS = (-1, 16, 32, 64, 128, 256, 512, 1024)
"""-1: one scale per row."""


class QuantizeFields(TaskConfig):
    """Which model."""

    model: str | None = setting(
        None,
        label_zh="模型",
        en="model, unquantized: folder, run or id; empty: the one the adapter was trained on",
        zh="未量化的模型：目录、运行或 id；留空则用适配器训练时的基座",
        section="model",
        essential=True,
        min_length=1,
    )
    adapter: str | list[str] | None = setting(
        None,
        label_zh="适配器",
        en="run, folder or id of an adapter, or a list of them; merged first, in float32",
        zh="适配器所在的运行、目录或 id，或其列表；会先以 float32 合并",
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


class QuantizeConfig(QuantizeFields):
    """Fields of a quantization."""

    task: Literal["quantize"] = setting(
        "quantize",
        label_zh="任务",
        en="what this file asks for",
        zh="本文件要做什么",
        section="task",
    )
    method: Method = setting(
        "bnb",
        label_zh="量化方法",
        en="bnb: NF4 or INT8, no data; gptq, awq: 4 bits by data; fp8, w8a8: for vLLM; gguf: "
        "llama.cpp",
        zh="bnb：NF4 或 INT8，无需数据；gptq、awq：用数据校准的 4 位；fp8、w8a8：用于 vLLM；"
        "gguf：用于 llama.cpp",
        section="method",
        essential=True,
    )
    bits: int | None = setting(
        None,
        label_zh="量化位数",
        en="bits of a weight; empty: 4, or the 8 of fp8, w8a8 and gguf",
        zh="每个权重的位数；留空为 4，fp8、w8a8、gguf 为 8",
        section="method",
        essential=True,
        ge=2,
        le=16,
    )
    group_size: int | None = setting(
        None,
        label_zh="分组大小",
        en="weights that share a scale, with gptq and awq; empty: 128; -1: a row",
        zh="gptq、awq 中共用一个缩放系数的权重数；留空为 128；-1 表示整行",
        section="method",
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting(
        "nf4",
        label_zh="4 位类型",
        en="the sixteen values of 4 bits: nf4 (for normal weights) or fp4",
        zh="4 位的十六个取值：nf4（适合正态分布的权重）或 fp4",
        section="method",
        only={"method": ("bnb",)},
    )
    bnb_4bit_use_double_quant: bool = setting(
        True,
        label_zh="双重量化",
        en="quantize the scales of 4 bits too: 0.4 bits less per weight",
        zh="对 4 位的缩放系数再次量化：每个权重省 0.4 位",
        section="method",
        only={"method": ("bnb",)},
    )
    dtype: Literal["auto", "stored", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="number type of what stays unquantized; auto: as the model has it, float16 for awq",
        zh="未量化部分的数值类型；auto：与模型相同，awq 为 float16",
        section="method",
    )
    max_perplexity_ratio: float | None = setting(
        None,
        label_zh="困惑度比上限",
        en="perplexity after over before, on text apart from the calibration; a result above it "
        "fails; empty: 1.05 for 8 bits, 1.25 for 4",
        zh="量化后与量化前困惑度之比的上限（在校准之外的文本上测量），超过则失败；留空：8 位 1.05，"
        "4 位 1.25",
        section="method",
        essential=True,
        gt=1,
        le=100,
    )
    calibration_dataset: str | list[str | DatasetSource] | None = setting(
        None,
        label_zh="校准数据集",
        en="rows like those it will meet (a fifth is held out to measure); empty: a built-in set",
        zh="与实际用途相近的数据（留出五分之一用于测量）；留空用内置数据",
        section="data",
        essential=True,
        min_length=1,
    )
    columns: dict[str, str] = setting(
        {},
        label_zh="列改名",
        en="columns of the calibration rows to rename, such as {query: question}",
        zh="校准数据的列改名，例如 {query: question}",
        section="data",
    )
    calibration_samples: int = setting(
        128,
        label_zh="校准样本数",
        en="pieces of text that the method looks at",
        zh="校准使用的文本段数",
        section="data",
        only={"method": CALIBRATED},
        ge=1,
    )
    calibration_length: int = setting(
        512,
        label_zh="校准长度",
        en="tokens of a piece, of calibration and of the measured text",
        zh="每段的 token 数（校准与测量均用）",
        section="data",
        ge=16,
    )
    keep_merged: bool = setting(
        False,
        label_zh="保留合并模型",
        en="keep the merged, unquantized model that the adapter was merged into",
        zh="保留合并适配器后的未量化模型",
        section="run",
    )

    @field_validator("adapter", "calibration_dataset")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if value is not None and not all(as_list(value)):
            raise ValueError(text("should not be empty", "不能为空"))
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> QuantizeConfig:
        problems = (_bits(self), _group_size(self), _dtype(self), _model_or_adapter(self))
        if any(problems):
            raise ValueError("\n".join(filter(None, problems)))
        return self


def _bits(config: QuantizeConfig) -> str:
    able = BITS[config.method]
    if config.bits is None or config.bits in able:
        return ""
    listed = ", ".join(map(str, able))
    others = ", ".join(name for name, bits in BITS.items() if config.bits in bits)
    cure = text(f"; or method: {others}", f"；或 method: {others}") if others else ""
    return text(
        f"bits: {config.bits} is not for method: {config.method}; set bits: {listed}{cure}",
        f"bits: method: {config.method} 不支持 {config.bits} 位；请设 bits: {listed}{cure}",
    )


def _group_size(config: QuantizeConfig) -> str:
    if config.group_size is None:
        return ""
    if config.method not in GROUPED:
        return text(
            f"group_size: {config.group_size} means nothing to method: {config.method}, whose "
            "scales are fixed; drop group_size, or set method: gptq",
            f"group_size: method: {config.method} 的缩放粒度固定，{config.group_size} 无意义；"
            "请去掉 group_size，或设 method: gptq",
        )
    if config.group_size not in GROUPS:
        listed = ", ".join(map(str, GROUPS))
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
            "model: is required, or an adapter whose base is known",
            "model: 必填，或给出已知基座的适配器",
        )
    return ""
