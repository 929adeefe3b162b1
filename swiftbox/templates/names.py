"""The placeholders {{NAME}} and {{AUTHOR}} of rows in which a model says who it is."""

from __future__ import annotations

import re

from swiftbox.data.example import RowError
from swiftbox.templates.options import RenderOptions

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def filled(content: str, options: RenderOptions, role: str) -> str:
    """Return a turn's text with the placeholders replaced.

    Raises RowError for a placeholder of an answer or a system text that has no value.
    """
    places = {
        "{{NAME}}": ("model_name", options.model_name),
        "{{AUTHOR}}": ("model_author", options.model_author),
    }
    is_chinese = CHINESE.search(content) is not None
    for placeholder, (key, names) in places.items():
        if placeholder not in content:
            continue
        if names:
            content = content.replace(placeholder, names[0] if is_chinese else names[-1])
        elif role in ("assistant", "system"):
            raise RowError(
                "name",
                f"{placeholder} is not filled in; set {key}",
                f"{placeholder} 没有填写；请设置 {key}",
            )
    return content
