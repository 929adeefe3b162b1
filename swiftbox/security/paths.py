"""Every path made from outside text: revisions, commits, hashes, file names, ids, folders.

Text of a config, a hub, an adapter or a run folder is checked here before it becomes a part of a
path. `fault_of_*` return what is wrong with a text, empty if nothing is, for the checks of a
config. The functions named after a kind of text return the text or raise. `inside` and
`relative_file` join checked text to a folder and follow no link that leads out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from swiftbox.errors import UserError
from swiftbox.language import text

MAX_NAME_BYTES = 255
"""The longest file name of the usual file systems."""

MAX_PATH_BYTES = 1024
MAX_SHOWN = 80
"""Characters of a refused text that its message shows."""

SHA1_LENGTH, SHA256_LENGTH = 40, 64
FORBIDDEN_IN_REFS = " ~^:?*[\\"
SLASHES = "\u2044\u2215\u29f8\u29f9\ufe68"
"""Signs that look like a slash and that Unicode does not call its equals."""

BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

HEX_DIGITS = frozenset("0123456789abcdef")
ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


# ---- what is wrong with a text


def fault_of_segment(value: str, *, hidden: bool = False) -> str:
    """Return why a text is not one file name; a leading dot is refused unless `hidden`."""
    if not value:
        return text("it is empty", "为空")
    if value in (".", ".."):
        return text("it would leave its folder", "会离开所在目录")
    if "/" in value or "\\" in value:
        return text("it contains a path separator", "含有路径分隔符")
    if fault := _fault_of_letters(value):
        return fault
    if len(value.encode()) > MAX_NAME_BYTES:
        return text("it is longer than a file name may be", "超过文件名的长度上限")
    if value.startswith(".") and not hidden:
        return text("it is the name of a hidden file", "是隐藏文件名")
    return ""


def fault_of_relative(value: str, *, hidden: bool = False) -> str:
    """Return why a text is not a path of `/`-separated names within a folder."""
    drive = len(value) > 1 and value[0].isalpha() and value[1] == ":"
    if drive or value.startswith(("/", "~")) or "\\" in value:
        return text("it is not a relative path", "不是相对路径")
    if any(part in ("", ".", "..") for part in value.split("/")):
        return text("it would leave its folder", "会离开所在目录")
    if len(value.encode(errors="replace")) > MAX_PATH_BYTES:
        return text("it is longer than a path may be", "超过路径的长度上限")
    faults = (fault_of_segment(part, hidden=hidden) for part in value.split("/"))
    return next((fault for fault in faults if fault), "")


def fault_of_revision(value: str) -> str:
    """Return why a text is not a branch, tag or commit by git's rules (check-ref-format)."""
    if not value:
        return text("it is empty", "为空")
    if any(letter in FORBIDDEN_IN_REFS for letter in value) or any(map(str.isspace, value)):
        return text(
            "a branch, tag or commit has no spaces and none of ~ ^ : ? * [ \\",
            "分支、标签或提交号不含空格，也不含 ~ ^ : ? * [ \\",
        )
    if ".." in value or "@{" in value or value == "@" or value.startswith("-"):
        return text(
            "a branch, tag or commit has no '..' or '@{' and no leading '-'",
            "分支、标签或提交号不含 '..' 与 '@{'，也不以 '-' 开头",
        )
    parts = value.split("/")
    if any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in parts):
        return text(
            "a branch, tag or commit does not begin or end with a slash or a dot, nor end in .lock",
            "分支、标签或提交号不以斜杠或点开头或结尾，也不以 .lock 结尾",
        )
    return fault_of_relative(value)


def fault_of_digest(value: str, *lengths: int) -> str:
    """Return why a text is not a hash in lower-case hex digits of one of the lengths."""
    if len(value) in (lengths or (SHA1_LENGTH, SHA256_LENGTH)) and HEX_DIGITS.issuperset(value):
        return ""
    return text("it is not a hash in hex digits", "不是十六进制校验和")


def fault_of_repository(value: str) -> str:
    """Return why a text is not `owner/name` of a hub."""
    parts = value.split("/")
    is_id = len(parts) == 2 and all(
        part.strip(".") and ID_LETTERS.issuperset(part) and not part.startswith((".", "-"))
        for part in parts
    )
    if not is_id:
        return text(
            "an id is owner/name, of letters, digits, '-', '_' and '.'",
            "id 的形式为 所有者/名称，只含字母、数字与 - _ .",
        )
    return fault_of_relative(value)


