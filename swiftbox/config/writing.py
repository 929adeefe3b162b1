"""Write a config as readable YAML: header, sections, a comment per key; lossless."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from swiftbox.config.fields import Card, cards, section_title
from swiftbox.config.pipeline import FILE_KEYS, PipelineStep, StepPolicy
from swiftbox.language import text
from swiftbox.security.printable import printable

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
    comment, any other its help. Reading the text back gives the same config.
    """
    lines = [f"# {printable(line)}".rstrip() for line in header]
    lines += _body(config, keys, reasons or {}, Layout())
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Layout:
    """How a config is laid out: with headings or not, and which keys are left out."""

    headings: bool = True
    without: Collection[str] = ()


IN_A_STEP = Layout(headings=False, without=FILE_KEYS)


def _body(
    config: BaseModel, keys: Collection[str] | None, reasons: Mapping[str, str], layout: Layout
) -> list[str]:
    values = config.model_dump(mode="json")
    lines: list[str] = []
    section = "task"
    for card in cards(type(config)):
        if not card.applies(values) or card.name in layout.without:
            continue
        if keys is not None and card.name not in keys and card.section != "task":
            continue
        if card.section != section and layout.headings:
            section = card.section
            lines.append(f"### {section_title(section)}")
        why = reasons.get(card.name) or (card.help if card.section != "task" else "")
        value = getattr(config, card.name)
        if isinstance(value, tuple) and value and isinstance(value[0], PipelineStep):
            lines.append(f"{f'{card.name}:':<{COMMENT_COLUMN}}  # {why}")
            lines += _steps(value, keys, reasons)
        else:
            lines.extend(entry(card.name, values[card.name], why))
    return lines


def _steps(
    steps: Sequence[PipelineStep], keys: Collection[str] | None, reasons: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of steps, whose keys and reasons are `step.key` in the mappings."""
    for step in steps:
        start = f"{step.name}."
        inner = None if keys is None else _inside(start, keys)
        why = {key: reasons[start + key] for key in _inside(start, reasons)}
        yield f"- name: {scalar(step.name)}"
        yield from (f"  {line}" for line in _policy(step))
        yield from (f"  {line}" for line in _body(step.config, inner, why, IN_A_STEP))


def _policy(step: PipelineStep) -> Iterator[str]:
    """Yield the keys of a step that are not those of its task and were set."""
    for card in cards(StepPolicy):
        value = getattr(step, card.name)
        if value != card.default:
            yield from entry(card.name, value, card.help)


def _inside(start: str, keys: Collection[str]) -> set[str]:
    """Return the keys of a step without its name."""
    return {key.removeprefix(start) for key in keys if key.startswith(start)}


def entry(key: str, value: Any, comment: str) -> list[str]:
    """Return the lines of one `key: value  # comment`."""
    comment = printable(comment)
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        block = _dump({key: value}, sort_keys=False).rstrip()
        return [f"# {comment}", *block.splitlines()] if comment else block.splitlines()
    plain = f"{key}: {scalar(value)}"
    if not comment:
        return [plain]
    return [f"{plain:<{COMMENT_COLUMN}}  # {comment}"]


def scalar(value: Any) -> str:
    """Return one value as YAML on one line."""
    if value in ("true", "false"):  # a choice of text whose third value is `auto`
        return str(value)
    written = _dump(value, default_flow_style=True, width=1_000_000, sort_keys=False)
    return written.removesuffix("\n").removesuffix("\n...").strip()


def _dump(value: Any, **options: Any) -> str:
    """Return YAML in which characters that a terminal does not show are escaped."""
    written: str = yaml.safe_dump(value, allow_unicode=True, **options)
    if printable(written, lines=True) == written:
        return written
    escaped: str = yaml.safe_dump(value, allow_unicode=False, **options)
    return escaped


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
    number = " ".join(part for part in (names[card.kind], low, high) if part)
    return " / ".join([*card.keywords, number])
