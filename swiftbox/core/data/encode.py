"""Tokenize examples into rows, with labels on the tokens to learn. Shapes: T tokens of a row.

The chat template is always the tokenizer's own, so training and serving render alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers.utils.chat_template_utils import render_jinja_template

from swiftbox.core.data.samples import (
    IGNORED,
    LabeledAnswer,
    PreferencePair,
    PromptSample,
    TokenRow,
)
from swiftbox.data.example import Example, Turn
from swiftbox.data.preferences import shared_turns
from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.templates.limits import TimeLimit, explained, require_length, template_owner

TOKENIZER_BATCH = 1000
"""Texts per tokenizer call: enough to keep its threads busy, small enough for memory."""

Span = tuple[int, int]


def encode_texts(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[TokenRow]:
    """Tokenize raw texts, each ended with the end-of-text token and split at max_length."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    encoded: list[TokenRow] = []
    for first in range(0, len(texts), TOKENIZER_BATCH):
        batch = tokenizer(
            list(texts[first : first + TOKENIZER_BATCH]),
            add_special_tokens=False,
            return_attention_mask=False,
        )
        for ids in batch["input_ids"]:
            tokens = np.asarray(ids + end, dtype=np.int32)
            starts = range(0, len(tokens), max_length)
            pieces = [tokens[start : start + max_length] for start in starts]
            encoded += [TokenRow(piece, piece) for piece in pieces]
    return encoded


@dataclass(frozen=True)
class Chat:
    """A conversation to encode; assistant turns from message `learned_from` on are learned.

    With `prompt` it is rendered as a prompt for the next answer (add_generation_prompt).
    """

    messages: tuple[Turn, ...]
    tools: tuple[Any, ...] = ()
    learned_from: int = 0
    prompt: bool = False


