"""Bodies of requests as clients really send them, recorded from them or read in their source.

langchain-openai 1.7 and litellm 1.110 were recorded by a proxy; open-webui's source was read.
"""

from __future__ import annotations

from typing import Any

USER = {"role": "user", "content": "How is it in Paris?"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {
            "properties": {"city": {"type": "string"}, "days": {"default": 1, "type": "integer"}},
            "required": ["city"],
            "type": "object",
        },
    },
}
PING = {"type": "function", "function": {"name": "ping", "description": "Without parameters."}}
PERSON: dict[str, Any] = {
    "properties": {
        "name": {"title": "Name", "type": "string"},
        "age": {"title": "Age", "type": "integer"},
    },
    "required": ["name", "age"],
    "title": "Person",
    "type": "object",
    "additionalProperties": False,
}


def call(arguments: Any, name: str = "weather", **keys: Any) -> dict[str, Any]:
    """Return an assistant's turn with a call, whose arguments are as a client sends them back."""
    function = {"name": name, "arguments": arguments}
    turn = {"role": "assistant", "content": None}
    return {**turn, "tool_calls": [{"id": "c1", "type": "function", "function": function}], **keys}


def result(content: Any = "sunny", **keys: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c1", "content": content, **keys}


def parts(text: str, **keys: Any) -> list[Any]:
    return [{"type": "text", "text": text, **keys}]


def schema_format(**keys: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "Person", "schema": PERSON, **keys}}


LANGCHAIN: dict[str, dict[str, Any]] = {
    "plain": {"stream": False, "max_completion_tokens": 80, "temperature": 0.0},
    "name": {"stream": False, "messages": [{**USER, "name": "bob"}]},
    "parts": {"stream": False, "messages": [{"role": "user", "content": parts("Hi")}]},
    "usage of a stream": {"stream": True, "stream_options": {"include_usage": True}},
    "every setting": {
        "stream": False, "frequency_penalty": 0.1, "logit_bias": {"5": 1}, "logprobs": True, "n": 2,
        "max_completion_tokens": 80, "presence_penalty": 0.1, "seed": 1, "stop": ["x"],
        "top_logprobs": 2, "top_p": 0.9, "service_tier": "auto", "store": False,
    },
    "tools": {"stream": False, "tools": [WEATHER, PING], "parallel_tool_calls": False},
    "strict tools": {
        "stream": False,
        "tools": [{"type": "function", "function": {**WEATHER["function"], "strict": True}}],
    },
    "turns with calls": {
        "stream": False, "tools": [WEATHER],
        "messages": [USER, call('{"city": "Paris"}'), result()],
    },
}  # fmt: skip

LITELLM: dict[str, dict[str, Any]] = {
    "both limits": {"max_tokens": 80, "max_completion_tokens": 50},
    "turns with calls": {
        "max_tokens": 80, "tools": [WEATHER],
        "messages": [
            USER, call("{}", reasoning_content="hm"), result(parts("sunny"), name="weather"),
        ],
    },
    "cached parts": {
        "max_tokens": 80,
        "messages": [
            {"role": "system", "content": parts("Hi", cache_control={"type": "ephemeral"})}, USER,
        ],
    },
    "settings": {"max_tokens": 80, "store": False, "modalities": ["text"], "top_k": 5},
}  # fmt: skip

OPEN_WEBUI: dict[str, dict[str, Any]] = {
    "chat": {
        "stream": True, "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Hi"}, USER],
    },
    "title": {"stream": False, "max_completion_tokens": 1000},
    "its settings": {
        "stream": False, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0,
        "max_tokens": 128, "frequency_penalty": 0.0, "presence_penalty": 0.0, "seed": 0,
        "stop": ["x"], "logit_bias": {},
    },
    "settings of Ollama": {
        "stream": False, "num_ctx": 4096, "num_batch": 512, "num_thread": 2, "num_gpu": 1,
        "num_keep": 24, "keep_alive": "5m", "use_mmap": True, "use_mlock": False,
        "mirostat": 0, "tfs_z": 1, "repeat_penalty": 1.0,
    },
    "native calls": {
        "stream": True, "tools": [WEATHER],
        "messages": [
            USER, {**call('{"city": "Paris"}', content=""), "tool_calls": [
                {"index": 0, **call('{"city": "Paris"}')["tool_calls"][0]}]}, result(),
        ],
    },
}  # fmt: skip

