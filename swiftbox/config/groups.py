"""Groups of fields that tasks share; small mixins without methods."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from swiftbox.config.fields import setting


class Frozen(BaseModel):
    """A config: frozen, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=False,
        protected_namespaces=(),
        defer_build=True,  # of twenty classes a run uses one; the others would cost a tenth second
    )


class ModelFields(Frozen):
    """Which model, from where."""

    model: str = setting(
        label_zh="模型",
        en="model folder, or id on the hub such as Qwen/Qwen3-4B-Instruct-2507",
        zh="模型目录，或社区上的模型 id，例如 Qwen/Qwen3-4B-Instruct-2507",
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
    adapter: str | None = setting(
        None,
        label_zh="适配器",
        en="adapter folder to continue from",
        zh="从已有的适配器目录继续训练",
        section="model",
    )
    model_type: str | None = setting(
        None,
        label_zh="模型家族",
        en="model family expected in config.json, such as qwen3; a hint that is checked",
        zh="期望的模型家族（config.json 中的 model_type，如 qwen3），会核对",
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
    trust_remote_code: bool = setting(
        False,
        label_zh="信任远程代码",
        en="run Python code that comes with the model; only for a source you trust",
        zh="允许执行模型自带的 Python 代码；仅用于可信来源",
        section="model",
    )


class DatasetSource(Frozen):
    """One dataset of a list, with what to take from it."""

    path: str
    subset: str | None = None
    split: str | None = None
    num_samples: int | None = None
    columns: dict[str, str] = {}
    weight: float | None = Field(None, gt=0, allow_inf_nan=False)
    """How many times its rows are taken per epoch: 0.5 a seeded half, 2 each row twice."""


class DataFields(Frozen):
    """Which rows, and how they become tokens."""

    dataset: str | list[str | DatasetSource] = setting(
        label_zh="数据集",
        en="file, folder or id on the hub; id#500 takes 500 rows; or a list of these and of "
        "{path, subset, split, num_samples, weight, columns}; weight: 2 takes each row twice",
        zh="文件、目录或社区数据集 id；id#500 取 500 行；也可以是列表，其中可写 "
        "{path, subset, split, num_samples, weight, columns}；weight: 2 表示每行取两次",
        section="data",
        essential=True,
        min_length=1,
    )
    columns: dict[str, str] = setting(
        {},
        label_zh="列改名",
        en="columns to rename, such as {query: question}",
        zh="列改名，例如 {query: question}",
        section="data",
    )
    val_size: float = setting(
        0.0,
        label_zh="验证集大小",
        en="rows held out to measure the loss: a share below 1, or a number of rows",
        zh="留出多少行评估损失：小于 1 为比例，否则为行数",
        section="data",
        ge=0,
    )
    max_length: int = setting(
        2048,
        label_zh="最大长度",
        en="longest row in tokens; longer ones are cut (see truncation) and counted",
        zh="单行最大 token 数；更长的会截断（或丢弃，见 truncation）并计数",
        section="data",
        essential=True,
        ge=8,
    )
    truncation: Literal["right", "drop", "error"] = setting(
        "right",
        label_zh="超长处理",
        en="rows longer than max_length: cut at the right, drop them, or stop with an error",
        zh="超过 max_length 的行：right 截断右侧、drop 丢弃、error 报错停止",
        section="data",
    )
    max_bad_rows: int = setting(
        0,
        label_zh="坏行上限",
        en="unusable rows that are skipped (and counted) before the run is refused",
        zh="最多跳过多少坏行（会计数），超过则拒绝运行",
        section="data",
        ge=0,
    )
    dataset_num_proc: int | None = setting(
        None,
        label_zh="分词进程数",
        en="processes that tokenize; empty: one per core once the data is large",
        zh="分词使用的进程数；留空：数据较大时每核一个",
        section="data",
        ge=1,
    )
    train_on_prompt: bool = setting(
        False,
        label_zh="提示计入损失",
        en="learn every token, not only the assistant's answers",
        zh="对所有 token 计算损失，而不仅是助手的回答",
        section="data",
    )
    packing: bool = setting(
        False,
        label_zh="样本打包",
        en="fill every batch row up to max_length with several examples, kept apart",
        zh="把多条样本装满 max_length，彼此不可见",
        section="data",
    )
    padding_free: Literal["auto", "true", "false"] = setting(
        "auto",
        label_zh="免填充",
        en="join the rows of a batch instead of padding them; auto wherever it is exact",
        zh="批内样本首尾相接而不填充；auto 表示只要结果精确就启用",
        section="data",
    )


class OptimizerFields(Frozen):
    """How the weights move."""

    per_device_train_batch_size: int = setting(
        1,
        label_zh="每卡批大小",
        en="rows per device and forward pass",
        zh="每个设备每次前向的行数",
        section="train",
        essential=True,
        ge=1,
    )
    gradient_accumulation_steps: int = setting(
        16,
        label_zh="梯度累积步数",
        en="forward passes per update; rows per update = this x batch size x devices",
        zh="每次更新累积的前向次数；每次更新的行数 = 此值 x 批大小 x 设备数",
        section="train",
        essential=True,
        ge=1,
    )
    learning_rate: float = setting(
        1.0e-4,
        label_zh="学习率",
        en="peak learning rate; when not given, what is usual for the stage and the tuner",
        zh="最高学习率；不填则用该阶段与微调方式的常用值",
        section="train",
        essential=True,
        gt=0,
        lt=10,
    )
    num_train_epochs: float = setting(
        1.0,
        label_zh="训练轮数",
        en="passes over the data",
        zh="遍历数据的次数",
        section="train",
        essential=True,
        gt=0,
    )
    max_steps: int | None = setting(
        None,
        label_zh="最大步数",
        en="stop after this many updates; overrides num_train_epochs",
        zh="最多更新多少步；优先于 num_train_epochs",
        section="train",
        ge=1,
    )
    lr_scheduler_type: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"
    ] = setting(
        "cosine",
        label_zh="学习率调度",
        en="how the learning rate falls",
        zh="学习率如何下降",
        section="train",
    )
    warmup_steps: float = setting(
        0.05,
        label_zh="预热步数",
        en="updates during which the learning rate rises; below 1 a share of the run",
        zh="学习率预热的步数；小于 1 表示占总步数的比例",
        section="train",
        ge=0,
    )
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
        en="gradients are scaled down to this norm; 0 turns it off",
        zh="梯度裁剪到此范数；0 表示关闭",
        section="train",
        ge=0,
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
        en="optimizer; auto takes the fastest exact one",
        zh="优化器；auto 选择最快的精确实现",
        section="train",
    )
    galore_rank: int = setting(
        128,
        label_zh="GaLore 秩",
        en="GaLore: gradients of full tuning are kept in this rank (arXiv:2403.03507)",
        zh="GaLore：全参数训练的梯度保留的秩（arXiv:2403.03507）",
        section="train",
        only={"optim": ("galore_adamw",)},
        ge=1,
    )
    galore_update_proj_gap: int = setting(
        200,
        label_zh="GaLore 投影间隔",
        en="GaLore: updates between choices of the subspace",
        zh="GaLore：每隔多少步重新选择子空间",
        section="train",
        only={"optim": ("galore_adamw",)},
        ge=1,
    )
    galore_scale: float = setting(
        0.25,
        label_zh="GaLore 缩放系数",
        en="GaLore: what updates are multiplied by",
        zh="GaLore：更新量的倍数",
        section="train",
        only={"optim": ("galore_adamw",)},
        gt=0,
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        label_zh="数据类型",
        en="number type of the weights and of the arithmetic",
        zh="权重与计算的数值类型",
        section="train",
        essential=True,
    )
    attn_implementation: Literal[
        "auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"
    ] = setting(
        "auto",
        label_zh="注意力实现",
        en="attention kernel",
        zh="注意力实现",
        section="train",
    )
    gradient_checkpointing: Literal["auto", "true", "false"] = setting(
        "auto",
        label_zh="梯度检查点",
        en="save memory by computing activations twice; auto: on where memory is scarce",
        zh="重复计算激活以节省显存；auto：显存紧张时开启",
        section="train",
    )
    seed: int = setting(
        42,
        label_zh="随机种子",
        en="seed of shuffling, dropout and adapter weights",
        zh="随机种子（打乱、dropout、适配器初始化）",
        section="train",
        ge=0,
        lt=2**32,
    )


