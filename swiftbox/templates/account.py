"""What happened to the rows while they were rendered: counts, each with its first place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.security.printable import printable

ROWS_ALL, ROWS_EACH, ROWS_LAST = "rows: all", "rows: each", "rows: last"
EACH_TOKENS, SAMPLED_TOKENS = "tokens: each", "tokens: each, sampled"
"""Tokens of the rows that are rendered so, counted by the encoder: of all rows once, or of those
that are taken of a sampled dataset, as often as they are."""

RENDERED_ANSWERS = "answers rendered alone"
REWRITTEN = "rows with rewritten turns"
"""Rows that `turns: all` would render otherwise than a server."""

LOST = "lost: "
"""Before a kind of words that a template dropped (templates/lost_words.py)."""

MERGED = "merged turns"
MOVED_SYSTEM = "system into user"
SEQUENTIAL_CALLS = "parallel calls in sequence"
DEFAULT_SYSTEM = "default system"
NOTHING_LEARNED = "nothing to learn"
WORDLESS = "answers without words"
UNCLOSED = "answers without closing token"
UNFILLED = "placeholders in small letters"
FORBIDDEN_THINKING = "reasoning that the prompt forbids"
OPEN_REASONING = "reasoning that is not closed"
DOUBLE_REASONING = "reasoning in two places"
DOUBLE_TOOLS = "tools in two places"
LABEL = "label: "
"""Before the name of a label that is classified."""
MARK = "mark in a text: "
"""Before a control token of the template (templates/marks_in_texts.py)."""


@dataclass
class Account:
    """Counts of turns and rows by what happened to them; picklable, and mergeable with `add`.

    `counts` has the number of each event, `places` the first file:line of each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)

    def count(self, event: str, number: int = 1, place: str = "") -> None:
        """Count an event that happened at a place (file:line)."""
        if number:
            self.counts[event] += number
            if place:
                self.places.setdefault(event, place)

    def add(self, other: Account, place: str = "") -> None:
        """Add another account; `place` is where its events happened if it does not say so."""
        for event, number in other.counts.items():
            self.count(event, number, other.places.get(event, place))

    def data(self) -> dict[str, Any]:
        """Return the account as JSON values."""
        return {"counts": dict(self.counts), "places": dict(self.places)}

    @staticmethod
    def of(data: dict[str, Any]) -> Account:
        """Return the account that `data` wrote."""
        return Account(Counter(data.get("counts", {})), dict(data.get("places", {})))

    def lines(self) -> list[str]:
        """Return a line for each event that a user should know, in the current language."""
        lines = [
            self._labels(),
            self._modes(),
            *(self._line(event) for event in sorted(self.counts)),
        ]
        return [line for line in lines if line]

    def labels(self) -> dict[str, int]:
        """Return the number of rows of each label, in the order of their first rows."""
        return {
            event.removeprefix(LABEL): number
            for event, number in self.counts.items()
            if event.startswith(LABEL)
        }

    def _labels(self) -> str:
        """Return the labels with their rows, the most frequent first."""
        counts = Counter(self.labels())
        if not counts:
            return ""
        most = counts.most_common()
        shown = [f"{printable(name[:40])} {number}" for name, number in most[:MOST_LABELS]]
        listed = ", ".join(shown) + (" ..." if len(most) > MOST_LABELS else "")
        line = text(f"labels: {len(most)} ({listed})", f"标签：{len(most)} 个（{listed}）")
        (_, largest), (rarest, smallest) = most[0], most[-1]
        if largest >= UNEVEN * smallest:
            line += text(
                f"; uneven: {printable(rarest[:40])} has {counted(smallest, 'row')}, so watch "
                "macro_f1 rather than accuracy",
                f"；不均衡：{printable(rarest[:40])} 只有 {smallest} 行，"
                "请看 macro_f1 而非 accuracy",
            )
        return line

    def _modes(self) -> str:
        """Return how the rows are rendered, if not all of them in the usual way."""
        rows, answers = self.counts[ROWS_EACH], self.counts[RENDERED_ANSWERS]
        if not rows:
            return ""
        tokens, sampled = self.counts[EACH_TOKENS], self.counts[SAMPLED_TOKENS]
        en = f"turns: each for {counted(rows, 'row')} ({counted(answers, 'answer')}"
        zh = f"turns: each：{rows} 行（{answers} 个回答"
        if total := tokens + sampled:
            en, zh = f"{en}, {total:,} tokens", f"{zh}，{total:,} 个 token"
        if sampled:
            en, zh = f"{en} as sampled", f"{zh}（按抽样计）"
        if self.counts[REWRITTEN] < rows:  # set by the user
            return text(f"{en})", f"{zh}）")
        return text(
            f"{en}): the chat template rewrites earlier turns",
            f"{zh}）：对话模板会改写之前的轮次",
        )

    def _line(self, event: str) -> str:
        number = self.counts[event]
        if event.startswith(LOST):
            sentence = _lost(event, number)
        elif event.startswith(MARK):
            sentence = _mark(event.removeprefix(MARK), number)
        else:
            sentence = _sentence(event, number)
        place = self.places.get(event)
        if not sentence or not place:
            return sentence
        return sentence + text(f" (first: {place})", f"（首处：{place}）")


