"""The placeholders {{NAME}} and {{AUTHOR}} of rows in which a model says who it is."""

from __future__ import annotations

import re

from swiftbox.data.example import RowError
from swiftbox.templates.account import UNFILLED, Account
from swiftbox.templates.options import RenderOptions

CODE = re.compile(r"[`<>;=\\]|\{%")
"""Signs of program code, whose placeholders belong to templates of its language."""

CHINESE = r"[\u4e00-\u9fff]"
"""Compiled on first use, which takes longer than any other pattern of this room."""


NAME, AUTHOR = "{{NAME}}", "{{AUTHOR}}"
KEYS = {NAME: "model_name", AUTHOR: "model_author"}
"""The setting that fills in each placeholder."""


def require_filled(missing: set[str]) -> None:
    """Raise RowError for placeholders of a row that have no value, for all of them at once."""
    if missing:
        placeholders = [placeholder for placeholder in KEYS if placeholder in missing]
        keys = [KEYS[placeholder] for placeholder in placeholders]
        verb = "is" if len(placeholders) == 1 else "are"
        raise RowError(
            "name",
            f"{' and '.join(placeholders)} {verb} not filled in; set {' and '.join(keys)}",
            f"{'、'.join(placeholders)} 没有填写；请设置 {' 与 '.join(keys)}",
        )


def filled(
    content: str, options: RenderOptions, role: str, account: Account, missing: set[str]
) -> str:
    """Return a turn's text with the placeholders replaced; in small letters, not in code.

    Adds to `missing` the placeholders in large letters, in an answer or a system text, that have
    no value. Those in small letters are only counted: program code has them too.
    """
    places = {
        NAME: options.model_name,
        AUTHOR: options.model_author,
    }
    unfilled = False
    original = content
    for placeholder, names in places.items():
        small = placeholder.lower()
        if placeholder not in content and small not in content:
            continue
        if names:
            name = names[0] if re.search(CHINESE, original) else names[-1]
            content = content.replace(placeholder, name)
            content = content if CODE.search(content) else content.replace(small, name)
        elif role not in ("assistant", "system"):
            continue
        elif placeholder in content:
            missing.add(placeholder)
        else:
            unfilled = True
    account.count(UNFILLED, unfilled)
    return content
