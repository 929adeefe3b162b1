"""From examples to rows of tokens with the mask of what is learned. Shapes: T tokens of a row.

Templates are always the tokenizer's own: what trains is what serves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers.utils.chat_template_utils import render_jinja_template

from swiftbox.core.data.samples import IGNORED, Judged, Pair, Prompt, Row
from swiftbox.data.example import Example, Message
from swiftbox.data.preferences import shared_turns
from swiftbox.errors import DataError
from swiftbox.language import text

BATCH = 1000
"""Texts per call of the tokenizer: enough to keep its threads busy, small enough for memory."""

Span = tuple[int, int]


def encode_texts(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[Row]:
    """Tokenize raw texts, each ended by the end-of-text token and split at max_length."""
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    encoded: list[Row] = []
    for first in range(0, len(texts), BATCH):
        batch = tokenizer(
            list(texts[first : first + BATCH]),
            add_special_tokens=False,
            return_attention_mask=False,
        )
        for ids in batch["input_ids"]:
            tokens = np.asarray(ids + end, dtype=np.int32)
            pieces = [tokens[at : at + max_length] for at in range(0, len(tokens), max_length)]
            encoded += [Row(piece, piece) for piece in pieces]
    return encoded


@dataclass(frozen=True)
class Chat:
    """A conversation to encode; assistant turns from message number `learned_from` on are learned.

    With `prompt` the whole of it is a prompt: it ends with the words that call for an answer.
    """

    messages: tuple[Message, ...]
    tools: tuple[Any, ...] = ()
    learned_from: int = 0
    prompt: bool = False


def encode_chats(
    chats: Sequence[Chat], tokenizer: Any, *, train_on_prompt: bool = False
) -> list[Row]:
    """Render conversations with the chat template and mark the assistant's turns as learned.

    Raises DataError where the template cannot tell what the assistant said.
    """
    template = chat_template(tokenizer)
    _require_offsets(tokenizer)
    encoded = []
    for first in range(0, len(chats), BATCH):
        rendered = [render(template, one, tokenizer) for one in chats[first : first + BATCH]]
        batch = tokenizer(
            [whole for whole, _ in rendered],
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
            encoded.append(Row(tokens, labels.astype(np.int32)))
    return encoded


def _require_offsets(tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        raise DataError(
            text(
                "this tokenizer cannot tell where its tokens stand in the text",
                "该分词器无法给出 token 在文本中的位置",
            ),
            hint=text(
                "use the model's fast tokenizer (tokenizer.json)",
                "请使用该模型的快速分词器（tokenizer.json）",
            ),
        )


def encode_pairs(
    examples: Sequence[Example], tokenizer: Any, *, learns_prompt: bool = False
) -> list[Pair]:
    """Encode preferences; what both conversations begin with is their prompt."""
    chats = []
    for one in examples:
        begins = shared_turns(one.messages, one.rejected)
        chats += [Chat(one.messages, one.tools, begins), Chat(one.rejected, one.tools, begins)]
    rows = encode_chats(chats, tokenizer)
    return [
        Pair(chosen, rejected, one.margin or 0.0, learns_prompt)
        for one, chosen, rejected in zip(examples, rows[::2], rows[1::2], strict=True)
    ]


def encode_judged(examples: Sequence[Example], tokenizer: Any) -> list[Judged]:
    """Encode judged answers: what the assistant says after the last user's turn."""
    chats = [Chat(one.messages, one.tools, last_answer(one.messages)) for one in examples]
    rows = encode_chats(chats, tokenizer)
    return [Judged(row, bool(one.label)) for one, row in zip(examples, rows, strict=True)]


def last_answer(messages: Sequence[Message]) -> int:
    """Return the number of the message after the last user's turn."""
    return 1 + max(at for at, one in enumerate(messages) if one.role == "user")