class RunFields(Frozen):
    """Where it runs and what it leaves behind."""

    distributed: Literal["auto", "none", "ddp", "fsdp", "zero1", "zero2", "zero3"] = setting(
        "auto",
        label_zh="分布式策略",
        en="how several devices work together",
        zh="多设备如何协同",
        section="run",
    )
    sharding_strategy: Literal["FULL_SHARD", "SHARD_GRAD_OP"] = setting(
        "FULL_SHARD",
        label_zh="切分策略",
        en="what FSDP shards: FULL_SHARD weights too, SHARD_GRAD_OP keeps weights between passes",
        zh="FSDP 切分什么：FULL_SHARD 连权重一起切分，SHARD_GRAD_OP 前后向之间保留权重",
        section="run",
        only={"distributed": ("auto", "fsdp")},
    )
    num_devices: int | None = setting(
        None,
        label_zh="设备数",
        en="how many devices to use; all of them when empty",
        zh="使用多少个设备；留空表示全部",
        section="run",
        ge=1,
    )
    save_steps: int = setting(
        50,
        label_zh="保存间隔",
        en="updates between checkpoints; 0 saves only at the end",
        zh="每多少步保存检查点；0 表示只在结束时保存",
        section="run",
        ge=0,
    )
    save_total_limit: int = setting(
        2,
        label_zh="检查点保留数",
        en="complete checkpoints kept; older ones are deleted",
        zh="保留多少个完整检查点；更早的会删除",
        section="run",
        ge=1,
    )
    eval_steps: int = setting(
        50,
        label_zh="评估间隔",
        en="updates between measurements on the held-out rows",
        zh="每多少步在留出数据上评估一次",
        section="run",
        ge=1,
    )
    logging_steps: int = setting(
        1,
        label_zh="日志间隔",
        en="updates between lines of the log",
        zh="每多少步记录一次日志",
        section="run",
        ge=1,
    )
    report_to: str | list[str] = setting(
        "tensorboard",
        label_zh="日志上报",
        en="tensorboard, wandb, swanlab, a list of them, or none; keys come from the environment",
        zh="tensorboard、wandb、swanlab、它们的列表或 none；密钥取自环境变量",
        section="run",
        min_length=1,
    )


def as_list(value: Any) -> list[Any]:
    """Return a list as it is and anything else as a list of one."""
    return list(value) if isinstance(value, list) else [value]
