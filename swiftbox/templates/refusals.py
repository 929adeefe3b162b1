"""The errors of rows that a template refuses, rewrites or cuts, with the settings that cure them.

A setting is named only if the row renders with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

from swiftbox.data.example import RowError
from swiftbox.templates.account import CHINESE_KINDS
from swiftbox.templates.adapted_turn import AdaptedTurn
from swiftbox.templates.lost_words import ARGUMENTS, CALL_NAME, REASONING
from swiftbox.templates.options import CHANGES, RenderOptions

CURES = [names for size in (1, 2, 3) for names in combinations(CHANGES, size)]
"""Settings to try, the fewest first."""

WITHOUT_CALLS = (
    "this template renders no tool calls; use a model whose template does",
    "该模板不渲染工具调用；请换用模板支持工具调用的模型",
)


def refused_row(refusal: str, cure: str, *, lacks_calls: bool) -> RowError:
    """Return the error of a row that a template refuses with its own message.

    `lacks_calls` says that the row has tool calls and the template renders none in any form.
    """
    refusal = refusal.strip()
    if not refusal.endswith(".."):
        refusal = refusal.removesuffix(".")
    if lacks_calls:
        return RowError(
            "template",
            f"the chat template refuses it: {refusal} ({WITHOUT_CALLS[0]})",
            f"对话模板不接受：{refusal}（{WITHOUT_CALLS[1]}）",
        )
    return RowError(
        "template",
        f"the chat template refuses it: {refusal}" + (f" ({cure} cures it)" if cure else ""),
        f"对话模板不接受：{refusal}" + (f"（可设 {cure}）" if cure else ""),
    )


def cure_of(options: RenderOptions, is_rendered: Callable[[RenderOptions], bool]) -> str:
    """Return the settings with which a row renders, as YAML; empty if none help."""
    unset = [name for name in CHANGES if not getattr(options, name)]
    for names in CURES:
        if set(names) <= set(unset) and is_rendered(options.with_changes(names)):
            return settings_of(names)
    return ""


def settings_of(names: Sequence[str]) -> str:
    """Return settings that are true, as YAML."""
    return ", ".join(f"{name}: true" for name in names)


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


def lost_words(
    kind: str, turn: AdaptedTurn, cure: str = "", *, lacks_calls: bool = False
) -> RowError:
    """Return the error of a row whose words the template drops."""
    name = "reasoning_content" if kind == REASONING and turn.reasoning else kind
    number = turn.index + 1
    if lacks_calls and kind in (CALL_NAME, ARGUMENTS):
        english, chinese = WITHOUT_CALLS
        return RowError("lost", f"message {number}: {english}", f"第 {number} 条消息：{chinese}")
    if cure:
        cure, chinese = f"set {cure}", f"可设 {cure}"
    elif kind == REASONING and name != kind and not turn.calls:
        cure = "write it into the content as <think>...</think>, or set lost_words: warn"
        chinese = "可写入 content（<think>...</think>），或设 lost_words: warn"
    else:
        cure, chinese = "lost_words: warn trains without it", "设 lost_words: warn 则不含该内容训练"
    return RowError(
        "lost",
        f"message {number}: the chat template drops its {name}; {cure}",
        f"第 {number} 条消息：对话模板丢弃了{CHINESE_KINDS.get(name, name)}；{chinese}",
    )
