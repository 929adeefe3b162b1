"""What a `task: download` YAML says: models and datasets, from where, which files, into what."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import as_list
from swiftbox.config.task import TaskConfig
from swiftbox.language import text


class DownloadConfig(TaskConfig):
    """Fields of a download."""

    task: Literal["download"] = setting(
        "download",
        label_zh="任务",
        en="what this file asks for",
        zh="本文件要做什么",
        section="task",
    )
    model: str | list[str] | None = setting(
        None,
        label_zh="模型",
        en="id of a model, or a list of them, such as Qwen/Qwen3-4B-Instruct-2507",
        zh="模型 id 或其列表，例如 Qwen/Qwen3-4B-Instruct-2507",
        section="model",
        essential=True,
    )
    dataset: str | list[str] | None = setting(
        None,
        label_zh="数据集",
        en="id of a dataset, or a list of them; fetched after the models",
        zh="数据集 id 或其列表；在模型之后下载",
        section="model",
        essential=True,
    )
    hub: Literal["modelscope", "huggingface", "local"] = setting(
        "modelscope",
        label_zh="模型社区",
        en="where from; local copies folders of this machine into local_dir",
        zh="从哪里下载；local 将本机目录复制到 local_dir",
        section="model",
        essential=True,
    )
    revision: str | None = setting(
        None,
        label_zh="模型版本",
        en="branch, tag or commit; the commit that it was is recorded",
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
        en="folder to download into; empty: the hub's own cache, where other tools find it too",
        zh="下载到的目录；留空则用社区自己的缓存，其他工具也能找到",
        section="model",
        essential=True,
        min_length=1,
    )
    allow_patterns: str | list[str] | None = setting(
        None,
        label_zh="包含文件",
        en="only files that match, such as *.json, or a list of patterns",
        zh="只下载匹配的文件，例如 *.json，或模式列表",
        section="model",
    )
    ignore_patterns: str | list[str] | None = setting(
        None,
        label_zh="排除文件",
        en="files to leave out; empty: weights that safetensors hold already, none to get all",
        zh="不下载的文件；留空则略去与 safetensors 重复的权重，none 表示全部下载",
        section="model",
    )

    @field_validator("model", "dataset")
    @classmethod
    def _named(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value is not None and not all(isinstance(one, str) and one for one in as_list(value)):
            raise ValueError(text("should not be empty", "不能为空"))
        return value or None

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str | list[str] | None) -> str | list[str] | None:
        for one in as_list(value or []):
            scheme, mark, _ = str(one).strip().partition("://")
            if not str(one).strip() or (mark and scheme not in ("http", "https")):
                raise ValueError(
                    text(
                        f"should be an address such as https://mirror.example (got {one})",
                        f"应为地址，例如 https://mirror.example（当前为 {one}）",
                    )
                )
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> DownloadConfig:
        problems = []
        if self.hub == "local" and self.local_dir is None:
            problems.append(
                text(
                    "local_dir: is required with hub: local; it is where the copy goes",
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
