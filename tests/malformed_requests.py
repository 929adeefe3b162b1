"""Requests with something wrong in them, by a seeded generator: any value at any place."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

HALF = "\ud83d"
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {}}}},
}

CHAT: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 1,
    "messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "3", "tool_call_id": "c"},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "response_format": {"type": "text"},
    "stop": ["x"],
    "logit_bias": {"5": 1},
    "stream": False,
    "stream_options": None,
    "temperature": 0,
    "top_p": 1,
    "n": 1,
    "seed": 1,
    "logprobs": True,
    "top_logprobs": 1,
    "stop_token_ids": [3],
    "chat_template_kwargs": {"a": 1},
    "reasoning_effort": None,
    "metadata": {"a": "b"},
}

TEXT: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 1,
    "prompt": ["a", "b"],
    "stop": "x",
    "logprobs": 1,
    "n": 1,
    "echo": False,
    "suffix": None,
    "presence_penalty": 0.5,
    "repetition_penalty": 1.1,
    "min_p": 0.1,
    "top_k": 4,
}

TOKENIZE: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hi"}],
    "prompt": None,
    "add_special_tokens": True,
    "add_generation_prompt": True,
}

BODIES = {"/v1/chat/completions": CHAT, "/v1/completions": TEXT, "/tokenize": TOKENIZE}


def _deep(levels: int) -> Any:
    value: Any = {}
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, -(2**70), 10**30, 0.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), -float("inf"), "", "a", "5", "\x00", HALF, f"a{HALF}b", "世", "🙂",
    "\u202e", "<|im_end|>", "{{ 1/0 }}", "x" * 5000, [], [[]], [None], [0], [-1], [10**20], ["a"],
    [HALF], [{}], [[5, 6], "a"], ["a", 5], {}, {"a": 1}, {HALF: 1}, {"": None}, {"type": "text"},
    {"type": "json_schema"}, {"type": []}, {"type": "function"}, {"role": "user"},
    {"content": {"a": []}}, {"0": 0}, {"-1": "a"}, {"a": HALF}, _deep(30), _deep(70), _deep(400),
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values inside a value."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, below in items:
        yield (*path, key)
        yield from _places(below, (*path, key))


def _replaced(body: dict[str, Any], path: tuple[Any, ...], chooser: random.Random) -> None:
    """Put another value at a place, remove it, or put it under another name."""
    target: Any = body
    try:
        for key in path[:-1]:
            target = target[key]
        change = chooser.random()
        if change < 0.8:
            target[path[-1]] = copy.deepcopy(chooser.choice(VALUES))
        elif change < 0.9:
            del target[path[-1]]
        else:
            name = chooser.choice(["", HALF, "x", "__class__"])
            target[name] = target[path[-1]]
            del target[path[-1]]
    except (TypeError, KeyError, IndexError):
        pass  # an earlier change of this body removed the place, or it is in a list


def _broken(raw: bytes, chooser: random.Random) -> bytes:
    """Break the text of a body: cut it, or change, double or insert bytes."""
    at = chooser.randrange(len(raw))
    return chooser.choice(
        [
            raw[:at],
            raw[:at] + bytes([chooser.randrange(256)]) + raw[at + 1 :],
            raw[:at] + b"[" * chooser.randrange(1, 3000) + raw[at:],
            raw[:at] + b"\xed\xa0\x80" + raw[at:],
            raw + raw,
            b"\xef\xbb\xbf" + raw,
            raw.decode("utf-8", "replace").encode("utf-16"),
        ]
    )


def malformed_requests(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the paths and bodies of requests; some few are valid by chance."""
    chooser = random.Random(seed)
    for _ in range(count):
        path = chooser.choice([*BODIES, "/v1/chat/completions"])
        body = copy.deepcopy(BODIES[path])
        places = list(_places(body))
        for _ in range(chooser.choice([1, 1, 1, 2, 4])):
            _replaced(body, chooser.choice(places), chooser)
        raw = json.dumps(body).encode()
        yield path, _broken(raw, chooser) if chooser.random() < 0.2 else raw
