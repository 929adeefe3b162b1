"""How much a download will transfer, as far as the catalogue knows, and the free disk space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swiftbox import files, formatting
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.cache_layouts import cache_root
from swiftbox.models.requirements import NOTE, WARNING, Remark


def download_target(hub: str, local_dir: str | None) -> Path:
    """Return the folder that is downloaded into: `local_dir`, or the hub's cache."""
    if local_dir:
        return Path(local_dir).expanduser().absolute()
    return cache_root("huggingface" if hub == "huggingface" else "modelscope")


def expected_size(models: Sequence[str], datasets: Sequence[str], target: Path) -> Remark:
    """Report how much will be downloaded, as far as known, and how much space is free."""
    rows = [catalogue.model(name) for name in models]
    sizes = [row.disk_bytes for row in rows if row is not None and row.disk_bytes]
    unknown = len(models) - len(sizes) + len(datasets)
    free, total = files.free_bytes(target), sum(sizes)
    parts = (
        [text(f"about {formatting.size(total)}", f"约 {formatting.size(total)}")] if sizes else []
    )
    if unknown:
        parts.append(text(f"{unknown} of unknown size", f"{unknown} 项大小未知"))
    message = text(
        f"{' and '.join(parts)} to fetch, {formatting.size(free)} free at {target}",
        f"需下载{'，另有 '.join(parts)}；{target} 剩余 {formatting.size(free)}",
    )
    if total <= free:
        return Remark(NOTE, "room", message)
    return Remark(
        WARNING,
        "room",
        text(f"the disk is too small: {message}", f"磁盘空间不足：{message}"),
        text("files that are already on this machine are skipped", "本机已有的部分不会重复下载"),
    )
