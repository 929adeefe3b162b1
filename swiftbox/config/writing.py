"""Write a config as the YAML a person would: a header, sections, one comment per key; lossless."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from swiftbox.config.fields import Card, cards, section_title
from swiftbox.language import text

COMMENT_COLUMN = 36


def write(
    config: BaseModel,
    *,
    header: Sequence[str] = (),
    keys: Collection[str] | None = None,
    reasons: Mapping[str, str] | None = None,
) -> str:
    """Return the YAML text of a config.

    All applicable keys are written, or those in `keys`; a key with a reason carries that as its
    comment, any other its help text. Reading the text back gives the same config.
    """
    values = config.model_dump(mode="json")
    lines = [f"# {line}".rstrip() for line in header]
    section = "task"
    for card in cards(type(config)):
        if not card.applies(values):
            continue
        if keys is not None and card.name not in keys and card.section != "task":
            continue
        if card.section != section:
            section = card.section
            lines.append(f"### {section_title(section)}")
        why = (reasons or {}).get(card.name) or (card.help if card.section != "task" else "")
        lines.extend(entry(card.name, values[card.name], why))
    return "\n".join(lines) + "\n"


def entry(key: str, value: Any, comment: str) -> list[str]:
    """Return the lines of one `key: value  # comment`."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        block = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True).rstrip()
        return [f"# {comment}", *block.splitlines()] if comment else block.splitlines()
    plain = f"{key}: {scalar(value)}"
    if not comment:
        return [plain]
    return [f"{plain:<{COMMENT_COLUMN}}  # {comment}"]


def scalar(value: Any) -> str:
    """Return one value as YAML on one line."""
    if value in ("true", "false"):  # a switch with a third value, `auto`: read back as a word
        return str(value)
    written: str = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=1_000_000, sort_keys=False
    )
    return written.removesuffix("\n").removesuffix("\n...").strip()


def reference(model: type[BaseModel], title: str, without: Collection[str] = ()) -> str:
    """Return the reference table of a config class in Markdown, `without` the fields named."""
    rows = [
        f"| {title} | {text('values', '取值')} | {text('default', '默认')} | |",
        "|---|---|---|---|",
    ]
    for card in cards(model):
        if card.name in without:
            continue
        default = "" if card.required else f"`{scalar(card.default)}`"
        shown = _allowed(card).replace("|", "\\|")
        rows.append(f"| `{card.name}` | {shown} | {default} | {card.help} |")
    return "\n".join(rows)


def _allowed(card: Card) -> str:
    if card.choices:
        return " \\| ".join(card.choices).replace("\\|", "/")
    names = {
        "text": text("text", "文字"),
        "integer": text("whole number", "整数"),
        "number": text("number", "数字"),
        "boolean": "true / false",
        "list": text("list or mapping", "列表或映射"),
        "choice": "",
    }
    low = (
        "" if card.minimum is None else f"{'>' if card.minimum_excluded else '≥'} {card.minimum:g}"
    )
    high = (
        "" if card.maximum is None else f"{'<' if card.maximum_excluded else '≤'} {card.maximum:g}"
    )
    return " ".join(part for part in (names[card.kind], low, high) if part)