def _fault_of_letters(value: str) -> str:
    """Return why letters of a name are refused: control characters, and signs like a separator."""
    if value.isascii() and value.isprintable():
        return ""
    from unicodedata import category, normalize

    if any(category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
        return text("it contains control characters", "含有控制字符")
    if any(letter in BIDI_CONTROLS for letter in value):
        return text("it contains characters that reverse the text", "含有反转文字方向的字符")
    plain = normalize("NFKC", value)
    looks_like_dots = plain != value and not plain.strip(". ")
    if looks_like_dots or any(letter in SLASHES for letter in value) or _separates(plain):
        return text(
            "it contains characters that look like a path separator or dots",
            "含有形似路径分隔符或点的字符",
        )
    return ""


def _separates(value: str) -> bool:
    return "/" in value or "\\" in value


# ---- checked texts


def revision(value: str, *, source: str, error: type[UserError] = UserError) -> str:
    """Return a branch, tag or commit; raise `error`, naming the `source` of any other text."""
    return _checked(value, fault_of_revision, source, error)


def commit(value: str, *, source: str, error: type[UserError] = UserError) -> str:
    """Return the hash of a commit; raise `error` for any other text."""
    return _checked(value, fault_of_digest, source, error)


def digest(value: str, *, source: str, error: type[UserError] = UserError) -> str:
    """Return a sha1 or sha256 in hex digits; raise `error` for any other text."""
    return _checked(value, fault_of_digest, source, error)


def segment(value: str, *, source: str, error: type[UserError] = UserError) -> str:
    """Return one file name that is not hidden; raise `error` for any other text."""
    return _checked(value, fault_of_segment, source, error)


def repository_id(value: str, *, source: str, error: type[UserError] = UserError) -> str:
    """Return `owner/name`; raise `error` for any other text."""
    return _checked(value, fault_of_repository, source, error)


def _checked(
    value: str, fault_of: Callable[[str], str], source: str, error: type[UserError]
) -> str:
    fault = fault_of(value) if isinstance(value, str) else text("it is not text", "不是文本")
    if fault:
        raise refusal(value, fault, source=source, error=error)
    return value


def refusal(
    value: object, fault: str, *, source: str, error: type[UserError] = UserError
) -> UserError:
    """Return the error for a text that does not become a path."""
    return error(
        text(f"{source}: {shown(value)}: {fault}", f"{source}：{shown(value)}：{fault}"),
        hint=text(
            f"correct {source}; if it comes from others, do not use what they sent",
            f"请改正 {source}；若来自他人，请勿使用其内容",
        ),
    )


def shown(value: object) -> str:
    """Return a text as a message shows it: in quotes, escaped, and cut where it is long."""
    quoted = ascii(value)
    if isinstance(value, str) and value.isprintable() and not _fault_of_letters(value):
        quoted = repr(value)
    return quoted if len(quoted) <= MAX_SHOWN else f"{quoted[: MAX_SHOWN - 4]}...{quoted[-1]}"


def file_name(value: str, *, fallback: str = "unnamed") -> str:
    """Return a readable file name for a free text, such as a title: what cannot stand becomes `-`.

    Different texts may get the same name; a caller that needs them apart numbers them.
    """
    letters = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in value)
    name = letters.strip(". -")
    while len(name.encode(errors="replace")) > MAX_NAME_BYTES // 2:
        name = name[:-1]
    return name if name and not fault_of_segment(name) else fallback


# ---- paths


def inside(
    root: Path,
    *segments: str,
    source: str = "",
    hidden: bool = False,
    error: type[UserError] = UserError,
) -> Path:
    """Return the path of `segments` below `root`; raise `error` for what would leave it.

    No link below `root` may lead outside of it, and what stands where a folder is needed must be
    one. `root` itself may be a link: the user named it.
    """
    for name in segments:
        if fault := fault_of_segment(name, hidden=hidden):
            raise refusal(name, fault, source=source or str(root), error=error)
    path = root.joinpath(*segments)
    if fault := fault_of_place(root, path):
        raise refusal("/".join(segments), fault, source=source or str(root), error=error)
    return path


def relative_file(
    root: Path,
    path: str,
    *,
    source: str = "",
    hidden: bool = False,
    error: type[UserError] = UserError,
) -> Path:
    """Return the path of a `/`-separated file name below `root`; raise `error` as `inside`."""
    if fault := fault_of_relative(path, hidden=hidden):
        raise refusal(path, fault, source=source or str(root), error=error)
    return inside(root, *path.split("/"), source=source, hidden=hidden, error=error)


def fault_of_place(root: Path, path: Path) -> str:
    """Return why a path below `root` is not usable: a link leads out, a file is in the way."""
    boundary: Path | None = None
    for place in _places(root, path):
        try:
            mode = os.lstat(place).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return ""
        if stat.S_ISLNK(mode):
            boundary = boundary or root.resolve()
            try:
                is_inside = place.resolve().is_relative_to(boundary)
            except (OSError, RuntimeError):  # a circle of links
                is_inside = False
            if not is_inside:
                return text(
                    f"the link {place} leads outside {root}", f"链接 {place} 指向 {root} 之外"
                )
        if place != path and not place.is_dir():
            return text(f"{place} is not a folder", f"{place} 不是目录")
    return ""


def _places(root: Path, path: Path) -> Iterator[Path]:
    """Yield the places from below `root` down to a path."""
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        yield place
