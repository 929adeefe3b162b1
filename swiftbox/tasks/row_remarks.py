"""Remarks on settings of a training that do nothing, or measure what they should not."""

from __future__ import annotations

from swiftbox.data.findings import CheckedRows
from swiftbox.data.held_out_rows import KEY
from swiftbox.formatting import counted, nearest
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, WARNING, Remark
from swiftbox.tasks.checks import OnRemark
from swiftbox.templates.template import ConversationTemplate
from swiftbox.templates.variables import KEY as VARIABLES


def remark_unread_variables(template: ConversationTemplate, on_remark: OnRemark) -> None:
    """Remark on variables that are set for a template and that it does not read."""
    read = template.names()
    for name in template.variables:
        if name in read:
            continue
        message = text(
            f"{VARIABLES}: the chat template does not read {name}",
            f"{VARIABLES}：对话模板不读取 {name}",
        )
        hint = text("remove it: it changes nothing", "请去掉：它不起作用")
        if meant := nearest(name, read):
            hint = text(f"did you mean {meant}?", f"是否指 {meant}？")
        on_remark(Remark(NOTE, VARIABLES, message, hint))


def remark_learned_rows(
    checked: CheckedRows, validation: CheckedRows | None, on_remark: OnRemark
) -> None:
    """Remark on rows that are learned and held out as well; forget which rows there are."""
    learned, held_out = checked.take_hashes(), validation.take_hashes() if validation else set()
    if count := len(learned & held_out):
        rows = f"{count:,} of {counted(len(held_out), 'different row')}"
        message = text(
            f"{KEY}: {rows} {'is' if count == 1 else 'are'} in dataset too",
            f"{KEY}：{len(held_out)} 条不同的数据中有 {count} 条也在 dataset 中",
        )
        hint = text(
            "the loss on rows that are learned does not show when a model learns them by heart",
            "已学过的数据上的损失看不出过拟合",
        )
        on_remark(Remark(WARNING, KEY, message, hint))