def encode_chats(
    chats: Sequence[Chat], tokenizer: Any, *, train_on_prompt: bool = False
) -> list[TokenRow]:
    """Render conversations with the chat template and label the assistant's turns.

    Raises DataError if the assistant's turns cannot be located in the rendered text.
    """
    template = chat_template(tokenizer)
    _require_offsets(tokenizer)
    encoded = []
    for first in range(0, len(chats), TOKENIZER_BATCH):
        part = chats[first : first + TOKENIZER_BATCH]
        rendered = _render_all(template, part, tokenizer)
        batch = tokenizer(
            [conversation for conversation, _ in rendered],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        for (_, spans), ids, offsets in zip(
            rendered, batch["input_ids"], batch["offset_mapping"], strict=True
        ):
            tokens = np.asarray(ids, dtype=np.int32)
            learned = None if train_on_prompt else _inside(spans, offsets)
            labels = tokens if learned is None else np.where(learned, tokens, IGNORED)
            encoded.append(TokenRow(tokens, labels.astype(np.int32)))
    return encoded


def _render_all(
    template: str, chats: Sequence[Chat], tokenizer: Any
) -> list[tuple[str, list[Span]]]:
    """Render conversations, each within the limits of time and length."""
    owner, rendered = template_owner(tokenizer), []
    with explained(owner), TimeLimit() as limit:
        for chat in chats:
            limit.restart()
            content, spans = render(template, chat, tokenizer)
            require_length(content, chat, owner)
            rendered.append((content, spans))
    return rendered


def _require_offsets(tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        raise DataError(
            text(
                "this tokenizer does not report the character offsets of its tokens",
                "该分词器不提供 token 在文本中的位置",
            ),
            hint=text(
                "use the model's fast tokenizer (tokenizer.json)",
                "请使用该模型的快速分词器（tokenizer.json）",
            ),
        )


def encode_pairs(
    examples: Sequence[Example], tokenizer: Any, *, learns_prompt: bool = False
) -> list[PreferencePair]:
    """Encode preference pairs; the turns that both conversations start with are the prompt."""
    chats = []
    for example in examples:
        answer = shared_turns(example.messages, example.rejected)
        chats += [
            Chat(example.messages, example.tools, answer),
            Chat(example.rejected, example.tools, answer),
        ]
    rows = encode_chats(chats, tokenizer)
    return [
        PreferencePair(chosen, rejected, example.margin or 0.0, learns_prompt)
        for example, chosen, rejected in zip(examples, rows[::2], rows[1::2], strict=True)
    ]


def encode_labeled_answers(examples: Sequence[Example], tokenizer: Any) -> list[LabeledAnswer]:
    """Encode labeled answers: what the assistant says after the last user turn."""
    chats = [
        Chat(example.messages, example.tools, last_answer(example.messages)) for example in examples
    ]
    rows = encode_chats(chats, tokenizer)
    return [
        LabeledAnswer(row, bool(example.label)) for example, row in zip(examples, rows, strict=True)
    ]


def last_answer(messages: Sequence[Turn]) -> int:
    """Return the index of the message after the last user turn."""
    return 1 + max(index for index, turn in enumerate(messages) if turn.role == "user")


def encode_prompts(examples: Sequence[Example], tokenizer: Any) -> list[PromptSample]:
    """Encode prompts with the generation prompt appended; keep their other columns."""
    chats = [Chat(example.messages, example.tools, prompt=True) for example in examples]
    rows = encode_chats(chats, tokenizer)
    return [
        PromptSample(row, tuple(turn.to_dict() for turn in example.messages), dict(example.columns))
        for example, row in zip(examples, rows, strict=True)
    ]


def chat_template(tokenizer: Any) -> str:
    """Return the tokenizer's chat template; raise DataError if it has none."""
    if not tokenizer.chat_template:
        raise DataError(
            text(
                "the model's tokenizer has no chat template (it looks like a base model)",
                "该模型的分词器没有对话模板（看起来是基座模型）",
            ),
            hint=text(
                "set template: chatml (saved with the model), or use an -Instruct model",
                "设 template: chatml（会随模型保存），或换用 -Instruct 模型",
            ),
        )
    return str(tokenizer.get_chat_template())


def render(template: str, chat: Chat, tokenizer: Any) -> tuple[str, list[Span]]:
    """Render a conversation; return its text and the character spans to learn."""
    messages = [message.to_dict() for message in chat.messages]
    has_tools = chat.tools or any("tool_calls" in message for message in messages)
    if has_tools and "tool" not in template:
        raise DataError(
            text(
                "the chat template does not support tools, but the data has tool calls",
                "对话模板不支持工具，但数据中有工具调用",
            ),
            hint=text(
                "use the model's own template (template: auto) or a .jinja file that renders them",
                "使用模型自带模板（template: auto）或能渲染工具的 .jinja 文件",
            ),
        )
    renderer = _Renderer(template, tokenizer, chat.tools)
    if chat.prompt:
        return renderer.render(messages, prompt=True)[0], []
    answers = [index for index, turn in enumerate(messages) if turn["role"] == "assistant"]
    learned = [index for index in answers if index >= chat.learned_from]
    marked = re.search(r"\{%-?\s*generation\s*-?%\}", template) is not None
    rendered, marks = renderer.render(messages, marked=marked)
    if marked and (len(learned) == len(answers) or len(marks) == len(answers)):
        return rendered, [(start, end) for start, end in marks[len(answers) - len(learned) :]]
    return rendered, [renderer.turn_span(messages, index, rendered) for index in learned]


@dataclass(frozen=True)
class _Renderer:
    """A tokenizer's chat template with the tools of one conversation."""

    template: str
    tokenizer: Any
    tools: tuple[Any, ...]

    def render(
        self, messages: list[dict[str, Any]], *, prompt: bool = False, marked: bool = False
    ) -> tuple[str, list[Span]]:
        """Return the text of the messages and, with `marked`, the spans of generation blocks."""
        special: Mapping[str, Any] = self.tokenizer.special_tokens_map
        if not messages:
            return "", []
        rendered, marks = render_jinja_template(
            conversations=[messages],
            tools=list(self.tools) or None,
            chat_template=self.template,
            add_generation_prompt=prompt,
            return_assistant_tokens_mask=marked,
            **special,
        )
        return rendered[0], (marks[0] if marked else [])

    def turn_span(self, messages: list[dict[str, Any]], index: int, rendered: str) -> Span:
        """Locate an assistant turn in the rendered conversation.

        The turn is the difference of two shorter renderings, both prefixes of the full one.
        """
        before, _ = self.render(messages[:index], prompt=True)
        after, _ = self.render(messages[: index + 1])
        if rendered.startswith(before) and after.startswith(before):
            if rendered.startswith(after):
                return len(before), len(after)
            # Reasoning templates (Qwen3) render the last turn differently from an earlier one.
            # The turn's content and its closing tokens must then follow the prompt directly.
            content = str(messages[index].get("content") or "").strip()
            closing = after[after.rfind(content) + len(content) :] if content else None
            if closing is not None and rendered.startswith(content + closing, len(before)):
                return len(before), len(before) + len(content) + len(closing)
        name = template_owner(self.tokenizer)
        raise DataError(
            text(
                f"the chat template of {name} changes earlier turns as the conversation grows: "
                f"turn {index + 1} cannot be located",
                f"{name} 的对话模板会随对话增长改写之前的轮次：无法确定第 {index + 1} 轮的起止",
            ),
            hint=text(
                "use a template with {% generation %} marks (template: file.jinja), "
                "or train_on_prompt: true",
                "使用带 {% generation %} 标记的模板（template: file.jinja），"
                "或设 train_on_prompt: true",
            ),
        )


def _inside(spans: Sequence[Span], offsets: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Mark the tokens that start inside one of the character spans."""
    starts = np.fromiter((start for start, _ in offsets), dtype=np.int64, count=len(offsets))
    learned = np.zeros(len(offsets), dtype=np.bool_)  # (T,)
    for start, end in spans:
        learned |= (starts >= start) & (starts < end)
    return learned
