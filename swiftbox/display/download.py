"""Progress display of a download: bars in a terminal, an occasional line elsewhere."""

from __future__ import annotations

from typing import Any

from swiftbox.display.common import TaskDisplay
from swiftbox.formatting import bar, clock, counted, duration, pad, rate, size, width
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event

NAME_CELLS = 34
BAR_CELLS = 30
SIZE_CELLS = 16
"""Cells for a file's size and the spaces around it."""


def progress_line(event: Event) -> str:
    """Return one plain progress line."""
    return f"  {summary(event)}"


def summary(event: Event) -> str:
    """Return the completed share of a download, its rate and the remaining time."""
    total = event["total_bytes"]
    share = event["bytes"] / total if total else 1.0
    files = text(
        f"{event['files_done']}/{event['files_total']} files",
        f"{event['files_done']}/{event['files_total']} 个文件",
    )
    parts = [
        f"{event['what']}  {share:.0%} {size(event['bytes'])}/{size(total)}",
        files,
        rate(event["bytes_per_s"]),
    ]
    if event["eta_s"] is not None:
        remaining = clock(event["eta_s"])
        parts.append(text(f"{remaining} left", f"剩余 {remaining}"))
    return "  ".join(parts)


def panel(event: Event, columns: int, *, unicode: bool) -> Any:
    """Return a bar for the download and for each active file, for a terminal of that width."""
    from rich.console import Group
    from rich.text import Text

    total_bar = bar(event["bytes"], event["total_bytes"], columns - 2, unicode=unicode)
    rows = [Text(summary(event), no_wrap=True, overflow="crop"), Text(total_bar)]
    bar_cells = min(max(8, columns - NAME_CELLS - SIZE_CELLS), BAR_CELLS)
    for file in event["files"]:
        file_bar = bar(file["bytes"], file["size"], bar_cells, unicode=unicode)
        line = f"{pad(path_end(file['path']), NAME_CELLS)} {file_bar} {size(file['size'])}"
        rows.append(Text(line, no_wrap=True, overflow="crop"))
    return Group(*rows)


def path_end(path: str) -> str:
    """Shorten a path at its start: the names of shards differ at their end."""
    if width(path) <= NAME_CELLS:
        return path
    while width(path) > NAME_CELLS - 3:
        path = path[1:]
    return f"...{path}"


def fetched_lines(event: Event) -> list[str]:
    """Return the downloaded id, how much was received over the network, and the folder."""
    transferred = size(event["fetched_bytes"])
    source = text(f"{transferred} downloaded", f"下载 {transferred}")
    if not event["fetched_bytes"]:
        source = text("already on this machine", "本机已有")
    commit = str((event.get("from") or {}).get("commit") or "")[:12]
    if commit:
        source += text(f", commit {commit}", f"，提交 {commit}")
    count, total = event["files"], size(event["bytes"])
    return [
        text(
            f"  {event['what']}: {counted(count, 'file')}, {total} ({source})",
            f"  {event['what']}：{count} 个文件，{total}（{source}）",
        ),
        f"  {event['path']}",
    ]


def missed_lines(event: Event) -> list[str]:
    """Return why a repository could not be fetched."""
    return [f"! {line}" for line in str(event["message"]).splitlines()]


def done_lines(event: Event) -> list[str]:
    """Return the summary of a queue."""
    count, took = event["fetched"], duration(event["seconds"])
    return [text(f"done: {count} fetched in {took}", f"完成：获取 {count} 个，用时 {took}")]


DISPLAY = TaskDisplay(
    {
        events.FETCHED: fetched_lines,
        events.MISSED: missed_lines,
        events.DONE: done_lines,
    }
)
