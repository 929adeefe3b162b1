"""What is sent in place of a file: a page of a network that wants a sign-in, a git-lfs pointer."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from swiftbox.data.foreign_files import HEAD_BYTES, PAGE, POINTER, kind_of_content
from swiftbox.hub.transfer_errors import TransferError
from swiftbox.language import text
from swiftbox.models.weights import read_header

LARGEST_JSON = 64 * 2**20
"""Bytes of JSON that is read completely; the largest tokenizer.json has some 30 million."""

END_BYTES = 4096

PAGES = (".html", ".htm", ".xhtml", ".xml", ".svg", ".md", ".txt", ".rst", ".dat")
"""Suffixes of files that may begin like a page."""


def is_page(head: bytes) -> bool:
    """Tell whether an answer with these first bytes is a web page."""
    return kind_of_content(head[:HEAD_BYTES]) is PAGE


def require_contents(name: str, head: bytes, *, is_confirmed: bool) -> None:
    """Raise TransferError when the first bytes of a file are those of something else.

    A page may be what the repository holds, if a hash of the hub confirms it. No program
    can read a pointer, whoever confirms it.
    """
    if kind_of_content(head) is POINTER:
        raise TransferError(
            "pointer",
            text(
                f"{name}: is a pointer of git-lfs, not the file itself",
                f"{name}：是 git-lfs 指针，而非文件本身",
            ),
        )
    if not is_confirmed and sent_page(name, head):
        raise page_error(name)


def sent_page(name: str, head: bytes) -> bool:
    """Tell whether a file begins like a page, and has another name."""
    return PurePosixPath(name).suffix.lower() not in PAGES and is_page(head)


def is_readable(name: str, path: Path) -> bool:
    """Tell whether JSON and safetensors are complete, for files that no hash confirms."""
    try:
        if name.endswith(".safetensors"):
            return read_header(path)[1] == path.stat().st_size
        if name.endswith(".json"):
            return _is_complete_json(path)
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _is_complete_json(path: Path) -> bool:
    """Tell whether a file is JSON; of rows, and of a large file, only the end is looked at.

    Datasets have files of gigabytes, and rows of one line each, that end in .json too.
    """
    size = path.stat().st_size
    if size <= LARGEST_JSON:
        try:
            json.loads(path.read_bytes())
            return True
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                return False
    with path.open("rb") as file:
        file.seek(max(0, size - END_BYTES))
        return file.read().rstrip().endswith((b"}", b"]"))


def page_error(name: str) -> TransferError:
    """Return the error for a web page that was sent in place of something."""
    return TransferError(
        "page",
        text(f"{name}: a web page was sent in its place", f"{name}：收到的是网页"),
    )


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
