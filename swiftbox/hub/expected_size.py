"""How much a download will be, as far as the catalogue knows, against the room there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swiftbox import files, formatting
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.cache_layouts import cache_root
from swiftbox.models.requirements import NOTE, WARNING, Remark


def download_target(hub: str, local_dir: str | None) -> Path:
    """Return the folder that is fetched into: one of the user's, or the hub's cache."""
    if local_dir:
        return Path(local_dir).expanduser().absolute()
    return cache_root("huggingface" if hub == "huggingface" else "modelscope")


def expected_size(models: Sequence[str], datasets: Sequence[str], target: Path) -> Remark:
    """Say how much is to be fetched, as far as it is known, and how much room there is."""
    rows = [catalogue.model(one) for one in models]
    known = [one.disk_bytes for one in rows if one is not None and one.disk_bytes]
    unknown = len(models) - len(known) + len(datasets)
    free, total = files.free_bytes(target), sum(known)
    parts = (
        [text(f"about {formatting.size(total)}", f"约 {formatting.size(total)}")] if known else []
    )
    if unknown:
        parts.append(text(f"{unknown} of unknown size", f"{unknown} 项大小未知"))
    said = text(
        f"{' and '.join(parts)} to fetch, {formatting.size(free)} free at {target}",
        f"需下载{'，另有 '.join(parts)}；{target} 剩余 {formatting.size(free)}",
    )
    if total <= free:
        return Remark(NOTE, "room", said)
    return Remark(
        WARNING,
        "room",
        text(f"the disk is too small: {said}", f"磁盘空间不足：{said}"),
        text("what is here already is not fetched again", "本机已有的部分不会重复下载"),
    )
