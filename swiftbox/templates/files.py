"""Read the file of a chat template; nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.security.printable import printable
from swiftbox.security.regular import read_regular
from swiftbox.security.templates import LARGEST_BYTES, ChatTemplate

LARGEST_SETTINGS = 64 * 2**20
"""Bytes; tokenizer_config.json lists every added token."""

SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""The settings of a tokenizer that name a token; transformers gives them to templates, in
this order."""


def template_file(path: Path) -> ChatTemplate:
    """Return the template of a file; raise ConfigError if it is too large or no text."""
    try:
        content = read_regular(path, LARGEST_BYTES)
        return ChatTemplate(content.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "UTF-8"
        raise ConfigError(
            text(
                f"chat template {printable(str(path))} cannot be read: {reason}",
                f"对话模板 {printable(str(path))} 无法读取：{reason}",
            ),
            hint=text(
                "a template is a text file in UTF-8, of at most 1 MiB",
                "模板应为 UTF-8 文本文件，不超过 1 MiB",
            ),
        ) from None
