"""The download screens: a queue of models and datasets, its YAML, and what is here already."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftbox import launch
from swiftbox.config.download import DownloadConfig
from swiftbox.config.groups import as_list
from swiftbox.config.writing import scalar, write
from swiftbox.errors import UserError
from swiftbox.hub import catalogue, local, room
from swiftbox.hub.layouts import root_of
from swiftbox.hub.local import Local
from swiftbox.hub.verifying import report
from swiftbox.hub.wanted import wanted
from swiftbox.language import text
from swiftbox.menu.acting import carry_out, save_as, show_yaml
from swiftbox.menu.ask import Back, complain, pause, say, select
from swiftbox.menu.form import Values, more
from swiftbox.menu.picker import Picker
from swiftbox.offers import Datasets, MachineNow, Models, gigabytes
from swiftbox.tasks.load import Loaded, loads

QUEUED = ("model", "dataset")


@dataclass(frozen=True)
class Queue:
    """What is to be fetched, and the other settings of its YAML."""

    values: Values
    file: Path | None = None

    def loaded(self) -> Loaded:
        """Return the typed config; raise ConfigError with all that is wrong."""
        given = {"task": "download", **self.values}
        return loads(
            "", source="menu", overrides=[f"{k}={json.dumps(v)}" for k, v in given.items()]
        )

    def names(self, key: str) -> list[str]:
        """Return the models, or the datasets."""
        return [str(one) for one in as_list(self.values.get(key) or [])]

    def added(self, key: str, names: list[str]) -> Queue:
        """Return the queue with more in it, everything once."""
        together = list(dict.fromkeys([*self.names(key), *names]))
        return replace(self, values={**self.values, key: together}, file=None)

    def without(self, key: str, name: str) -> Queue:
        """Return the queue with one thing less."""
        left = [one for one in self.names(key) if one != name]
        kept = {k: v for k, v in self.values.items() if k != key}
        return replace(self, values={**kept, **({key: left} if left else {})}, file=None)

    def yaml(self, name: Path) -> str:
        """Return the YAML for a file of that name."""
        loaded = self.loaded()
        header = [text(f"Run: swiftbox run {name}", f"运行：swiftbox run {name}")]
        return write(loaded.config, header=header, keys=loaded.asked)

    def default_name(self) -> str:
        """Return the file name that is proposed for it."""
        first = [*self.names("model"), *self.names("dataset")][0]
        return f"download-{Path(first).name.lower()}.yaml"


def begin(probe: Any) -> None:
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
                review(add(Queue({}), chosen, probe.now), probe.now)
                return
        except Back:
            continue


def add(queue: Queue, key: str, machine: MachineNow) -> Queue:
    """Let models or datasets be picked; what is picked goes behind what is queued."""
    offered = Models(machine, fetched=True) if key == "model" else Datasets(fetched=True)
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

    return queue.added(key, Picker(asked, offered, check, many=True).pick())


def review(queue: Queue, machine: MachineNow) -> None:
    """Show queue, sizes, YAML and command; do what is chosen until the user leaves."""
    while True:
        runs = show(queue)
        first = [
            ("run", text("fetch it", "开始下载")),
            ("detach", text("fetch it in the background", "后台下载")),
        ]
        others = [
            ("model", text("add models", "添加模型")),
            ("dataset", text("add datasets", "添加数据集")),
            ("drop", text("take something out", "移除一项")),
            ("more", text("change a setting", "修改设置")),
            ("save", text("save the YAML", "保存 YAML")),
            ("back", text("back", "返回")),
        ]
        chosen = select(text("And now?", "接下来？"), [*first, *others] if runs else others)
        if chosen == "back":
            raise Back
        try:
            if chosen in QUEUED:
                queue = add(queue, chosen, machine)
            elif chosen == "drop":
                queue = drop(queue)
            elif chosen == "more":
                changed = more(DownloadConfig, queue.values, machine, without=QUEUED)
                queue = replace(queue, values=changed, file=None)
            else:
                path = queue.file or save_as(queue.default_name(), queue.yaml)
                queue = replace(queue, file=path)
                if chosen != "save":
                    if carry_out(path, detach=chosen == "detach") is not None:
                        pause()
                    return
        except Back:
            continue
        except UserError as error:
            complain(error)


def show(queue: Queue) -> bool:
    """Print the review; tell whether the queue can be fetched as it is."""
    try:
        loaded = queue.loaded()
        show_yaml(queue.yaml(Path(queue.default_name())))
        prepared = launch.plan_of(loaded)
    except UserError as error:
        complain(error)
        return False
    for line in prepared.plan.remarks:
        say(line)
    say(f"  {room_line(queue)}")
    say(text("the same from the command line:", "等价的命令行：") + f" {command_of(queue)}")
    return True


def room_line(queue: Queue) -> str:
    """Say how much is to be fetched, as far as it is known, and how much room there is."""
    rows = [catalogue.model(one) for one in queue.names("model")]
    known = [one.disk_bytes for one in rows if one is not None and one.disk_bytes]
    unknown = len(queue.names("model")) - len(known) + len(queue.names("dataset"))
    free = room.free_bytes(target_of(queue))
    more = (
        text(f" and {unknown} of unknown size", f"，另有 {unknown} 项大小未知") if unknown else ""
    )
    line = text(
        f"about {gigabytes(sum(known))}{more} to fetch, {gigabytes(free)} free",
        f"约需下载 {gigabytes(sum(known))}{more}，剩余 {gigabytes(free)}",
    )
    return line + (text("; TOO SMALL", "；空间不足") if sum(known) > free else "")


def target_of(queue: Queue) -> Path:
    """Return the folder that is fetched into: one of the user's, or the hub's cache."""
    if into := queue.values.get("local_dir"):
        return Path(str(into)).expanduser().absolute()
    return root_of("huggingface" if queue.values.get("hub") == "huggingface" else "modelscope")


def command_of(queue: Queue) -> str:
    """Return the command line that does what the menu does."""
    settings = [
        f"{key}={scalar(value)}" for key, value in queue.values.items() if key not in QUEUED
    ]
    models, datasets = queue.names("model"), queue.names("dataset")
    if not models:
        return shlex.join(["swiftbox", "download", *datasets, "--dataset", *settings])
    if datasets:
        settings.append(f"dataset={scalar(datasets)}")
    return shlex.join(["swiftbox", "download", *models, *settings])


def drop(queue: Queue) -> Queue:
    """Let one thing be taken out of the queue; the last one stays."""
    choices = [((key, name), name) for key in QUEUED for name in queue.names(key)]
    if len(choices) < 2:
        say(text("it is the only one", "只有这一项"))
        return queue
    key, name = select(text("Take out", "移除"), choices)
    return queue.without(key, name)


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
