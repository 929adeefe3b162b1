"""What a `task: evaluate` YAML says: the models, the benchmarks, and how they are scored."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from swiftbox.config.conversations import TemplateVariables
from swiftbox.config.deploy import ServingEngine
from swiftbox.config.fields import setting
from swiftbox.config.groups import (
    Frozen,
    HubFields,
    require_no_empty_names,
    require_output_first,
    require_plain_address,
    require_variable_name,
)
from swiftbox.config.own_rows import NONE, OwnRowFields
from swiftbox.config.references import is_reference
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class EvaluatedNames(Frozen):
    """Which models are evaluated: a baseline, adapters on it, and others to compare."""

    model: str | None = setting(
        None,
        label_zh="模型",
        en="baseline model: run, folder or id; empty: the base of the adapter",
        zh="作为比较基准的模型：运行、目录或 id；留空则用适配器的基座",
        section="model",
        essential=True,
        min_length=1,
    )
    adapter: str | list[str] | None = setting(
        None,
        label_zh="适配器",
        en="run, folder or id of an adapter, or a list; the base and its adapters share one server",
        zh="适配器所在的运行、目录或 id，或其列表；基座与适配器由同一服务回答",
        section="model",
        essential=True,
        min_length=1,
    )
    compare: list[str] | dict[str, str] | None = setting(
        None,
        label_zh="对比对象",
        en="further models or adapters, such as quantized ones: a list, or {name: run/folder/id}",
        zh="其他模型或适配器（例如量化后的）：列表，或 {名称: 运行/目录/id}",
        section="model",
        min_length=1,
    )


class EvaluatedModels(HubFields, TemplateVariables, EvaluatedNames):
    """Where the models come from, or the server that has them."""

    hub: Literal["modelscope", "huggingface", "local"] = setting(
        "modelscope",
        label_zh="模型社区",
        en="hub that ids and benchmarks are downloaded from; an existing folder is used as is",
        zh="从哪个社区下载模型与基准数据；已存在的目录直接使用",
        section="model",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="data type of weights and computation",
        zh="权重与计算的数据类型",
        section="model",
    )
    endpoint: str | None = setting(
        None,
        label_zh="服务地址",
        en="evaluate a running OpenAI-compatible server instead, such as http://127.0.0.1:8000/v1",
        zh="改为评测已在运行的 OpenAI 兼容服务，例如 http://127.0.0.1:8000/v1",
        section="model",
        min_length=1,
    )
    endpoint_models: list[str] | None = setting(
        None,
        label_zh="服务中的模型",
        en="models to evaluate on that server; empty: all that it lists",
        zh="该服务上要评测的模型名称；留空则为其列出的全部",
        section="model",
        min_length=1,
    )
    api_key_env: str | None = setting(
        None,
        label_zh="密钥变量",
        en="environment variable that holds the key of that server; the key itself is never "
        "written",
        zh="保存该服务密钥的环境变量名；密钥本身不会写入任何地方",
        section="model",
        min_length=1,
    )

    @field_validator("adapter", "compare", "endpoint_models")
    @classmethod
    def _has_names(cls, value: Any) -> Any:
        return require_no_empty_names(value)

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        return _address(value)

    @field_validator("api_key_env")
    @classmethod
    def _is_variable(cls, value: str | None) -> str | None:
        return require_variable_name(value)


def _address(value: str | None) -> str | None:
    """Return an address without its last slash; raise ValueError for anything else."""
    if value is None:
        return None
    if is_reference(value):
        return require_output_first(value)
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(text("should be an http address", "应为 http 地址"))
    if parts.username or parts.password:
        raise ValueError(text("should not contain a password", "不应包含密码"))
    return require_plain_address(value.rstrip("/"))


class EvaluateConfig(OwnRowFields, EvaluatedModels, TaskConfig):
    """Fields of an evaluation."""

    task: Literal["evaluate"] = setting(
        "evaluate",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    benchmarks: str | list[str] = setting(
        ["ceval", "mmlu"],
        label_zh="评测基准",
        en="EvalScope benchmarks; sample_ceval and sample_mmlu are small built-in sets that need "
        "no network; none: own rows only",
        zh="EvalScope 的基准名称；sample_ceval、sample_mmlu 为自带的小样本集，无需联网；"
        "none：只测自有数据",
        section="data",
        essential=True,
        min_length=1,
    )
    benchmark_dir: str | None = setting(
        None,
        label_zh="基准数据目录",
        en="folder of benchmark data, one subfolder each; empty: downloaded from the hub",
        zh="基准数据所在目录，每个基准一个子目录；留空则从社区下载",
        section="data",
        essential=True,
        min_length=1,
    )
    limit: int | None = setting(
        None,
        label_zh="每科题数",
        en="number of questions per subject, the first ones; empty: all",
        zh="每个科目只取前多少题；留空表示全部",
        section="data",
        essential=True,
        ge=1,
        limit=1_000_000_000,
    )
    num_fewshot: int | None = setting(
        None,
        label_zh="示例数",
        en="worked examples before each question; empty: the benchmark's setting",
        zh="每题之前给出多少个示例；留空则按基准的设定",
        section="data",
        ge=0,
        le=100,
    )
    backend: Literal["evalscope", "lm_eval"] = setting(
        "evalscope",
        label_zh="评测后端",
        en="evalscope scores generated answers; lm_eval compares the likelihood of the choices, "
        "for small base models",
        zh="evalscope 对模型生成的答案评分；lm_eval 比较各选项的似然，适合小型基座模型",
        section="run",
        essential=True,
    )
    batch_size: int = setting(
        8,
        label_zh="并发提问数",
        en="questions asked at the same time",
        zh="同时提问的数量",
        section="run",
        ge=1,
        limit=65_536,
    )
    max_tokens: int = setting(
        512,
        label_zh="最大回答长度",
        en="maximum length of an answer in tokens",
        zh="回答的最大 token 数",
        section="run",
        only={"backend": ("evalscope",)},
        ge=1,
        limit=10_000_000,
    )
    temperature: float = setting(
        0.0,
        label_zh="采样温度",
        en="sampling temperature; 0: the most likely answer, the same every time",
        zh="采样温度；0：最可能的回答，每次相同",
        section="run",
        only={"backend": ("evalscope",)},
        ge=0,
        le=2,
    )
    judge_endpoint: str | None = setting(
        None,
        label_zh="评审服务地址",
        en="OpenAI-compatible server of the judge model, which compares answers to your own rows "
        "and scores benchmarks that need a judge",
        zh="评审模型的 OpenAI 兼容服务地址：比较自有数据上的回答，并为需要评审的基准打分",
        section="run",
        only={"backend": ("evalscope",)},
        min_length=1,
    )
    judge_model: str | None = setting(
        None,
        label_zh="评审模型",
        en="name of the judge model on that server",
        zh="该服务上评审模型的名称",
        section="run",
        only={"backend": ("evalscope",)},
        min_length=1,
    )
    judge_key_env: str | None = setting(
        None,
        label_zh="评审密钥变量",
        en="environment variable that holds the key of that server",
        zh="保存该服务密钥的环境变量名",
        section="run",
        only={"backend": ("evalscope",)},
        min_length=1,
    )
    seed: int = setting(
        42,
        label_zh="随机种子",
        en="seed for sampling",
        zh="抽样的随机种子",
        section="run",
        ge=0,
        lt=2**32,
    )
    engine: ServingEngine = setting(
        "auto",
        label_zh="推理引擎",
        en="server for the models, as in a deployment: vllm, llama_cpp or builtin",
        zh="由谁提供模型服务，与部署相同：vllm、llama_cpp 或 builtin",
        section="run",
        only={"backend": ("evalscope",)},
    )
    tensor_parallel_size: int = setting(
        1,
        label_zh="张量并行数",
        en="devices that each layer is split across; more than 1 only with vllm",
        zh="每层切分到几个设备；大于 1 时仅限 vllm",
        section="run",
        only={"backend": ("evalscope",)},
        ge=1,
        limit=1024,
    )
    max_model_len: int | None = setting(
        None,
        label_zh="最大上下文",
        en="maximum length of prompt and answer together, in tokens; empty: what model and memory "
        "allow",
        zh="提示与回答合计的最大 token 数；留空则按模型与内存确定",
        section="run",
        only={"backend": ("evalscope",)},
        ge=16,
        limit=100_000_000,
    )

    @field_validator("benchmarks")
    @classmethod
    def _names_of(cls, value: str | list[str]) -> list[str]:
        names = [name.strip() for name in (value.split(",") if isinstance(value, str) else value)]
        if not all(names):
            raise ValueError(text("should not be empty", "不能为空"))
        if NONE in names and len(names) > 1:
            raise ValueError(text("none stands alone", "none 只能单独使用"))
        return names

    @field_validator("judge_endpoint")
    @classmethod
    def _is_judge_address(cls, value: str | None) -> str | None:
        return _address(value)

    @field_validator("judge_key_env")
    @classmethod
    def _is_judge_variable(cls, value: str | None) -> str | None:
        return require_variable_name(value)
