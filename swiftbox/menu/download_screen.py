"""The download screens: a queue of models and datasets, its YAML, and what is here already."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.config.download import DownloadConfig
from swiftbox.config.groups import as_list
from swiftbox.config.writing import scalar
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.menu.draft import Draft
from swiftbox.menu.options.models import Datasets, Models, gigabytes
from swiftbox.menu.picker import Picker
from swiftbox.menu.questions import Back, complain, pause, say, select
from swiftbox.menu.review_screen import Extra, Screen, review
from swiftbox.models import local
from swiftbox.models.download_request import wanted
from swiftbox.models.local import Local
from swiftbox.models.verification import report
from swiftbox.tasks.load import Loaded

QUEUED = ("model", "dataset")


def names(draft: Draft, key: str) -> list[str]:
    """Return the queued models, or datasets."""
    return [str(one) for one in as_list(draft.values.get(key) or [])]


def queued(draft: Draft, key: str, more: list[str]) -> Draft:
    """Return the queue with more in it, everything once."""
    return draft.with_values(**{key: list(dict.fromkeys([*names(draft, key), *more]))})


def without(draft: Draft, key: str, name: str) -> Draft:
    """Return the queue with one thing less."""
    left = [one for one in names(draft, key) if one != name]
    kept = {k: v for k, v in draft.values.items() if k != key}
    return replace(draft, values={**kept, **({key: left} if left else {})}, file=None)


def begin(probe: Any) -> Path | None:
    """Fill the queue and carry it out; Back from the first question returns home."""
    choices = [
        ("model", text("models", "模型")),
        ("dataset", text("datasets", "数据集")),
        ("here", text("what is here already: verify, remove", "本机已有内容：校验、删除")),
    ]
    while True:
        chosen = select(text("What is to be fetched?", "下载什么？"), choices)
        try:
            if chosen == "here":
                kept()
            else:
                return review(add(Draft(DownloadConfig, {}, machine=probe.now), chosen), SCREEN)
        except Back:
            continue


def add(draft: Draft, key: str) -> Draft:
    """Let models or datasets be picked; what is picked goes behind what is queued."""
    offered = Models(draft.machine, fetched=True) if key == "model" else Datasets(fetched=True)
    asked = {
        "model": text("models", "模型"),
        "dataset": text("datasets", "数据集"),
    }[key]

    def check(typed: str) -> str:
        try:
            wanted(typed)
        except UserError as error:
            return f"{error.message} ({error.hint})"
        return ""

    return queued(draft, key, Picker(asked, offered, check, many=True).pick())


def extras(_draft: Draft, _prepared: Any) -> Sequence[Extra]:
    """Offer to add to the queue and to take out of it."""
    return [
        Extra(text("add models", "添加模型"), lambda draft: add(draft, "model"), "second"),
        Extra(text("add datasets", "添加数据集"), lambda draft: add(draft, "dataset"), "second"),
        Extra(text("take something out", "移除一项"), drop, "second"),
    ]


def command_of(queue: Draft, _loaded: Loaded | None = None) -> str:
    """Return the command line that does what the menu does."""
    settings = [
        f"{key}={scalar(value)}" for key, value in queue.values.items() if key not in QUEUED
    ]
    models, datasets = names(queue, "model"), names(queue, "dataset")
    if not models:
        return shlex.join(["swiftbox", "download", *datasets, "--dataset", *settings])
    if datasets:
        settings.append(f"dataset={scalar(datasets)}")
    return shlex.join(["swiftbox", "download", *models, *settings])


def drop(queue: Draft) -> Draft:
    """Let one thing be taken out of the queue; the last one stays."""
    choices = [((key, name), name) for key in QUEUED for name in names(queue, key)]
    if len(choices) < 2:
        say(text("it is the only one", "只有这一项"))
        return queue
    key, name = select(text("Take out", "移除"), choices)
    return without(queue, key, name)


def kept() -> None:
    """List what is here; verify or remove what is chosen, until the user leaves."""
    while True:
        found = [*local.here("model"), *local.here("dataset")]
        if not found:
            say(text("nothing here yet", "本机还没有内容"))
            raise Back
        one = select(text("On this machine", "本机已有"), [(one, title_of(one)) for one in found])
        actions = [("verify", text("hash its files again", "重新校验文件"))]
        if one.where != "folder":
            actions.append(("remove", text("delete it", "删除")))
        try:
            say(f"  {one.folder}")
            chosen = select(one.id, [*actions, (None, text("back", "返回"))])
            if chosen == "verify":
                for line in report(one).lines():
                    say(line)
                pause()
            elif chosen == "remove":
                remove(one)
        except Back:
            continue
        except UserError as error:
            complain(error)


def title_of(one: Local) -> str:
    """Return a line on something that is here."""
    state = "" if one.complete else text(" (unfinished)", "（未完成）")
    return f"{gigabytes(one.size_bytes):>6}  {one.id}  {one.where}{state}"


def remove(one: Local) -> None:
    """Delete something once the user has said so a second time."""
    size = gigabytes(one.size_bytes)
    sure = [(False, text("keep it", "保留")), (True, text("delete it for good", "永久删除"))]
    if select(text(f"Delete {one.id} ({size})?", f"删除 {one.id}（{size}）？"), sure):
        freed = gigabytes(local.remove(one))
        say(text(f"removed {one.id}: {freed} freed", f"已删除 {one.id}，释放 {freed}"))


SCREEN = Screen(
    run=("fetch it", "开始下载"),
    detach=("fetch it in the background", "后台下载"),
    without=QUEUED,
    command=command_of,
    extras=extras,
)
