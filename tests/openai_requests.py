"""Requests by the official client: every parameter of OpenAI's, and what becomes of it."""

from __future__ import annotations

from typing import Any

TALK: list[Any] = [
    {"role": "system", "content": "You encode."},
    {"role": "user", "content": "what does the json module do"},
]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def json_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def named_tool(tool: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool}}


WORKS: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"temperature": 0.0}),
    ("chat", {"temperature": 2.0, "seed": 1}),
    ("chat", {"top_p": 0.5, "temperature": 1, "seed": 2}),
    ("chat", {"n": 3, "temperature": 1}),
    ("chat", {"stop": "x"}),
    ("chat", {"stop": ["x", "json", "世"]}),
    ("chat", {"max_tokens": 1}),
    ("chat", {"max_completion_tokens": 3}),
    ("chat", {"presence_penalty": 1.5, "frequency_penalty": -1.0}),
    ("chat", {"logit_bias": {"5": 50}}),
    ("chat", {"logprobs": True}),
    ("chat", {"logprobs": True, "top_logprobs": 5}),
    ("chat", {"user": "me", "metadata": {"a": "b"}, "parallel_tool_calls": True}),
    ("chat", {"store": False, "service_tier": "auto", "modalities": ["text"]}),
    ("chat", {"response_format": {"type": "text"}}),
    ("chat", {"response_format": {"type": "json_object"}}),
    ("chat", {"response_format": json_schema({"enum": ["a", "b"]})}),
    ("chat", {"tools": [TOOL], "tool_choice": "required"}),
    ("chat", {"tools": [TOOL], "tool_choice": named_tool("look")}),
    ("chat", {"tools": [TOOL], "tool_choice": "auto"}),
    ("chat", {"tools": [TOOL], "tool_choice": "none"}),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}),
    ("chat", {"extra_body": {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2}}),
    ("chat", {"extra_body": {"ignore_eos": True, "stop_token_ids": [3]}}),
    ("chat", {"extra_body": {"return_token_ids": True}}),
    ("chat", {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}),
    ("chat", {"stream": True, "stream_options": {"include_usage": True}}),
    ("text", {"prompt": ["a", "b"]}),
    ("text", {"prompt": [5, 6, 7]}),
    ("text", {"prompt": [[5, 6], [7]]}),
    ("text", {"logprobs": 3}),
    ("text", {"n": 2, "temperature": 1, "best_of": 1, "echo": False}),
    ("text", {"stop": ["x"], "seed": 3, "presence_penalty": 0.5}),
    ("text", {"stream": True}),
]

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"temperature": 3}, "temperature: should be at most 2 (got 3)"),
    ("chat", {"top_p": 0}, "top_p: should be more than 0"),
    ("chat", {"n": 0}, "n: should be at least 1"),
    ("chat", {"n": 99}, "n: at most 16 answers at once"),
    ("chat", {"max_tokens": 0}, "max_tokens: should be at least 1"),
    ("chat", {"max_tokens": 5000}, "more than 1024"),
    ("chat", {"messages": []}, "messages: should have at least 1"),
    ("chat", {"messages": [{"role": "user", "content": "json " * 3000}]}, "the limit including"),
    ("chat", {"stop": ""}, "stop"),
    ("chat", {"stop": ["x"] * 17}, "stop"),
    ("chat", {"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ("chat", {"presence_penalty": 3}, "presence_penalty"),
    ("chat", {"logit_bias": {"5": 101}}, "logit_bias"),
    ("chat", {"logit_bias": {"99999": 1}}, "logit_bias: unknown token id"),
    ("chat", {"response_format": {"type": "grammar"}}, 'response_format: should be {"type": "te'),
    ("chat", {"response_format": {"type": "json_schema", "json_schema": 3}}, "response_format: sh"),
    (
        "chat",
        {"response_format": json_schema({"not": {}})},
        "response_format: the schema is not supp",
    ),
    ("chat", {"tool_choice": "required"}, "tool_choice: required needs tools"),
    ("chat", {"tool_choice": "always", "tools": [TOOL]}, 'tool_choice: should be "auto", "none"'),
    ("chat", {"tool_choice": named_tool("x"), "tools": [TOOL]}, "no tool named x; tools: look"),
    ("text", {"extra_body": {"response_format": {}}}, "is not a known parameter"),
    ("chat", {"functions": [TOOL["function"]]}, "functions: not supported: use `tools`"),
    ("chat", {"modalities": ["audio"]}, "text only"),
    ("chat", {"audio": {"voice": "a", "format": "wav"}}, "text only"),
    ("chat", {"prediction": {"type": "content", "content": "x"}}, "prediction: not supported"),
    ("chat", {"reasoning_effort": "low"}, "chat_template_kwargs"),
    ("text", {"extra_body": {"reasoning_effort": "low"}}, "is not a known parameter"),
    ("chat", {"store": True}, "store: not supported"),
    ("chat", {"web_search_options": {}}, "web_search_options"),
    ("chat", {"stream_options": {"include_usage": True}}, "only with stream"),
    ("chat", {"extra_body": {"tempratur": 1}}, "tempratur: is not a known parameter"),
    ("chat", {"extra_body": {"chat_template_kwargs": {"chat_template": "x"}}}, "cannot be set"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "only text"),
    ("text", {"echo": True}, "echo: not supported"),
    ("text", {"suffix": "x"}, "suffix: not supported"),
    ("text", {"best_of": 3}, "best_of: not supported"),
    ("text", {"prompt": ""}, "prompt: should not be empty"),
    ("text", {"prompt": []}, "prompt: should not be empty"),
    ("text", {"prompt": [100000]}, "prompt: token ids range from 0 to 599"),
    ("text", {"prompt": ["a"] * 20}, "at most 16 answers"),
]
