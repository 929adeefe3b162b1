"""`models --local` and `datasets --local`: list, verify and remove what is on this machine."""

from __future__ import annotations

import argparse

from swiftbox.cli.output import DONE, FAILED, answer, answer_json, say
from swiftbox.errors import HubError
from swiftbox.formatting import size, table_row
from swiftbox.language import text
from swiftbox.models import local
from swiftbox.models.download_request import RepositoryKind
from swiftbox.models.local import LocalArtifact
from swiftbox.models.verification import artifact_fields, verify_artifact

VERBS: dict[RepositoryKind, str] = {"model": "models", "dataset": "datasets"}

WIDTHS = (39, 12, 9, 10)

SLOW_TO_HASH_BYTES = 10**9
"""Hashing more takes seconds, so a line says what is being hashed."""


def list_local(options: argparse.Namespace, kind: RepositoryKind) -> int:
    """List what is on this machine; with --verify or --remove, do that to the named ones."""
    if options.remove:
        return remove(named(options.query, kind), options)
    query = [word.lower() for word in options.query]
    folders = [
        folder
        for folder in local.list_local(kind)
        if all(word in folder.id.lower() for word in query)
    ]
    if options.verify:
        return verify(folders, options)
    if options.json:
        answer_json([artifact_fields(folder) for folder in folders])
        return DONE
    print_table(folders, kind)
    return DONE


def print_table(folders: list[LocalArtifact], kind: RepositoryKind) -> None:
    """Print id, place, size and state of each, and its folder below."""
    title = text(kind, {"model": "模型", "dataset": "数据集"}[kind])
    if not folders:
        say(text(f"no {VERBS[kind]} on this machine yet", f"本机还没有{title}"))
        return
    head = (title, text("where", "位置"), text("size", "大小"), text("state", "状态"))
    answer(table_row(head, WIDTHS, right=(2,)))
    for folder in folders:
        state = text("complete", "完整") if folder.complete else text("unfinished", "未完成")
        is_folder = folder.location == "folder"
        place = text("folder", "目录") if is_folder else folder.location
        cells = (folder.id, place, size(folder.size_bytes), state)
        answer(table_row(cells, WIDTHS, right=(2,)))
        answer(f"  {folder.folder}")
    total = size(sum(folder.size_bytes for folder in folders))
    say(text(f"{total} in total", f"共 {total}"))


def named(names: list[str], kind: RepositoryKind) -> list[LocalArtifact]:
    """Return the models or datasets with these ids or folders; raise HubError for unknown ones."""
    folders = local.list_local(kind)
    by_name = {
        name: [
            folder
            for folder in folders
            if name.lower() in (folder.id.lower(), str(folder.folder).lower())
        ]
        for name in names
    }
    missing = [name for name, matches in by_name.items() if not matches]
    if missing or not names:
        raise nothing_named(missing, kind)
    return [folder for matches in by_name.values() for folder in matches]


def nothing_named(missing: list[str], kind: RepositoryKind) -> HubError:
    """Return the error for names that are not on this machine, or for no name at all."""
    listed = ", ".join(missing)
    return HubError(
        text(
            f"not on this machine: {listed}" if missing else "name what to remove",
            f"本机没有：{listed}" if missing else "请指明要删除的内容",
        ),
        hint=text(
            f"use ids as `swiftbox {VERBS[kind]} --local` lists them",
            f"请使用 `swiftbox {VERBS[kind]} --local` 列出的 id",
        ),
    )


def remove(folders: list[LocalArtifact], options: argparse.Namespace) -> int:
    """Delete folders; without --yes only report how much space that would free."""
    if not options.yes:
        for folder in folders:
            say(f"{folder.id}  {size(folder.size_bytes)}  {folder.folder}")
        raise HubError(
            text("nothing was removed yet", "尚未删除任何内容"),
            hint=text("add --yes to delete permanently", "加上 --yes 才会永久删除"),
        )
    removed = []
    for folder in folders:
        freed_bytes = local.remove(folder)
        removed.append({"id": folder.id, "folder": str(folder.folder), "freed_bytes": freed_bytes})
        if not options.json:
            freed = size(freed_bytes)
            answer(text(f"removed {folder.id}: {freed} freed", f"已删除 {folder.id}，释放 {freed}"))
    if options.json:
        answer_json(removed)
    return DONE


def verify(folders: list[LocalArtifact], options: argparse.Namespace) -> int:
    """Verify the hashes of each; the exit code tells whether all are intact."""
    if not folders:
        raise HubError(
            text("no local folder of that name", "本机没有该名称的内容"),
            hint=text(
                "`swiftbox models --local` and `swiftbox datasets --local` list what is here",
                "`swiftbox models --local` 与 `swiftbox datasets --local` 列出本机已有的内容",
            ),
        )
    reports = []
    for folder in folders:
        if folder.size_bytes > SLOW_TO_HASH_BYTES:
            amount = size(folder.size_bytes)
            say(text(f"hashing {folder.id} ({amount}) ...", f"正在校验 {folder.id}（{amount}）……"))
        reports.append(verify_artifact(folder))
        if not options.json:
            for line in reports[-1].lines():
                answer(line)
    if options.json:
        answer_json([result.to_dict() for result in reports])
    return DONE if all(result.ok for result in reports) else FAILED
