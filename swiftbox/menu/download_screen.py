"""The download screens: a queue of models and datasets, and what is on this machine already."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from swiftbox.config.download import DownloadConfig
from swiftbox.config.groups import as_list
from swiftbox.config.writing import scalar
from swiftbox.devices.probe import Probe
from swiftbox.errors import UserError
from swiftbox.formatting import pad, size
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.menu.draft import Draft
from swiftbox.menu.options.datasets import DatasetOptions
from swiftbox.menu.options.models import ModelOptions
from swiftbox.menu.options.option import OptionSource
from swiftbox.menu.picker import Picker
from swiftbox.menu.questions import Back, pause, select
from swiftbox.menu.review_screen import ReviewAction, TaskScreen, review
from swiftbox.menu.terminal import print_error, print_line
from swiftbox.models import local
from swiftbox.models.download_request import parse_request
from swiftbox.models.local import LocalArtifact
from swiftbox.models.verification import verify_artifact
from swiftbox.tasks.load import Loaded

Queue = Literal["model", "dataset"]
QUEUES: tuple[Queue, ...] = ("model", "dataset")

SIZE_CELLS = 10


def queued(draft: Draft, queue: Queue) -> list[str]:
    """Return the models, or datasets, that a draft downloads."""
    return [str(name) for name in as_list(draft.values.get(queue) or [])]


def with_queued(draft: Draft, queue: Queue, names: list[str]) -> Draft:
    """Return the draft with more to download; nothing is in the queue twice."""
    return draft.with_values(**{queue: list(dict.fromkeys([*queued(draft, queue), *names]))})


def without_queued(draft: Draft, queue: Queue, name: str) -> Draft:
    """Return the draft without one model or dataset."""
    remaining = [other for other in queued(draft, queue) if other != name]
    return draft.with_values(**{queue: remaining}) if remaining else draft.without(queue)


def open_downloads(probe: Probe) -> Path | None:
    """Fill the queue and review it; return the folder of a run that is done.

    Raises Back from the first question.
    """
    choices = [
        ("model", text("models", "模型")),
        ("dataset", text("datasets", "数据集")),
        ("local", text("on this machine: verify, delete", "本机已有内容：校验、删除")),
    ]
    while True:
        choice = select(text("Download what?", "下载什么？"), choices)
        try:
            if choice == "local":
                manage_local()
            else:
                draft = Draft(DownloadConfig, {}, machine=probe.now)
                return review(add_to_queue(draft, choice), SCREEN)
        except Back:
            continue


def add_to_queue(draft: Draft, queue: Queue) -> Draft:
    """Let models or datasets be picked; they are added to the end of the queue."""
    source: OptionSource = (
        ModelOptions(draft.machine, for_download=True)
        if queue == "model"
        else DatasetOptions(for_download=True)
    )
    question = text("models", "模型") if queue == "model" else text("datasets", "数据集")
    return with_queued(draft, queue, Picker(question, source, _check_name, many=True).pick())


def _check_name(typed: str) -> str:
    try:
        parse_request(typed)
    except UserError as error:
        return text(f"{error.message} ({error.hint})", f"{error.message}（{error.hint}）")
    return ""


def review_actions(_draft: Draft, _prepared: Prepared | None) -> Sequence[ReviewAction]:
    """Offer to add to the queue and to remove from it."""
    return [
        ReviewAction(
            text("add models", "添加模型"), lambda draft: add_to_queue(draft, "model"), "after run"
        ),
        ReviewAction(
            text("add datasets", "添加数据集"),
            lambda draft: add_to_queue(draft, "dataset"),
            "after run",
        ),
        ReviewAction(text("remove one", "移除一项"), remove_from_queue, "after run"),
    ]


def remove_from_queue(draft: Draft) -> Draft:
    """Let a model or dataset be removed from the queue; the last one stays."""
    choices = [((queue, name), name) for queue in QUEUES for name in queued(draft, queue)]
    if len(choices) < 2:
        print_line(text("it is the only one", "只有这一项"))
        return draft
    queue, name = select(text("Remove", "移除"), choices)
    return without_queued(draft, queue, name)


def download_command(draft: Draft, _loaded: Loaded | None = None) -> str:
    """Return the command line that downloads the queue."""
    settings = [
        f"{key}={scalar(value)}" for key, value in draft.values.items() if key not in QUEUES
    ]
    models, datasets = queued(draft, "model"), queued(draft, "dataset")
    if not models:
        return shlex.join(["swiftbox", "download", *datasets, "--dataset", *settings])
    if datasets:
        settings.append(f"dataset={scalar(datasets)}")
    return shlex.join(["swiftbox", "download", *models, *settings])


def manage_local() -> None:
    """List what is on this machine; verify or delete what is chosen, until the user leaves."""
    while True:
        items = [*local.list_local("model"), *local.list_local("dataset")]
        if not items:
            print_line(text("no models or datasets on this machine yet", "本机还没有模型或数据集"))
            raise Back
        titles = [(item, local_title(item)) for item in items]
        item = select(text("On this machine", "本机已有"), titles)
        try:
            _manage(item)
        except Back:
            continue
        except UserError as error:
            print_error(error)


def _manage(item: LocalArtifact) -> None:
    """Verify or delete one model or dataset; one in a folder of the user's is never deleted."""
    actions: list[tuple[str | None, str]] = [
        ("verify", text("verify its files by hash", "校验文件哈希"))
    ]
    if item.location != "folder":
        actions.append(("delete", text("delete it", "删除")))
    print_line(f"  {item.folder}")
    action = select(item.id, [*actions, (None, text("back", "返回"))])
    if action == "verify":
        for line in verify_artifact(item).lines():
            print_line(line)
        pause()
    elif action == "delete":
        delete(item)


def local_title(item: LocalArtifact) -> str:
    """Return one line on a model or dataset of this machine."""
    places = {
        "modelscope": text("ModelScope cache", "魔搭缓存"),
        "huggingface": text("Hugging Face cache", "Hugging Face 缓存"),
        "folder": text("folder", "目录"),
    }
    state = "" if item.complete else text(" (incomplete)", "（不完整）")
    amount = pad(size(item.size_bytes), SIZE_CELLS, right=True)
    return f"{amount}  {item.id}  {places[item.location]}{state}"


def delete(item: LocalArtifact) -> None:
    """Delete a model or dataset after a second question."""
    amount = size(item.size_bytes)
    choices = [(False, text("keep it", "保留")), (True, text("delete it permanently", "永久删除"))]
    if select(text(f"Delete {item.id} ({amount})?", f"删除 {item.id}（{amount}）？"), choices):
        freed = size(local.remove(item))
        print_line(text(f"deleted {item.id}: {freed} freed", f"已删除 {item.id}，释放 {freed}"))


SCREEN = TaskScreen(
    run_title=("download it", "开始下载"),
    detach_title=("download it in the background", "后台下载"),
    hidden_fields=QUEUES,
    command=download_command,
    actions=review_actions,
)
