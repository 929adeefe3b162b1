"""How sizes, durations, widths and near misses are written, everywhere in swiftbox.

Sizes are binary (KiB, MiB, GiB), as memory of accelerators is counted and as drivers report it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence

from swiftbox.language import text

SIZE_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size(byte_count: float) -> str:
    """Write a number of bytes with one decimal: `512 B`, `14.2 GiB`."""
    amount = float(byte_count)
    if abs(amount) < 1024:
        return f"{amount:.0f} B"
    for unit in SIZE_UNITS:
        amount /= 1024
        if abs(amount) < 1023.95:  # above, one decimal would write 1024.0
            return f"{amount:.1f} {unit}"
    return f"{amount:.1f} {SIZE_UNITS[-1]}"


def rate(bytes_per_s: float) -> str:
    """Write a transfer rate: `12.3 MiB/s`."""
    return f"{size(bytes_per_s)}/s"


def count(number: float) -> str:
    """Write a large number in three figures: `950`, `12.3k`, `7.62B`."""
    for divisor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * divisor:  # below, three figures would not round up to 1
            return f"{number / divisor:.3g}{unit}"
    return f"{number:.0f}"


def plain_number(number: float) -> str:
    """Write a number as people type it: `0.05`, `1,000,000`."""
    return f"{number:g}" if abs(number) < 1e6 else f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """Write a number with its English noun: `1 row`, `1,200 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_or_are(number: int) -> str:
    """Return the English verb after a number of things."""
    return "is" if number == 1 else "are"


def duration(seconds: float) -> str:
    """Write a time in at most two units: `0.4 s`, `40 s`, `12 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return text(f"{seconds:.1f} s", f"{seconds:.1f} 秒")
    total = round(seconds)
    if total < 60:
        return text(f"{total} s", f"{total} 秒")
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return _two_units(minutes, "min", "分", rest, "s", "秒")
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 24:
        return _two_units(hours, "h", "小时", minutes, "min", "分")
    days, hours = divmod(round(seconds / 3600), 24)
    return _two_units(days, "d", "天", hours, "h", "小时")


def _two_units(large: int, large_en: str, large_zh: str, small: int, *units: str) -> str:
    small_en, small_zh = units
    if not small:
        return text(f"{large} {large_en}", f"{large} {large_zh}{'钟' if large_zh == '分' else ''}")
    return text(f"{large} {large_en} {small} {small_en}", f"{large} {large_zh} {small} {small_zh}")


def clock(seconds: float) -> str:
    """Write a running time as a clock does: `2:03`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bar(done: float, total: float, width: int, *, unicode: bool = True) -> str:
    """Draw the finished share as a line of `width` cells; an unknown total counts as finished."""
    share = min(1.0, max(0.0, done / total)) if total else 1.0
    filled = round(share * width)
    full, empty = ("━", "─") if unicode else ("#", ".")
    return full * filled + empty * (width - filled)


# ---- widths: cells of a terminal; East Asian wide characters take two, combining marks none


def width(line: str) -> int:
    """Return the cells that a line takes in a terminal."""
    if line.isascii():
        return len(line)
    return sum(_cells(letter) for letter in line)


def _cells(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(line: str, cells: int, *, mark: str = "…") -> str:
    """Shorten a line that is wider than `cells`; the mark stands for what was cut."""
    if width(line) <= cells:
        return line
    room = max(0, cells - width(mark))
    length = used = 0
    for letter in line:
        used += _cells(letter)
        if used > room:
            break
        length += 1
    return line[:length] + (mark if cells >= width(mark) else "")


def pad(line: str, cells: int, *, right: bool = False) -> str:
    """Fill a line up to `cells` with spaces; `right` aligns it to the right."""
    room = " " * max(0, cells - width(line))
    return room + line if right else line + room


def table_row(cells: Sequence[str], widths: Sequence[int], right: Collection[int] = ()) -> str:
    """Write cells as columns of fixed widths; the columns in `right` are aligned to the right."""
    columns = zip(cells, widths, strict=True)
    fields = [
        pad(cut(cell, room), room, right=column in right)
        for column, (cell, room) in enumerate(columns)
    ]
    return " ".join(fields).rstrip()


WIDE = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
CLOSING = "、。，；：？！）》」』】”’"
"""Punctuation that never begins a line."""

OPENING = "（《「『【“‘"
"""Punctuation that never ends a line."""

WRAP_UNIT = rf"\s+|[{OPENING}]*(?:[{WIDE}]|[^\s{WIDE}]+)[{CLOSING}]*"
"""Spaces, or a wide character or a run of narrow ones with its punctuation: a line may end after
each."""


def wrap(line: str, cells: int, *, indent: str = "") -> list[str]:
    """Break a line at spaces and between wide characters; continuation lines get `indent`.

    A single word wider than the line is broken where the line ends.
    """
    lines: list[str] = []
    current = ""
    for unit in _units(line, max(1, cells - width(indent))):
        start = indent if lines else ""
        if current.strip() and width(start + (current + unit).rstrip()) > cells:
            lines.append(start + current.rstrip())
            current = unit.lstrip() if unit.isspace() else unit
        else:
            current += unit
    return [*lines, (indent if lines else "") + current.rstrip()]


def _units(line: str, cells: int) -> Iterator[str]:
    # Compiled on first use, which takes milliseconds; later calls find it in the cache of re.
    for match in re.finditer(WRAP_UNIT, line):
        unit = match.group()
        while width(unit) > cells and not unit.isspace():
            start = cut(unit, cells, mark="") or unit[0]
            yield start
            unit = unit[len(start) :]
        yield unit


# ---- did you mean


def did_you_mean(*names: str) -> str:
    """Return the hint that proposes names; empty for none."""
    listed, listed_zh = ", ".join(names), "、".join(names)
    return text(f"did you mean {listed}?", f"是否想写 {listed_zh}？") if any(names) else ""


def suggestion_ending(name: str) -> str:
    """Return the end of a message that proposes a name; empty for none."""
    return text("; ", "；") + did_you_mean(name) if name else ""


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the known word that is spelled most like this one; empty when none is near."""
    return next(iter(near(word, known, limit=1, cutoff=cutoff)), "")


LONGEST_WORD = 100
"""Characters of a word that is compared: the time grows with their square."""


def near(word: str, known: Iterable[str], *, limit: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the known words that are spelled most like this one, the nearest first."""
    if len(word) > LONGEST_WORD:
        return []
    import difflib

    return difflib.get_close_matches(word, list(known), n=limit, cutoff=cutoff)