OTHERS: dict[str, dict[str, Any]] = {
    "arguments that are null": {
        "tools": [PING], "messages": [USER, call("null", "ping"), result("")],
    },
    "arguments that are empty": {
        "tools": [PING], "messages": [USER, call("", "ping"), result(None)],
    },
    "no calls in a list": {
        "tools": [WEATHER],
        "messages": [USER, {"role": "assistant", "content": "Fine.", "tool_calls": []}, USER],
    },
    "calls beside a list of no parts": {
        "tools": [WEATHER], "messages": [USER, call("{}", content=[]), result()],
    },
    "an empty answer": {"messages": [USER, {"role": "assistant", "content": ""}, USER]},
    "a dumped message": {
        "messages": [
            USER,
            {
                "role": "assistant", "content": "Fine.", "refusal": None, "annotations": None,
                "audio": None, "function_call": None, "tool_calls": None,
                "reasoning_content": "hm",
            },
            USER,
        ],
    },
    "OpenAI's own default": {"verbosity": "medium", "n": 2},
}  # fmt: skip

TAKEN = {
    f"{client}: {case}": {"model": "base", "messages": [USER], **body}
    for client, cases in (
        ("langchain", LANGCHAIN),
        ("litellm", LITELLM),
        ("open-webui", OPEN_WEBUI),
        ("others", OTHERS),
    )
    for case, body in cases.items()
}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"reasoning_effort": "low"}, "reasoning_effort: the chat template does not read it"),
    ({"reasoning": {"effort": "low"}}, "reasoning: not supported: use `reasoning_effort`"),
    ({"thinking": {"type": "enabled"}}, "thinking: not supported: use `reasoning_effort`"),
    ({"think": True}, "think: not supported: use `reasoning_effort`"),
    ({"mirostat": 2}, "mirostat: not supported: answers are sampled by `temperature`"),
    ({"repeat_penalty": 1.1}, "repeat_penalty: not supported: use `repetition_penalty`"),
    ({"num_predict": 80}, "num_predict: not supported: use `max_tokens`"),
    ({"format": "json"}, "format: not supported: use `response_format`"),
    ({"verbosity": "low"}, "verbosity: not supported"),
    ({"functions": [WEATHER["function"]]}, "functions: not supported: use `tools`"),
    ({"chat_id": "x"}, "chat_id: is not a known parameter"),
    (
        {"messages": [USER, call("[1]"), result()]},
        "messages[1].tool_calls: arguments should be an object",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content: only text is supported (got ['image_url'])",
    ),
]

COMPLETIONS: list[dict[str, Any]] = [
    {
        "prompt": ["Hello", "You"], "best_of": 2, "n": 2, "frequency_penalty": 0, "logprobs": None,
        "max_tokens": 8, "presence_penalty": 0, "seed": None, "temperature": 0.7, "top_p": 1,
    },
    {"prompt": "Hello", "echo": False, "best_of": 1, "logprobs": 1},
]  # fmt: skip

PATHS: list[tuple[str, str]] = [
    ("/chat/completions", "use /v1/chat/completions: base URLs end with /v1"),
    ("/v1/v1/chat/completions", "use /v1/chat/completions: base URLs end with /v1"),
    ("/v1/responses", "use /v1/chat/completions"),
    ("/v1/embeddings", "has no embeddings"),
    ("/v1/messages", "use /v1/chat/completions"),
    ("/v1/audio/speech", "text only"),
    ("/api/chat", "Ollama's API; use /v1/chat/completions"),
    ("/v1/other", "unknown path: /v1/other"),
]