def _lost(event: str, number: int) -> str:
    kind = event.removeprefix(LOST)
    is_of_row = kind == "tool definitions"
    places = counted(number, "row" if is_of_row else "turn")
    unit = "行" if is_of_row else "轮"
    return text(
        f"lost words: the chat template drops the {kind} of {places}",
        f"丢失内容：对话模板丢弃了 {number} {unit}的 {CHINESE_KINDS.get(kind, kind)}",
    )


def _mark(mark: str, number: int) -> str:
    return text(
        f"{mark} stands in the text of {counted(number, 'turn')}, where the tokenizer takes it for "
        "the mark of the chat template",
        f"{number} 轮的文字中含有 {mark}，分词器会把它当作对话模板的标记",
    )


def _sentence(event: str, number: int) -> str:
    sentences = {
        MERGED: (
            f"{counted(number, 'turn')} merged into the turn before",
            f"{number} 轮并入了前一轮",
        ),
        MOVED_SYSTEM: (
            f"the system text of {counted(number, 'row')} moved into the user turn",
            f"{number} 行的 system 并入了 user 轮次",
        ),
        SEQUENTIAL_CALLS: (
            f"the parallel tool calls of {counted(number, 'row')} in sequence, each with its "
            "result",
            f"{number} 行的并行工具调用改为依次调用，各自后接结果",
        ),
        DEFAULT_SYSTEM: (
            f"{counted(number, 'row')} with the default system text",
            f"{number} 行使用默认 system",
        ),
        WORDLESS: (
            f"{counted(number, 'answer')} of which the chat template writes no words: the model "
            "learns to answer nothing there",
            f"{number} 个回答的内容被对话模板全部丢弃：模型会学到在此处不作回答",
        ),
        NOTHING_LEARNED: (
            f"{counted(number, 'row')} with nothing to learn",
            f"{number} 行没有可学习的内容",
        ),
    }
    sentences |= _cautions(number)
    return text(*sentences[event]) if event in sentences else ""


def _cautions(number: int) -> dict[str, tuple[str, str]]:
    """Return what may be trained otherwise than it is meant, and what to set."""
    return {
        UNCLOSED: (
            f"{counted(number, 'answer')} without a closing token, which the chat template does "
            "not write or mark: the model does not learn to stop",
            f"{number} 个回答没有结束符（对话模板没有写出或没有标记）：模型学不到在哪里停止",
        ),
        UNFILLED: (
            f"{{{{name}}}} or {{{{author}}}} stands in {counted(number, 'turn')} and is "
            "learned so: set model_name and model_author where they mean the model",
            f"{number} 轮含有 {{{{name}}}} 或 {{{{author}}}}，会按原样学习："
            "若它们指模型，请设置 model_name 与 model_author",
        ),
        OPEN_REASONING: (
            f"{counted(number, 'answer')} with a <think> that is not closed: the model learns to "
            "stop within its reasoning",
            f"{number} 个回答的 <think> 没有闭合：模型会学到在推理中途停止",
        ),
        DOUBLE_REASONING: (
            f"{counted(number, 'answer')} with reasoning in a field and other reasoning in the "
            "text: both are learned",
            f"{number} 个回答在字段和正文中有不同的推理：两者都会被学习",
        ),
        DOUBLE_TOOLS: (
            f"{counted(number, 'row')} with the tools in the system text, where the chat template "
            "writes them too: columns: {tools: unused} leaves out the second",
            f"{number} 行的 system 中已有工具定义，而对话模板会再写一次："
            "columns: {tools: unused} 可去掉第二份",
        ),
        FORBIDDEN_THINKING: (
            f"{counted(number, 'answer')} with reasoning, which the prompt of the server forbids: "
            "set chat_template_kwargs: {enable_thinking: true} where it is served",
            f"{number} 个回答含推理，但服务时的提示不允许推理："
            "部署时请设 chat_template_kwargs: {enable_thinking: true}",
        ),
    }


MOST_LABELS = 20
"""Labels that a line lists."""

UNEVEN = 5
"""How many times as many rows the most frequent label has, from which labels count as uneven: a
classifier that always says it is right in 5 of 6 rows."""

CHINESE_KINDS = {
    "reasoning_content": "推理（reasoning_content）",
    "reasoning": "推理",
    "tool call name": "工具调用的名称",
    "tool call arguments": "工具调用的参数",
    "content": "正文",
    "system text": "系统提示",
    "user text": "用户内容",
    "tool result": "工具结果",
    "tool definitions": "工具定义",
}
"""Kinds of words in Chinese."""
