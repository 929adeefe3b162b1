"""What a `task: evaluate` YAML says: who is asked, which benchmarks, by which tool, how much."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen, as_list
from swiftbox.config.references import is_reference
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class AskedModels(Frozen):
    """Whose answers are scored: a model, adapters on it, others to compare, or an endpoint's."""

    model: str | None = setting(
        None,
        label_zh="模型",
        en="model, the one others are compared with: run, folder or id; empty: the adapter's base",
        zh="模型（比较的基准）：运行、目录或 id；留空则用适配器的基座",
        section="model",
        essential=True,
        min_length=1,
    )
    adapter: str | list[str] | None = setting(
        None,
        label_zh="适配器",
        en="run, folder or id of an adapter, or a list; base and adapters are asked on one server",
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
    hub: Literal["modelscope", "huggingface", "local"] = setting(
        "modelscope",
        label_zh="模型社区",
        en="where ids and benchmarks come from; a folder that exists is always used as it is",
        zh="模型 id 与基准数据从哪里下载；已存在的目录总是直接使用",
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
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="number type of the weights and of the arithmetic",
        zh="权重与计算的数值类型",
        section="model",
    )
    endpoint: str | None = setting(
        None,
        label_zh="服务地址",
        en="ask an OpenAI-compatible server that runs already, such as http://127.0.0.1:8000/v1",
        zh="改用已在运行的 OpenAI 兼容服务，例如 http://127.0.0.1:8000/v1",
        section="model",
        min_length=1,
    )
    endpoint_models: list[str] | None = setting(
        None,
        label_zh="服务中的模型",
        en="names of the models to ask there; empty: all that it lists",
        zh="在该服务上提问的模型名称；留空则为其列出的全部",
        section="model",
        min_length=1,
    )
    api_key_env: str | None = setting(
        None,
        label_zh="密钥变量",
        en="environment variable with the key of that server; the key itself is written nowhere",
        zh="保存该服务密钥的环境变量名；密钥本身不会写入任何地方",
        section="model",
        min_length=1,
    )

    @field_validator("adapter", "compare", "endpoint_models")
    @classmethod
    def _named(cls, value: Any) -> Any:
        said = [*value, *value.values()] if isinstance(value, dict) else as_list(value or ["-"])
        if not all(isinstance(one, str) and one for one in said):
            raise ValueError(text("should not be empty", "不能为空"))
        return value

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        return _address(value)

    @field_validator("api_key_env")
    @classmethod
    def _a_variable(cls, value: str | None) -> str | None:
        return _variable(value)


def _address(value: str | None) -> str | None:
    """Return an address without its last slash; raise ValueError for what is none."""
    if value is None or is_reference(value):
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(text("should be an http address", "应为 http 地址"))
    if parts.username or parts.password:
        raise ValueError(text("should hold no password", "不应包含密码"))
    return value.rstrip("/")


def _variable(value: str | None) -> str | None:
    """Return the name of a variable; raise ValueError for what cannot be one."""
    if value is not None and not value.isidentifier():
        raise ValueError(
            text("should be the name of a variable, not the key", "应为变量名，而不是密钥本身")
        )
    return value


class EvaluateConfig(AskedModels, TaskConfig):
    """Fields of an evaluation."""

    task: Literal["evaluate"] = setting(
        "evaluate",
        label_zh="任务",
        en="what this file asks for",
        zh="本文件要做什么",
        section="task",
    )
    benchmarks: str | list[str] = setting(
        ["ceval", "mmlu"],
        label_zh="评测基准",
        en="names of benchmarks of EvalScope; sample_ceval, sample_mmlu: small sets of our own, "
        "offline",
        zh="EvalScope 的基准名称；sample_ceval、sample_mmlu 为自带的离线小样本集",
        section="data",
        essential=True,
        min_length=1,
    )
    benchmark_dir: str | None = setting(
        None,
        label_zh="基准数据目录",
        en="folder with the benchmarks' data, one folder each; empty: fetched from the hub",
        zh="基准数据所在目录，每个基准一个子目录；留空则从社区下载",
        section="data",
        essential=True,
        min_length=1,
    )
    limit: int | None = setting(
        None,
        label_zh="每科题数",
        en="questions of each subject, the first ones; empty: all",
        zh="每个科目只取前多少题；留空表示全部",
        section="data",
        essential=True,
        ge=1,
    )
    num_fewshot: int | None = setting(
        None,
        label_zh="示例数",
        en="worked examples before each question; empty: as the benchmark has it",
        zh="每题之前给出多少个示例；留空则按基准的设定",
        section="data",
        ge=0,
        le=100,
    )
    backend: Literal["evalscope", "lm_eval"] = setting(
        "evalscope",
        label_zh="评测后端",
        en="evalscope scores what a model writes; lm_eval the likelihood of each choice, for small "
        "base models",
        zh="evalscope 对模型写出的答案评分；lm_eval 比较各选项的似然，适合小型基座模型",
        section="run",
        essential=True,
    )
    batch_size: int = setting(
        8,
        label_zh="并发提问数",
        en="questions that are asked at the same time",
        zh="同时提问的数量",
        section="run",
        ge=1,
    )
    max_tokens: int = setting(
        512,
        label_zh="最大回答长度",
        en="longest answer in tokens",
        zh="回答的最大 token 数",
        section="run",
        only={"backend": ("evalscope",)},
        ge=1,
    )
    temperature: float = setting(
        0.0,
        label_zh="采样温度",
        en="0: the likeliest answer, the same each time",
        zh="0：最可能的回答，每次相同",
        section="run",
        only={"backend": ("evalscope",)},
        ge=0,
        le=2,
    )
    judge_endpoint: str | None = setting(
        None,
        label_zh="评审服务地址",
        en="OpenAI-compatible server of a judge model, for benchmarks that one scores",
        zh="评审模型的 OpenAI 兼容服务地址，用于由评审模型打分的基准",
        section="run",
        only={"backend": ("evalscope",)},
        min_length=1,
    )
    judge_model: str | None = setting(
        None,
        label_zh="评审模型",
        en="name of the judge model there",
        zh="该服务上评审模型的名称",
        section="run",
        only={"backend": ("evalscope",)},
        min_length=1,
    )
    judge_key_env: str | None = setting(
        None,
        label_zh="评审密钥变量",
        en="environment variable with the key of that server",
        zh="保存该服务密钥的环境变量名",
        section="run",
        only={"backend": ("evalscope",)},
        min_length=1,
    )
    seed: int = setting(
        42,
        label_zh="随机种子",
        en="seed of what is drawn",
        zh="随机种子",
        section="run",
        ge=0,
        lt=2**32,
    )
    engine: Literal["auto", "vllm", "builtin"] = setting(
        "auto",
        label_zh="推理引擎",
        en="what serves the models, as in a deployment: vllm, or builtin",
        zh="由谁提供模型服务，与部署相同：vllm 或 builtin",
        section="run",
        only={"backend": ("evalscope",)},
    )
    tensor_parallel_size: int = setting(
        1,
        label_zh="张量并行数",
        en="devices that share each layer; more than 1 with vllm only",
        zh="每层切分到几个设备；大于 1 时仅限 vllm",
        section="run",
        only={"backend": ("evalscope",)},
        ge=1,
    )
    max_model_len: int | None = setting(
        None,
        label_zh="最大上下文",
        en="longest prompt with its answer, in tokens; empty: as the model and memory allow",
        zh="提示与回答的最大 token 数；留空则按模型与内存确定",
        section="run",
        only={"backend": ("evalscope",)},
        ge=16,
    )

    @field_validator("benchmarks")
    @classmethod
    def _some(cls, value: str | list[str]) -> list[str]:
        said = value.split(",") if isinstance(value, str) else value
        names = [one.strip() for one in said]
        if not all(names):
            raise ValueError(text("should not be empty", "不能为空"))
        return names

    @field_validator("judge_endpoint")
    @classmethod
    def _a_judge(cls, value: str | None) -> str | None:
        return _address(value)

    @field_validator("judge_key_env")
    @classmethod
    def _its_key(cls, value: str | None) -> str | None:
        return _variable(value)
