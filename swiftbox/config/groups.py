"""Groups of fields that tasks share, and the checks of their values."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from swiftbox.config.fields import setting
from swiftbox.config.references import is_served_address
from swiftbox.language import text
from swiftbox.security.paths import fault_of_revision
from swiftbox.security.secrets import is_ambiguous

MODEL_KEYS = ("model", "adapter", "adapters", "compare", "teacher_model", "tuned_model")
DATASET_KEYS = ("dataset", "val_dataset", "calibration_dataset", "test_dataset")
"""Keys of any task whose values may be ids on a hub."""


class Frozen(BaseModel):
    """A config: frozen; unknown keys are forbidden."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=False,
        protected_namespaces=(),
        allow_inf_nan=False,
        defer_build=True,  # a run uses one of twenty classes; building the others takes 0.1 s
    )


class HubFields(Frozen):
    """Where a model that is named by its id comes from, and whether its code may run."""

    hub: Literal["modelscope", "huggingface", "local"] = setting(
        "modelscope",
        label_zh="模型社区",
        en="hub that ids are downloaded from; an existing folder is used as is",
        zh="从哪个社区下载模型；已存在的目录直接使用",
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
        en="run Python code that comes with the model; only for sources you trust",
        zh="允许执行模型自带的 Python 代码；仅用于可信来源",
        section="model",
    )

    @field_validator("revision")
    @classmethod
    def _is_revision(cls, value: str | None) -> str | None:
        return require_revision(value)


class TrainedModel(Frozen):
    """Which model is trained."""

    model: str = setting(
        label_zh="模型",
        en="model folder, or id on the hub such as Qwen/Qwen3-4B-Instruct-2507",
        zh="模型目录，或社区模型 id，例如 Qwen/Qwen3-4B-Instruct-2507",
        section="model",
        essential=True,
        min_length=1,
    )


class ModelFields(HubFields, TrainedModel):
    """The model that is trained, and how its folder is read."""

    adapter: str | None = setting(
        None,
        label_zh="适配器",
        en="adapter folder to continue training",
        zh="继续训练的适配器目录",
        section="model",
    )
    model_type: str | None = setting(
        None,
        label_zh="模型家族",
        en="model family expected in config.json, such as qwen3; checked against it",
        zh="期望的模型家族（config.json 中的 model_type，如 qwen3），会与模型核对",
        section="model",
    )
    template: str = setting(
        "auto",
        label_zh="对话模板",
        en="chat template: auto (the tokenizer's), chatml or a .jinja file; saved with the model",
        zh="对话模板：auto（分词器自带）、chatml 或 .jinja 文件；会随模型保存",
        section="model",
        min_length=1,
    )


class DatasetSource(Frozen):
    """One dataset, and the part of it to take."""

    path: str
    subset: str | None = None
    split: str | None = None
    num_samples: int | None = Field(None, ge=1, le=10**12)
    columns: dict[str, str] = {}
    weight: float | None = Field(None, gt=0, le=1000)
    """How many times its rows are taken per epoch: 0.5 a seeded half, 2 each row twice."""


def source_in_a_list(value: Any) -> Any:
    """Return a dataset that is named as `{path: ...}` in a list, and anything else as it is."""
    return [value] if isinstance(value, dict) else value


