"""A model's tokenizer without transformers: it loads in a tenth of the time, and runs no code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def light_tokenizer(folder: Path) -> Tokenizer | None:
    """Return the tokenizer in a folder's tokenizer.json; None if there is none to load.

    It neither cuts nor pads texts, whatever the file says: a training does neither by it.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - the package raises Exception itself, for any defect
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
