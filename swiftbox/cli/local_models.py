"""What `models --local` and `datasets --local` do: list, verify and remove what is here."""

from __future__ import annotations

import argparse
import json

from swiftbox.cli.verbs import answer, say
from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.menu.options.models import gigabytes, table_line
from swiftbox.models import local
from swiftbox.models.download_request import Kind
from swiftbox.models.local import Local
from swiftbox.models.verification import plain, report

WIDTHS = (41, 12, 7, 10)
NOT_WELL = 1

LONG_BYTES = 10**9
"""Hashing more takes seconds, in which something should be said."""


def listed(options: argparse.Namespace, kind: Kind) -> int:
    """List what is here; verify or remove the named ones when that is asked for."""
    if options.remove:
        return _remove(_named(options.query, kind), options)
    words = [word.lower() for word in options.query]
    found = [one for one in local.here(kind) if all(word in one.id.lower() for word in words)]
    if options.verify:
        return _verify(found, options)
    if options.json:
        answer(json.dumps([plain(one) for one in found], ensure_ascii=False))
        return 0
    named = text(kind, {"model": "模型", "dataset": "数据集"}[kind])
    if not found:
        say(text(f"no {kind} here yet", f"本机还没有{named}"))
        return 0
    head = (named, text("where", "位置"), text("size", "大小"), text("state", "状态"))
    answer(table_line(head, WIDTHS, (2,)))
    for one in found:
        state = text("whole", "完整") if one.complete else text("unfinished", "未完成")
        answer(table_line((one.id, one.where, gigabytes(one.size_bytes), state), WIDTHS, (2,)))
        answer(f"  {one.folder}")
    total = gigabytes(sum(one.size_bytes for one in found))
    say(text(f"{total} in all", f"共 {total}"))
    return 0


def _named(names: list[str], kind: Kind) -> list[Local]:
    """Return what is named in full, by id or folder; raise HubError for what is not here."""
    every = local.here(kind)
    by_name = {
        name.lower(): [one for one in every if name.lower() in (one.id.lower(), str(one.folder))]
        for name in names
    }
    gone = [name for name, found in by_name.items() if not found]
    if gone or not names:
        raise HubError(
            text(
                f"not here: {', '.join(gone)}" if gone else "what is to be removed?",
                f"本机没有：{', '.join(gone)}" if gone else "要删除什么？",
            ),
            hint=text(
                f"give ids as `swiftbox {kind}s --local` lists them",
                f"请使用 `swiftbox {kind}s --local` 列出的 id",
            ),
        )
    return [one for found in by_name.values() for one in found]


def _remove(found: list[Local], options: argparse.Namespace) -> int:
    """Delete what is named; without --yes only say what that would free."""
    if not options.yes:
        for one in found:
            say(f"{one.id}  {gigabytes(one.size_bytes)}  {one.folder}")
        raise HubError(
            text("nothing was removed yet", "尚未删除任何内容"),
            hint=text("add --yes to delete this for good", "加上 --yes 才会永久删除"),
        )
    freed = []
    for one in found:
        bytes_freed = local.remove(one)
        freed.append({"id": one.id, "folder": str(one.folder), "freed_bytes": bytes_freed})
        if not options.json:
            size = gigabytes(bytes_freed)
            answer(text(f"removed {one.id}: {size} freed", f"已删除 {one.id}，释放 {size}"))
    if options.json:
        answer(json.dumps(freed, ensure_ascii=False))
    return 0


def _verify(found: list[Local], options: argparse.Namespace) -> int:
    """Look at each again; tell by the exit code whether all is well."""
    if not found:
        raise HubError(text("nothing here by that name", "本机没有该名称的内容"))
    reports = []
    for one in found:
        if one.size_bytes > LONG_BYTES:
            amount = gigabytes(one.size_bytes)
            say(text(f"hashing {one.id} ({amount}) ...", f"正在校验 {one.id}（{amount}）……"))
        reports.append(report(one))
        if not options.json:
            for line in reports[-1].lines():
                answer(line)
    if options.json:
        answer(json.dumps([one.to_dict() for one in reports], ensure_ascii=False))
    return 0 if all(one.ok for one in reports) else NOT_WELL