class DataFields(Frozen):
    """Which rows are learned, and how they become tokens."""

    dataset: str | list[str | DatasetSource] = setting(
        label_zh="数据集",
        en="file, folder or id on the hub; id#500 takes 500 rows; or a list of these and of "
        "{path, subset, split, num_samples, weight, columns}; weight: 2 takes each row twice",
        zh="文件、目录或社区数据集 id；id#500 取 500 行；也可以是列表，其中可写 {path, subset, "
        "split, num_samples, weight, columns}；weight: 2 表示每行取两次",
        section="data",
        essential=True,
        min_length=1,
    )
    val_dataset: str | list[str | DatasetSource] | None = setting(
        None,
        label_zh="验证数据集",
        en="rows to measure the loss on, named as in dataset; they take the place of val_size",
        zh="用来测量损失的数据，写法同 dataset；设置后不再使用 val_size",
        section="data",
    )
    columns: dict[str, str] = setting(
        {},
        label_zh="列改名",
        en="what the columns of the file are, such as {Question: query, Answer: response}; "
        "unused leaves a column out",
        zh="文件中各列的含义，例如 {Question: query, Answer: response}；unused 表示忽略该列",
        section="data",
    )
    val_size: float = setting(
        0.0,
        label_zh="验证集大小",
        en="rows held out for evaluation: below 1 a share, otherwise a number of rows",
        zh="留作验证的数据：小于 1 为比例，否则为行数",
        section="data",
        ge=0,
        limit=1_000_000_000,
    )
    max_length: int = setting(
        2048,
        label_zh="最大长度",
        en="longest row in tokens; longer ones are cut or dropped (see truncation) and counted",
        zh="单行最大 token 数；更长的行会截断或丢弃（见 truncation）并计数",
        section="data",
        essential=True,
        ge=8,
        limit=10_000_000,
    )
    truncation: Literal["right", "drop", "error"] = setting(
        "right",
        label_zh="超长处理",
        en="rows longer than max_length: right cuts off the end, drop drops the row, error stops "
        "the run",
        zh="超过 max_length 的行：right 截断末尾，drop 丢弃，error 报错停止",
        section="data",
    )
    max_bad_rows: int = setting(
        0,
        label_zh="坏行上限",
        en="unusable rows to skip (and count) before the run is refused",
        zh="最多跳过多少坏行（会计数），超过则拒绝运行",
        section="data",
        ge=0,
        limit=1_000_000_000,
    )
    dataset_num_proc: int | None = setting(
        None,
        label_zh="分词进程数",
        en="tokenizer processes; empty: one per core if the data is large",
        zh="分词进程数；留空：数据较大时每核一个",
        section="data",
        ge=1,
        limit=1024,
    )
    train_on_prompt: bool = setting(
        False,
        label_zh="提示计入损失",
        en="compute the loss on all tokens, not only on the assistant's answers",
        zh="对所有 token 计算损失，而不仅是助手的回答",
        section="data",
    )
    packing: bool = setting(
        False,
        label_zh="样本打包",
        en="pack several examples into each row of max_length tokens; they cannot see each other",
        zh="把多条样本拼满 max_length，彼此不可见",
        section="data",
    )
    padding_free: Literal["auto", "true", "false"] = setting(
        "auto",
        label_zh="免填充",
        en="concatenate the rows of a batch instead of padding them; auto: wherever the result is "
        "exact",
        zh="批内样本首尾相接而不填充；auto：只要结果精确就启用",
        section="data",
    )

    @field_validator("dataset", "val_dataset", mode="before")
    @classmethod
    def _in_a_list(cls, value: Any) -> Any:
        return source_in_a_list(value)

    @field_validator("val_size")
    @classmethod
    def _share_or_rows(cls, value: float) -> float:
        return require_share_or_count(value)


