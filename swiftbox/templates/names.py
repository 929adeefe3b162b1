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


def filled(content: str, options: RenderOptions, role: str, account: Account) -> str:
    """Return a turn's text with the placeholders replaced; in small letters, not in code.

    Raises RowError for a placeholder in large letters, in an answer or a system text, that has no
    value. Those in small letters are only counted: program code has them too.
    """
    places = {
        "{{NAME}}": ("model_name", options.model_name),
        "{{AUTHOR}}": ("model_author", options.model_author),
    }
    unfilled = False
    original = content
    for placeholder, (key, names) in places.items():
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
            raise RowError(
                "name",
                f"{placeholder} is not filled in; set {key}",
                f"{placeholder} 没有填写；请设置 {key}",
            )
        else:
            unfilled = True
    account.count(UNFILLED, unfilled)
    return content