def encode_prompts(examples: Sequence[Example], tokenizer: Any) -> list[Prompt]:
    """Encode prompts with the words that call for an answer; their other columns go along."""
    rows = encode_chats([Chat(one.messages, one.tools, prompt=True) for one in examples], tokenizer)
    return [
        Prompt(row, tuple(turn.to_dict() for turn in one.messages), dict(one.columns))
        for one, row in zip(examples, rows, strict=True)
    ]


def chat_template(tokenizer: Any) -> str:
    """Return the tokenizer's chat template; raise DataError when it has none."""
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
    """Return the rendered conversation and the character spans of what is learned of it."""
    messages = [message.to_dict() for message in chat.messages]
    tools = list(chat.tools) if chat.tools else None
    if "tool" not in template and (tools or any("tool_calls" in one for one in messages)):
        raise DataError(
            text(
                "the chat template knows no tools, but the data has tool calls",
                "对话模板不支持工具，但数据中有工具调用",
            ),
            hint=text(
                "use the model's own template (template: auto) or a .jinja file that renders them",
                "使用模型自带模板（template: auto）或能渲染工具的 .jinja 文件",
            ),
        )
    if chat.prompt:
        return _render(template, messages, tools, tokenizer, prompt=True)[0], []
    said = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    learned = [at for at in said if at >= chat.learned_from]
    marked = re.search(r"\{%-?\s*generation\s*-?%\}", template) is not None
    whole, marks = _render(template, messages, tools, tokenizer, marked=marked)
    if marked and (len(learned) == len(said) or len(marks) == len(said)):
        return whole, [(start, end) for start, end in marks[len(said) - len(learned) :]]
    spans = [
        _turn(template, messages, tools, tokenizer, whole=whole, index=index) for index in learned
    ]
    return whole, spans


def _turn(
    template: str,
    messages: list[dict[str, Any]],
    tools: list[Any] | None,
    tokenizer: Any,
    *,
    whole: str,
    index: int,
) -> Span:
    """Find one assistant turn as the difference of two renderings, both prefixes of the whole."""
    before, _ = _render(template, messages[:index], tools, tokenizer, prompt=True)
    after, _ = _render(template, messages[: index + 1], tools, tokenizer)
    if whole.startswith(before) and after.startswith(before):
        if whole.startswith(after):
            return len(before), len(after)
        # Reasoning templates (Qwen3) render the last turn differently from an earlier one: the
        # turn's own words and what closes it must then stand in the whole, right after the prompt.
        said = str(messages[index].get("content") or "").strip()
        closing = after[after.rfind(said) + len(said) :] if said else None
        if closing is not None and whole.startswith(said + closing, len(before)):
            return len(before), len(before) + len(said) + len(closing)
    name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    raise DataError(
        text(
            f"the chat template of {name} changes earlier turns as the conversation grows: "
            f"where turn {index + 1} begins and ends cannot be told",
            f"{name} 的对话模板会随对话增长改写之前的轮次：无法确定第 {index + 1} 轮的起止",
        ),
        hint=text(
            "use a template with {% generation %} marks (template: file.jinja), "
            "or train_on_prompt: true",
            "使用带 {% generation %} 标记的模板（template: file.jinja），"
            "或设 train_on_prompt: true",
        ),
    )


def _render(
    template: str,
    messages: list[dict[str, Any]],
    tools: list[Any] | None,
    tokenizer: Any,
    *,
    prompt: bool = False,
    marked: bool = False,
) -> tuple[str, list[Span]]:
    special: Mapping[str, Any] = tokenizer.special_tokens_map
    if not messages:
        return "", []
    rendered, marks = render_jinja_template(
        conversations=[messages],
        tools=tools,
        chat_template=template,
        add_generation_prompt=prompt,
        return_assistant_tokens_mask=marked,
        **special,
    )
    return rendered[0], (marks[0] if marked else [])


def _inside(spans: Sequence[Span], offsets: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Mark the tokens that begin inside one of the character spans."""
    starts = np.fromiter((start for start, _ in offsets), dtype=np.int64, count=len(offsets))
    learned = np.zeros(len(offsets), dtype=np.bool_)  # (T,)
    for start, end in spans:
        learned |= (starts >= start) & (starts < end)
    return learned
