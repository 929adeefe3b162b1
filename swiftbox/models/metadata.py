"""The JSON files beside a model's weights, read as what strangers wrote: bounded and checked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.security.regular import open_regular, read_regular

MAX_METADATA_BYTES = 64 * 2**20
"""The largest published tokenizer.json has 35 MB; what is larger is not metadata."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class MetadataError(ValueError):
    """A file that does not hold what its name promises; the message is in the user's language."""


def open_weights(path: Path) -> IO[bytes]:
    """Open a file of weights; raise FileNotFoundError or MetadataError with the reason."""
    with _reasons(path):
        return open_regular(path)


@contextlib.contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Raise the system's refusals as MetadataErrors, except that a file is not there."""
    try:
        yield
    except FileNotFoundError:
        if path.is_symlink():
            reason = text("it links to a file that does not exist", "链接的目标不存在")
            raise MetadataError(reason) from None
        raise
    except OSError as error:
        raise MetadataError(reason_of(error)) from None


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise FileNotFoundError or MetadataError with the reason.

    The encoding is UTF-8 without a byte-order mark, as transformers reads it.
    """
    with _reasons(path):
        content = read_regular(path, MAX_METADATA_BYTES)
    if content.startswith(BYTE_ORDER_MARK):
        raise MetadataError(text("it begins with a byte-order mark", "文件以字节顺序标记开头"))
    return parse_object(content)


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object that bytes hold; raise MetadataError with the reason."""
    try:
        parsed = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text at byte {error.start}", f"位置 {error.start} 处不是 UTF-8 文本"
        raise MetadataError(text(*message)) from None
    except RecursionError:
        raise MetadataError(text("it is nested too deeply", "嵌套层次过深")) from None
    except ValueError as error:
        raise MetadataError(text(f"not JSON: {error}", f"不是 JSON：{error}")) from None
    if not isinstance(parsed, dict):
        kind = "null" if parsed is None else type(parsed).__name__
        message = f"not a JSON object, but {kind}", f"不是 JSON 对象，而是 {kind}"
        raise MetadataError(text(*message))
    return parsed


def shown(value: object) -> str:
    """Return a value as JSON, shortened, as a message quotes it."""
    try:
        content = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        content = type(value).__name__
    return content if len(content) <= 60 else f"{content[:57]}..."
