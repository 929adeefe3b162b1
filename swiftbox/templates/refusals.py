"""The errors of rows that a template refuses, rewrites or cuts, with the settings that cure them.

A setting is named only if the row renders with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from swiftbox.data.example import RowError
from swiftbox.templates.account import CHINESE_KINDS
from swiftbox.templates.adaptation import AdaptedTurn
from swiftbox.templates.lost_words import REASONING, SYSTEM
from swiftbox.templates.options import RenderOptions

CURES: tuple[tuple[tuple[bool, bool], str], ...] = (
    ((True, False), "merge_consecutive: true"),
    ((False, True), "system_into_user: true"),
    ((True, True), "merge_consecutive: true, system_into_user: true"),
)
"""Settings that change what a template is given."""


def refused_row(
    refusal: str, options: RenderOptions, is_rendered: Callable[[RenderOptions], bool]
) -> RowError:
    """Return the error of a row that a template refuses with its own message."""
    refusal = refusal.strip()
    if not refusal.endswith(".."):
        refusal = refusal.removesuffix(".")
    cure = cure_of(options, is_rendered)
    return RowError(
        "template",
        f"the chat template refuses it: {refusal}" + (f" ({cure} cures it)" if cure else ""),
        f"对话模板不接受：{refusal}" + (f"（可设 {cure}）" if cure else ""),
    )


def cure_of(options: RenderOptions, is_rendered: Callable[[RenderOptions], bool]) -> str:
    """Return the settings with which a row renders, as YAML; empty if none help."""
    now = (options.merge_consecutive, options.system_into_user)
    for (merges, moves), setting in CURES:
        cured = (merges or now[0], moves or now[1])
        candidate = replace(options, merge_consecutive=cured[0], system_into_user=cured[1])
        if cured != now and is_rendered(candidate):
            return setting
    return ""


def unlocated_answer(turn: AdaptedTurn, cure: str) -> RowError:
    """Return the error of an answer that cannot be located in its rendering."""
    number = turn.index + 1
    cures = (f"{cure} cures it", f"可设 {cure}")
    if not cure:
        cures = ("weight: 0 excludes it from the loss", "可设 weight: 0 不学习该轮")
    return RowError(
        "template",
        f"message {number}: the chat template renders the prompt of this answer in another way "
        f"than the conversation, so the answer cannot be located; {cures[0]}",
        f"第 {number} 条消息：对话模板对该回答之前的提示与整段对话的渲染不一致，"
        f"无法确定回答的起止；{cures[1]}",
    )


def rewritten_turn(turn: AdaptedTurn) -> RowError:
    """Return the error of `turns: all` on a template that changes earlier turns."""
    number = turn.index + 1
    return RowError(
        "template",
        f"message {number}: the chat template renders this answer in another way once the "
        "conversation continues; use turns: auto or turns: each",
        f"第 {number} 条消息：对话继续后，对话模板会改写该回答；请用 turns: auto 或 turns: each",
    )


def lost_words(kind: str, turn: AdaptedTurn, cure: str = "") -> RowError:
    """Return the error of a row whose words the template drops."""
    name = "reasoning_content" if kind == REASONING and turn.reasoning else kind
    number = turn.index + 1
    if not cure and kind == REASONING and name != kind:
        cure = "write it into the content as <think>...</think>, or set lost_words: warn"
        chinese = "可写入 content（<think>...</think>），或设 lost_words: warn"
    elif cure and kind == SYSTEM:
        cure, chinese = f"set {cure}", f"可设 {cure}"
    else:
        cure, chinese = "lost_words: warn trains without it", "设 lost_words: warn 则不含该内容训练"
    return RowError(
        "lost",
        f"message {number}: the chat template drops its {name}; {cure}",
        f"第 {number} 条消息：对话模板丢弃了{CHINESE_KINDS.get(name, name)}；{chinese}",
    )
