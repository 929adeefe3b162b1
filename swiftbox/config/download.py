"""What a `task: download` YAML says: models and datasets, the hub, the files, the folder."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import (
    as_list,
    require_no_empty_names,
    require_plain_address,
    require_revision,
)
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class DownloadConfig(TaskConfig):
    """Fields of a download."""

    task: Literal["download"] = setting(
        "download",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    model: str | list[str] | None = setting(
        None,
        label_zh="模型",
        en="model id or a list of ids, such as Qwen/Qwen3-4B-Instruct-2507",
        zh="模型 id 或其列表，例如 Qwen/Qwen3-4B-Instruct-2507",
        section="model",
        essential=True,
    )
    dataset: str | list[str] | None = setting(
        None,
        label_zh="数据集",
        en="dataset id or a list of ids; downloaded after the models",
        zh="数据集 id 或其列表；在模型之后下载",
        section="model",
        essential=True,
    )
    hub: Literal["modelscope", "huggingface", "local"] = setting(
        "modelscope",
        label_zh="模型社区",
        en="hub to download from; local: copies folders of this machine into local_dir",
        zh="从哪个社区下载；local：将本机目录复制到 local_dir",
        section="model",
        essential=True,
    )
    revision: str | None = setting(
        None,
        label_zh="模型版本",
        en="branch, tag or commit; the commit it stands for is recorded",
        zh="分支、标签或提交号；会记录其对应的提交号",
        section="model",
        min_length=1,
    )
    endpoint: str | list[str] | None = setting(
        None,
        label_zh="社区地址",
        en="address of the hub or of a mirror, or a list: the first that answers is used",
        zh="社区或镜像的地址，或其列表：使用第一个有响应的地址",
        section="model",
    )
    local_dir: str | None = setting(
        None,
        label_zh="保存目录",
        en="folder to download into; empty: the hub's cache, which other tools use too",
        zh="下载到的目录；留空则用社区的缓存目录，其他工具也能使用",
        section="model",
        essential=True,
        min_length=1,
    )
    allow_patterns: str | list[str] | None = setting(
        None,
        label_zh="包含文件",
        en="download only matching files, such as *.json; a pattern or a list",
        zh="只下载匹配的文件，例如 *.json；模式或其列表",
        section="model",
    )
    ignore_patterns: str | list[str] | None = setting(
        None,
        label_zh="排除文件",
        en="files to skip; empty: weights that are also there as safetensors; none: nothing is "
        "skipped",
        zh="不下载的文件；留空则略去与 safetensors 重复的权重，none 表示全部下载",
        section="model",
    )

    @field_validator("model", "dataset")
    @classmethod
    def _has_names(cls, value: str | list[str] | None) -> str | list[str] | None:
        return require_no_empty_names(value) or None

    @field_validator("revision")
    @classmethod
    def _is_revision(cls, value: str | None) -> str | None:
        return require_revision(value)

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, value: str | list[str] | None) -> str | list[str] | None:
        for address in as_list(value or []):
            scheme, mark, _ = str(address).strip().partition("://")
            if not str(address).strip() or (mark and scheme not in ("http", "https")):
                raise ValueError(
                    text(
                        f"should be an address such as https://mirror.example (got {address})",
                        f"应为地址，例如 https://mirror.example（当前为 {address}）",
                    )
                )
            require_plain_address(str(address))
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> DownloadConfig:
        problems = []
        if self.hub == "local" and self.local_dir is None:
            problems.append(
                text(
                    "local_dir: is required with hub: local; the copy is written there",
                    "local_dir: 使用 hub: local 时必填，为复制到的目录",
                )
            )
        if self.model is None and self.dataset is None:
            problems.append(
                text(
                    "model: give a model or a dataset to download",
                    "model: 请给出要下载的模型或数据集",
                )
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self
