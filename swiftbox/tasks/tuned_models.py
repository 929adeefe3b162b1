"""Fully trained models as a setting names them: found, checked, and the base they recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.hub.download import Download
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.adapters import AdapterBase, training_record
from swiftbox.models.inspection import inspect, require_usable_model
from swiftbox.models.location import locate, locate_recorded
from swiftbox.models.requirements import catalogue_remarks
from swiftbox.models.templates import require_bounded_templates
from swiftbox.models.text_models import require_writes_text
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.tasks.checks import (
    NamesModel,
    OnRemark,
    holds_adapter,
    report,
    require_loadable,
)

KEY = "tuned_model"


def absolute_names(names: Sequence[str], hub: str) -> list[str]:
    """Return the folders of models, absolute; ids on a hub and references stay as they are."""
    return [str(locate(name, key=KEY, hub=hub) or name) for name in names]


def recorded_base(name: str, hub: str) -> AdapterBase | None:
    """Return the base that the training run of a model recorded; None if there is no record."""
    folder = locate(name, key=KEY, hub=hub)
    record = training_record(folder) if folder is not None else None
    if record is None:
        return None
    is_elsewhere = record.model.startswith(("/", "~")) and not Path(record.model).is_dir()
    return None if is_elsewhere else AdapterBase(record.model, record.hub, record.revision)


def without_base(name: str) -> ConfigError:
    """Return the error for a model of which no run on this machine tells the base."""
    return ConfigError(
        text(
            f"model: no run recorded which base {name} was trained from",
            f"model：没有运行记录 {name} 的训练基座",
        ),
        hint=text("give its base: model=...", "请给出其基座：model=..."),
    )


def same_folder(name: str) -> ConfigError:
    """Return the error for a model that is given as its own base."""
    return ConfigError(
        text(f"{KEY}: {name} is the base itself", f"{KEY}：{name} 就是基座本身"),
        hint=text("set model to the model it was trained from", "请将 model 设为其训练前的模型"),
    )


def local_folder(name: str, key: str, hub: str) -> Path | None:
    """Return the folder of a model that is on this machine; None for one that is not yet."""
    folder = locate_recorded(name, key=key, hub=hub)
    return folder if folder is not None and (folder / "config.json").is_file() else None


def check_tuned(names: Sequence[str], config: NamesModel, on_remark: OnRemark) -> None:
    """Raise ConfigError for models that cannot be loaded, or that are adapters."""
    for name in names:
        folder = locate_recorded(name, key=KEY, hub=config.hub)
        if folder is None:
            remarks = catalogue_remarks(name, trust_remote_code=config.trust_remote_code)
            report(KEY, remarks, on_remark)
            continue
        if holds_adapter(folder):
            raise _is_adapter(name)
        require_writes_text(folder, KEY)
        require_bounded_templates(folder, used=True)
        require_loadable(config, inspect(folder), on_remark, key=KEY)


def fetch_tuned(names: Sequence[str], hub: str, emit: Emit) -> Iterator[Download]:
    """Fetch models; raise HubError for one that is incomplete."""
    for name in names:
        emit(events.STAGE, name="fetch", detail=name)
        fetched = fetch_model(name, hub=hub, revision=None, emit=emit, key=KEY)
        require_usable_model(fetched.folder, emit, known=name)
        yield fetched


def _is_adapter(name: str) -> ConfigError:
    return ConfigError(
        text(f"{KEY}: {name} is an adapter", f"{KEY}：{name} 是适配器"),
        hint=text(
            f"give a model whose weights were all trained; adapters are merged with "
            f"`swiftbox new merge adapter={name}`",
            f"请给出全参数微调的模型；适配器可用 `swiftbox new merge adapter={name}` 合并",
        ),
    )
