"""Rows as the model sees them, in a terminal or as JSON; see tasks/previewed_rows.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swiftbox.config.train import TrainConfig
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.security.printable import printable
from swiftbox.tasks.previewed_rows import MeasuredTexts, PreviewedText, RowChoice, RowPreview

if TYPE_CHECKING:
    from rich.text import Text

OPEN, CLOSE = "⟦", "⟧"
"""Around learned parts where there is no colour."""


def show(config: TrainConfig, choice: RowChoice | None = None) -> None:
    """Print the preview of a config whose model and data are on this machine."""
    preview = RowPreview(config)
    print_texts(preview.texts(choice or RowChoice()), preview.lengths())


def as_json(config: TrainConfig, choice: RowChoice) -> dict[str, Any]:
    """Return the preview for programs: the parts of each text, and what each text is."""
    preview = RowPreview(config)
    texts, lengths = preview.texts(choice), preview.lengths()
    return {
        "preview": [[part.to_dict() for part in previewed.parts] for previewed in texts],
        "preview_rows": [previewed.origin() for previewed in texts],
        "preview_lengths": lengths.to_dict() if lengths else None,
    }


def print_texts(texts: Sequence[PreviewedText], lengths: MeasuredTexts | None) -> None:
    """Print texts and lengths; without colour the learned parts stand in brackets."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    coloured = console.color_system is not None and not console.no_color
    for previewed in texts:
        console.rule(printable(_title(previewed)))
        console.print(_styled(previewed, coloured=coloured))
    console.rule()
    legend = text("learned tokens are green", "绿色为参与学习的 token")
    plain = text(f"learned tokens are in {OPEN} {CLOSE}", f"{OPEN} {CLOSE} 内为参与学习的 token")
    console.print(legend if coloured else plain)
    for line in _length_lines(lengths):
        console.print(line)


def _title(previewed: PreviewedText) -> str:
    title = f"{previewed.file}:{previewed.line}"
    answers = {"chosen": text("chosen", "较好"), "rejected": text("rejected", "较差")}
    if previewed.answer:
        title += f" {answers[previewed.answer]}"
    if previewed.is_cut:
        title += text(
            f", cut: it has {previewed.tokens} tokens", f"，已截断：共 {previewed.tokens} 个 token"
        )
    if previewed.learned_tokens == 0:
        title += text(", nothing to learn", "，没有可学习的内容")
    return title


def _styled(previewed: PreviewedText, *, coloured: bool) -> Text:
    from rich.text import Text

    line = Text()
    for part in previewed.parts:
        content = printable(part.text, lines=True)
        if not part.learned:
            line.append(content)
            continue
        mark = "" if part.weight == 1 else f"{part.weight:g}x "
        if coloured:
            line.append(f"{mark}{content}", style="green")
        else:
            line.append(f"{OPEN}{mark}{content}{CLOSE}")
    return line


def _length_lines(lengths: MeasuredTexts | None) -> list[str]:
    if lengths is None:
        return [
            text(
                "tokens are not counted: the model has no tokenizer.json",
                "未统计 token：模型没有 tokenizer.json",
            )
        ]
    separator = text(", ", "，")
    percentiles = separator.join(f"{name} {value}" for name, value in lengths.percentiles.items())
    of = (
        text("all rows", "全部数据")
        if lengths.is_all
        else text(f"the first {counted(lengths.rows, 'row')}", f"前 {lengths.rows} 行")
    )
    lines = [
        text(f"tokens per row: {percentiles} ({of})", f"每行 token 数：{percentiles}（{of}）"),
    ]
    if lengths.learned is not None:
        lines.append(
            text(
                f"{lengths.learned:,} of {sum(lengths.tokens):,} tokens are learned",
                f"{sum(lengths.tokens):,} 个 token 中学习 {lengths.learned:,} 个",
            )
        )
    if lengths.longer:
        rows = counted(lengths.longer, "row")
        lines.append(
            text(
                f"{rows} longer than max_length {lengths.max_length}",
                f"超过 max_length {lengths.max_length} 的有 {lengths.longer} 行",
            )
        )
    return lines
