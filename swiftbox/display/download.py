"""A download as people watch it: a plain line now and then, or bars in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.formatting import size
from swiftbox.language import text

Event = Mapping[str, Any]

NAME_WIDTH = 34


def progress_line(event: Event) -> str:
    """Return one plain line of a download under way."""
    return f"  {head(event)}"


def head(event: Event) -> str:
    """Return how far a download is, how fast, and how long it will take."""
    total = event["total_bytes"]
    share = event["bytes"] / total if total else 1.0
    speed = text(f"{size(event['bytes_per_s'])}/s", f"{size(event['bytes_per_s'])}/秒")
    left = ""
    if event.get("eta_s") is not None:
        left = text(f"  {clock(event['eta_s'])} left", f"  剩余 {clock(event['eta_s'])}")
    files = text(
        f"{event['files_done']}/{event['files_total']} files",
        f"{event['files_done']}/{event['files_total']} 个文件",
    )
    return (
        f"{event['what']}  {share:.0%} {size(event['bytes'])}/{size(total)}  {files}  {speed}{left}"
    )


def panel(event: Event, width: int, *, unicode: bool) -> Any:
    """Return bars of the whole and of each file under way, for a terminal of that width."""
    from rich.console import Group
    from rich.text import Text

    rows = [Text(head(event), no_wrap=True, overflow="crop")]
    rows.append(Text(bar(event["bytes"], event["total_bytes"], width - 2, unicode=unicode)))
    room = max(8, width - NAME_WIDTH - 16)
    for file in event["files"]:
        line = bar(file["bytes"], file["size"], min(room, 30), unicode=unicode)
        name = f"{shortened(file['path']):<{NAME_WIDTH}}"
        rows.append(Text(f"{name} {line} {size(file['size'])}", no_wrap=True, overflow="crop"))
    return Group(*rows)


def bar(done: int, total: int, width: int, *, unicode: bool) -> str:
    """Draw the share that is done as a line of that width."""
    full = round(min(1.0, done / total if total else 1.0) * width)
    filled, left = ("━", "─") if unicode else ("#", ".")
    return filled * full + left * (width - full)


def shortened(path: str) -> str:
    """Return a path by its end, where what tells shards apart stands."""
    return path if len(path) <= NAME_WIDTH else "..." + path[3 - NAME_WIDTH :]


def lines_of(event: Event) -> list[str]:
    """Return the lines that an event of a download adds for good."""
    kind = event.get("event")
    if kind == "fetched":
        came = event["fetched_bytes"]
        how = text(f"{size(came)} fetched", f"下载 {size(came)}")
        if not came:
            how = text("all of it was here", "本机已有")
        of = (event.get("from") or {}).get("commit") or ""
        commit = text(f", commit {of[:12]}", f"，提交 {of[:12]}") if of else ""
        files = text(f"{event['files']} files", f"{event['files']} 个文件")
        return [
            f"  {event['what']}: {files}, {size(event['bytes'])} ({how}{commit})",
            f"  {event['path']}",
        ]
    if kind == "missed":
        return [f"! {line}" for line in str(event["message"]).splitlines()]
    if kind == "done":
        count = event["fetched"]
        return [
            text(
                f"done: {count} fetched in {clock(event['seconds'])}",
                f"完成：获取 {count} 个，用时 {clock(event['seconds'])}",
            )
        ]
    return []


def clock(seconds: float) -> str:
    """Write seconds as 1:02:03 or 2:03."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
