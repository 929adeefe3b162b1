"""What strangers wrote, made safe for a terminal: no control character, nothing invisible.

Names, rows, answers, logs and error texts may hold escape sequences that move the cursor, rename
the window or fill the clipboard, and controls of text direction that show other characters than
there are. Sequences and control characters are removed; what is invisible but not needed by a
script or an emoji is shown by its code point, as `<U+202E>`. The result holds no character below
U+0020 but line breaks and tabs, and none from U+007F to U+009F, so no removal can build a new
sequence from its two sides.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `--help` needs no patterns; importing re takes milliseconds
    import re

MAX_SEQUENCE = 4096
"""Characters of an unfinished sequence after which a stream stops waiting for its end."""

STRING_BODY = r"[^\x00-\x1f\x7f-\x9f]*"
"""What stands in a string sequence (OSC, DCS, SOS, PM, APC); it never goes past its line. Without
other control characters: else a text of starts without an end takes quadratic time."""

CSI_BODY = r"[0-?]*[ -/]*"

SEQUENCES = (
    rf"(?:\x1b\[|\x9b){CSI_BODY}[@-~]",
    rf"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]){STRING_BODY}(?:\x07|\x1b\\|\x9c)",
    r"\x1b[ -/]*[0-~]",
    r"\x1b[ -/]*",
)
"""Control sequences, string sequences with their end, short escapes, and what is left of others."""

UNFINISHED = (
    rf"(?:\x1b\[|\x9b){CSI_BODY}",
    rf"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]){STRING_BODY}\x1b?",
    r"\x1b[ -/]*",
    r"\r",
)
"""What may stand at the end of a piece of a stream and be continued by the next one."""

CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
"""Without tab and line feed; after carriage returns were replaced."""

INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\ud800-\udfff\U000e0000-\U000e00ff\U000e0100-\U000e01ef\U000e01f0-\U000e0fff"
)
"""Characters without a glyph (Default_Ignorable_Code_Point of Unicode, without the variation
selectors of emoji), direction controls, line separators and lone surrogates."""

JOINERS = "\u200c\u200d"
"""Zero-width joiners: Persian, Indic scripts and emoji are not written without them."""

REGION_FLAG = r"\U0001f3f4[\U000e0061-\U000e007a]{4,6}\U000e007f"
"""Flags of regions, which are written with tag characters."""


def printable(text: str, *, lines: bool = False) -> str:
    """Return a text without escape sequences and control characters; invisible ones are shown.

    With `lines`, line breaks and tabs stay, and a carriage return becomes a line break. Without,
    each of them becomes a space, so that no value can pose as a separate line.
    """
    if not text.isprintable():
        text = _without_controls(text)
    if not text.isascii():
        text = _pattern(f"{REGION_FLAG}|[{INVISIBLE}]").sub(_show_invisible, text)
    return text if lines else text.replace("\n", " ").replace("\t", " ")


def escape_json(encoded: str) -> str:
    """Write control and invisible characters of JSON as `\\uXXXX`; it parses to the same value.

    For JSON that `json.dumps(..., ensure_ascii=False)` wrote: such characters stand in strings
    only.
    """
    if encoded.isascii():
        return encoded.replace("\x7f", "\\u007f")
    import json

    invisible = _pattern(f"[\x7f-\x9f{INVISIBLE}]")
    return invisible.sub(lambda match: json.dumps(match.group())[1:-1], encoded)


class PrintableStream:
    """Makes a text printable that arrives in pieces; a sequence may be split anywhere."""

    def __init__(self) -> None:
        self._pending = ""
        self._last = ""
        """The character before the pending ones, which decides whether a joiner is shown."""

    def feed(self, piece: str, *, end: bool = False) -> str:
        """Return what can be shown after a further piece; `end` releases what was held back."""
        content = self._pending + piece
        start = len(content) if end else self._complete_until(content)
        complete, self._pending = content[:start], content[start:]
        if not complete:
            return ""
        shown = printable(self._last + complete, lines=True)[len(self._last) :]
        self._last = shown[-1:] if shown[-1:].isprintable() else ""
        return shown

    def _complete_until(self, content: str) -> int:
        """Return where an unfinished sequence or a joiner at the end begins."""
        if content.isprintable() and content.isascii():
            return len(content)
        unfinished = _pattern(rf"(?:{'|'.join(UNFINISHED)})\Z")
        if match := unfinished.search(content, max(0, len(content) - MAX_SEQUENCE)):
            return match.start()
        return len(content) - content.endswith(tuple(JOINERS))


@cache
def _pattern(expression: str) -> re.Pattern[str]:
    import re

    return re.compile(expression)


def _without_controls(text: str) -> str:
    text = _pattern("|".join(SEQUENCES)).sub("", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x85", "\n")
    return _pattern(CONTROLS).sub("", text)


def _show_invisible(match: re.Match[str]) -> str:
    """Return a character's code point; the character where its neighbours need it."""
    sequence, text = match.group(), match.string
    before = text[match.start() - 1 : match.start()] if match.start() else ""
    after = text[match.end() : match.end() + 1]
    is_flag = len(sequence) > 1
    is_joiner = sequence in JOINERS and _is_joined(before) and _is_joined(after)
    is_selector = "\U000e0100" <= sequence <= "\U000e01ef" and _is_wide_letter(before)
    if is_flag or is_joiner or is_selector:
        return sequence
    return f"<U+{ord(sequence):04X}>"


def _is_joined(letter: str) -> bool:
    """Tell whether joiners are usual beside a character: emoji, and scripts without case."""
    import unicodedata

    if not letter or letter.isascii():
        return False
    category = unicodedata.category(letter)
    is_letter = category == "Lo" and not _is_wide_letter(letter)
    return is_letter or category in ("Mn", "Mc", "Sm", "So", "Sk")


def _is_wide_letter(letter: str) -> bool:
    """Tell whether a character is Chinese, Japanese or Korean."""
    from swiftbox.formatting import width

    return letter.isalpha() and width(letter) == 2
