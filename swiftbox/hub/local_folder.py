"""What a download may write into `local_dir`: no system folder, no hidden file, no other's file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from swiftbox.errors import HubError
from swiftbox.hub.listing import UNFINISHED, RemoteFile, written_path
from swiftbox.language import home, text
from swiftbox.models.verified import Marker
from swiftbox.security.paths import shown

SYSTEM_FOLDERS = (
    "/bin /boot /dev /etc /lib /lib32 /lib64 /libx32 /proc /run /sbin /sys /usr /var "
    "/System /Library /Applications /private/etc /private/var"
).split()
"""Nothing is downloaded into these or below them, except below WRITABLE."""

WRITABLE = (
    "/dev/shm /usr/local/share /usr/share /var/tmp /var/lib /run/user /var/folders "
    "/private/var/folders /private/var/tmp"
).split()
"""Folders below system folders that hold data; not they themselves, only folders in them."""

TOP_FOLDERS = ("/", "/home", "/Users", "/opt", "/srv", "/mnt", "/media", "/root", "/tmp")
"""Folders that many programs share; a folder in them is fine."""

CODE_FOLDERS = frozenset({".git", ".hg", ".svn", "site-packages", "dist-packages"})
"""Names of folders whose files other programs run."""

MAX_NAMED = 5


def require_target(folder: Path) -> None:
    """Raise HubError for a folder that no download may write into."""
    if reason := _fault_of_target(folder):
        raise HubError(
            text(
                f"local_dir: {folder}: {reason}; nothing was fetched",
                f"local_dir：{folder}：{reason}；未下载任何内容",
            ),
            hint=text(
                "choose a folder for this download alone, such as local_dir=models/NAME",
                "请为此次下载单独选择目录，例如 local_dir=models/名称",
            ),
        )


def _fault_of_target(folder: Path) -> str:
    """Return why a folder is refused; links are resolved first."""
    try:
        target = folder.expanduser().resolve()
    except (OSError, RuntimeError):
        return text("its links form a circle", "其链接形成循环")
    if target.exists() and not target.is_dir():
        return text("it is not a folder", "它不是目录")
    users_home = Path.home().resolve()
    if users_home.is_relative_to(target) or str(target) in TOP_FOLDERS:
        return text("other files live there", "其中存放其他文件")
    if _is_system(target):
        return text("it belongs to the system", "它属于系统目录")
    if CODE_FOLDERS.intersection(target.parts):
        return text("other programs run the files in it", "其他程序会执行其中的文件")
    if target.is_relative_to(users_home):
        hidden = [part for part in target.relative_to(users_home).parts if part.startswith(".")]
        if hidden and hidden != [".cache"]:
            return text("it is in a hidden folder of your home", "它位于主目录的隐藏目录之内")
    if target.is_relative_to(home().resolve()):
        return text("swiftbox keeps its own files there", "swiftbox 在其中存放自身文件")
    return ""


def _is_system(target: Path) -> bool:
    if any(target != Path(place) and target.is_relative_to(place) for place in WRITABLE):
        return False
    return any(target.is_relative_to(place) for place in SYSTEM_FOLDERS)


def hidden_files(files: Iterable[RemoteFile]) -> list[str]:
    """Return the files that are hidden, or in a hidden folder: they are not written."""
    return [file.path for file in files if any(part[0] == "." for part in file.path.split("/"))]


def hidden_note(name: str, hidden: Sequence[str]) -> str:
    """Return the message that says which files are left out."""
    return text(
        f"{name}: hidden files are not written into local_dir: {_listed(hidden)}",
        f"{name}：不向 local_dir 写入隐藏文件：{_listed(hidden)}",
    )


def require_same_repository(marker: Marker, origins: Sequence[tuple[str, str]]) -> None:
    """Raise HubError when the folder holds another repository's download.

    `origins` are the hub and id that this download may come from.
    """
    if marker.origin is None or (marker.origin.hub, marker.origin.id) in origins:
        return
    raise HubError(
        text(
            f"local_dir: {marker.folder} holds a download of {marker.origin.id}; "
            "nothing was fetched",
            f"local_dir：{marker.folder} 中已有 {marker.origin.id} 的下载；未下载任何内容",
        ),
        hint=text("choose another folder", "请换用其他目录"),
    )


def require_own_files(
    marker: Marker, files: Sequence[RemoteFile], has_contents: Callable[[RemoteFile, Path], bool]
) -> None:
    """Raise HubError, naming the files, when the folder has others that a download would replace.

    A file may stand if the marker recorded it and it is unchanged, or if it has the contents that
    the hub lists; an unfinished file, if an earlier download into this folder began it.
    """
    foreign: list[str] = []
    for file in files:
        path = written_path(marker.folder, file.path)
        is_ours = marker.is_unchanged(file.path) or not os.path.lexists(path)
        if not is_ours and not (path.is_file() and has_contents(file, path)):
            foreign.append(file.path)
        partial = written_path(marker.folder, file.path + UNFINISHED)
        if os.path.lexists(partial) and not marker.is_partial(file.path):
            foreign.append(file.path + UNFINISHED)
    if foreign:
        raise _would_replace(marker.folder, foreign)


def _would_replace(folder: Path, foreign: Sequence[str]) -> HubError:
    return HubError(
        text(
            f"local_dir: {folder} has files that are not from this download, or were changed "
            f"since: {_listed(foreign)}; nothing was fetched",
            f"local_dir：{folder} 中有并非来自此下载、或下载后被修改的文件：{_listed(foreign)}；"
            "未下载任何内容",
        ),
        hint=text(
            "move or delete them, or choose another folder", "请移走或删除这些文件，或换用其他目录"
        ),
    )


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMED
    listed = ", ".join(shown(name)[1:-1] for name in names[:MAX_NAMED])
    return listed + (text(f" and {rest} more", f" 等 {len(names)} 个") if rest > 0 else "")
