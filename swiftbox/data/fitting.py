"""What is wrong with rows that do not fit max_length, or that leave nothing to train on.

`check` and the training say it alike.
"""

from __future__ import annotations

from swiftbox.errors import DataError
from swiftbox.language import text


def rows_too_long(longer: int, count: int, longest: int, max_length: int) -> DataError:
    """Return the error for `longer` of `count` rows, with `truncation: error`."""
    return DataError(
        text(
            f"{longer} of {count} rows are longer than max_length {max_length} "
            f"(the longest has {longest} tokens)",
            f"{count} 行中有 {longer} 行超过 max_length {max_length}（最长 {longest} 个 token）",
        ),
        hint=text(
            "raise max_length, or set truncation: right or drop",
            "增大 max_length，或设 truncation: right 或 drop",
        ),
    )


def nothing_within(count: int, max_length: int) -> DataError:
    """Return the error for `count` rows that learn nothing within max_length."""
    return DataError(
        text(
            f"none of {count} rows has a token to learn within max_length {max_length}",
            f"在 max_length {max_length} 之内，{count} 行中没有可学习的 token",
        ),
        hint=text("raise max_length, or give shorter rows", "增大 max_length，或换用更短的数据"),
    )


def held_out_rows(val_size: float, rows: int) -> int:
    """Return how many of the rows are held out; a `val_size` below 1 is a part of them."""
    if not val_size:
        return 0
    return max(1, round(val_size * rows) if val_size < 1 else int(val_size))


def require_training_rows(val_size: float, rows: int) -> None:
    """Raise DataError if the rows that are held out leave none to train on."""
    held_out = held_out_rows(val_size, rows)
    if held_out and held_out >= rows:
        raise DataError(
            text(
                f"val_size: holding out {held_out} of {rows} rows leaves nothing to train on",
                f"val_size：从 {rows} 行中留出 {held_out} 行后没有可训练的数据",
            ),
            hint=text("lower val_size, or give more rows", "请减小 val_size，或增加数据"),
        )
