"""A row for a turn begins with the tokens that our server makes of the messages before the turn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import preferences
import pytest
from template_rows import wheel_names, wheel_source
from tiny import train_tokenizer

from swiftbox.core.data.encode import encode_conversations
from swiftbox.core.data.samples import IGNORED
from swiftbox.data.example import Example
from swiftbox.data.tool_calls import read_tools
from swiftbox.data.turns import read_turns
from swiftbox.serving.prompts import ConversationToRender, PromptBuilder
from swiftbox.serving.requests import ChatMessage
from swiftbox.templates.rendering_child import answer_to

CLOSES_THINKING = ("qwen3_5_nothink",)
"""Templates whose prompts forbid reasoning unless `enable_thinking` is set."""

WITHOUT_TOOLS = ("cohere", "cohere2", "gemma", "gemma3", "llava_next")
"""Templates that refuse the result of a tool."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

CALL = {
    "id": "abcdefghi",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Oslo"}},
}

CONVERSATIONS: dict[str, dict[str, Any]] = {
    "two turns": {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "It is 4."},
            {"role": "user", "content": "3+3?"},
            {"role": "assistant", "content": "It is 6."},
        ]
    },
    "reasoning": {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "reasoning_content": "two and two", "content": "4"},
            {"role": "user", "content": "3+3?"},
            {"role": "assistant", "reasoning_content": "three twice", "content": "6"},
            {"role": "user", "content": "4+4?"},
            {"role": "assistant", "reasoning_content": "four twice", "content": "8"},
        ]
    },
    "tools": {
        "messages": [
            {"role": "user", "content": "Is it warm in Oslo?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "abcdefghi", "name": "weather", "content": "3 C"},
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": "Thanks."},
            {"role": "assistant", "content": "Any time."},
        ],
        "tools": [WEATHER],
    },
}


def server_prompt(tokenizer: Any, messages: list[Any], tools: list[Any], **variables: Any) -> Any:
    """Return the tokens that the server makes of a request."""
    network: Any = SimpleNamespace(
        tokenizers={"": tokenizer}, vocabulary=len(tokenizer), variables={"": {}}
    )
    builder = PromptBuilder(network, max_length=100_000, max_answers=1)
    parsed = [ChatMessage.model_validate(message) for message in messages]
    talk = ConversationToRender(parsed, tools or None, variables or None)
    template = builder.template("", talk.tools)
    answer = answer_to(builder.rendering(talk, "", template))
    if answer.get("param") == "tools":  # refused, as the training counts them as dropped
        return server_prompt(tokenizer, messages, [], **variables)
    return builder.tokens(answer["text"], "", special=False) if "text" in answer else None


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizer = train_tokenizer()
    tokenizer.bos_token = tokenizer.pad_token  # some templates begin with it
    return tokenizer


@pytest.mark.parametrize("kind", CONVERSATIONS)
@pytest.mark.parametrize("name", wheel_names())
def test_each_row_begins_with_the_tokens_of_the_servers_prompt(
    name: str, kind: str, tokenizer: Any
) -> None:
    tokenizer.chat_template = wheel_source(name)
    row, conversation = CONVERSATIONS[kind], CONVERSATIONS[kind]["messages"]
    tools = read_tools(row)
    example = Example(tuple(read_turns(conversation)), tools)
    variables = {"enable_thinking": True} if name in CLOSES_THINKING else {}
    config = preferences.config(
        "sft", turns="each", lost_words="warn", chat_template_kwargs=variables
    )
    (encoded,) = encode_conversations([example], tokenizer, config)
    places = [at for at, message in enumerate(conversation) if message["role"] == "assistant"]
    prompts = [
        server_prompt(tokenizer, conversation[:place], list(tools), **variables) for place in places
    ]
    assert (encoded.error is not None) == (kind == "tools" and name in WITHOUT_TOOLS)
    if encoded.error is not None:
        assert encoded.error.kind == "template"
        return
    (sample,) = encoded.samples
    assert len(sample.rows) == len(places)
    for tokens, prompt in zip(sample.rows, prompts, strict=True):
        learned = [at for at, label in enumerate(tokens.labels) if label != IGNORED]
        assert prompt is not None
        assert tokens.input_ids[: len(prompt)].tolist() == prompt
        assert learned[0] == len(prompt)
        assert tokens.last_prompt.tolist() == prompt  # what a distillation answers