class RunFields(Frozen):
    """Where the training runs, and what it saves and reports."""

    distributed: Literal["auto", "none", "ddp", "fsdp", "zero1", "zero2", "zero3"] = setting(
        "auto",
        label_zh="分布式策略",
        en="how training is spread over several devices",
        zh="多设备训练的方式",
        section="run",
    )
    sharding_strategy: Literal["FULL_SHARD", "SHARD_GRAD_OP"] = setting(
        "FULL_SHARD",
        label_zh="切分策略",
        en="FSDP: FULL_SHARD shards weights too; SHARD_GRAD_OP keeps them gathered until backward",
        zh="FSDP：FULL_SHARD 连权重一起切分；SHARD_GRAD_OP 在前向与反向之间保留完整权重",
        section="run",
        only={"distributed": ("auto", "fsdp")},
    )
    num_devices: int | None = setting(
        None,
        label_zh="设备数",
        en="number of devices; empty: all",
        zh="使用多少个设备；留空表示全部",
        section="run",
        ge=1,
        limit=1024,
    )
    save_steps: int | float = setting(
        50,
        label_zh="保存间隔",
        en="updates between checkpoints; below 1: a share of all updates; 0: only at the end",
        zh="每多少步保存检查点；小于 1 表示占总步数的比例，0 表示只在结束时保存",
        section="run",
        ge=0,
        limit=100_000_000,
    )
    save_total_limit: int = setting(
        2,
        label_zh="检查点保留数",
        en="complete checkpoints to keep; older ones are deleted",
        zh="保留多少个完整检查点；更早的会删除",
        section="run",
        ge=1,
        limit=10_000,
    )
    eval_steps: int | float = setting(
        50,
        label_zh="评估间隔",
        en="updates between evaluations on the held-out rows; below 1: a share of all updates",
        zh="每多少步在验证数据上评估一次；小于 1 表示占总步数的比例",
        section="run",
        gt=0,
        limit=100_000_000,
    )
    logging_steps: int = setting(
        1,
        label_zh="日志间隔",
        en="updates between log lines",
        zh="每多少步记录一次日志",
        section="run",
        ge=1,
        limit=100_000_000,
    )
    report_to: str | list[str] = setting(
        "tensorboard",
        label_zh="日志上报",
        en="tensorboard, wandb, swanlab, a list of them, or none; API keys come from the "
        "environment",
        zh="tensorboard、wandb、swanlab、它们的列表或 none；密钥取自环境变量",
        section="run",
        min_length=1,
    )

    @field_validator("save_steps", "eval_steps")
    @classmethod
    def _share_or_interval(cls, value: float) -> float:
        return value if 0 < value < 1 else int(require_share_or_count(float(value)))


def require_share_or_count(value: float) -> float:
    """Return a share below 1 or a whole number; raise ValueError for anything between."""
    if value >= 1 and not value.is_integer():
        raise ValueError(
            text("should be a share below 1, or a whole number", "应为小于 1 的比例，或整数")
        )
    return value


def as_list(value: Any) -> list[Any]:
    """Return a list unchanged, and any other value as a list of one."""
    return list(value) if isinstance(value, list) else [value]


def require_no_empty_names(value: Any) -> Any:
    """Return a name, or names in a list or mapping; raise ValueError if one is empty or no text."""
    names = [*value, *value.values()] if isinstance(value, dict) else as_list(value)
    if value is not None and not all(isinstance(name, str) and name for name in names):
        raise ValueError(text("should not be empty", "不能为空"))
    return value


def require_revision(value: str | None) -> str | None:
    """Return a branch, tag or commit; raise ValueError for what git does not accept as one."""
    if value is not None and (fault := fault_of_revision(value)):
        raise ValueError(fault)
    return value


def require_plain_address(value: str | None) -> str | None:
    """Return an address; raise ValueError if programs may read different hosts in it."""
    if value is not None and is_ambiguous(value.strip()):
        raise ValueError(
            text(
                "should have a host in ASCII, without a user name, a backslash or a space",
                "主机应为 ASCII，且不含用户名、反斜杠或空格",
            )
        )
    return value


def require_output_first(value: str) -> str:
    """Return an address that begins with an output; raise ValueError for an output elsewhere.

    The server of any other address would be known only when a key is sent to it.
    """
    if is_served_address(value):
        return value
    raise ValueError(
        text(
            "should begin with the output, such as ${serve.url}/v1",
            "引用应位于地址开头，例如 ${serve.url}/v1",
        )
    )


def require_variable_name(value: str | None) -> str | None:
    """Return the name of an environment variable; raise ValueError for what cannot be one."""
    if value is not None and not value.isidentifier():
        raise ValueError(
            text("should be the name of a variable, not the key", "应为变量名，而不是密钥本身")
        )
    return value
