"""The tokens of a prompt are asked from llama.cpp's server as it makes them for a request."""

from __future__ import annotations

import threading
from typing import Any, cast

from swiftbox.core.generation.parity import ParityPrompt
from swiftbox.serving.client import Endpoint
from swiftbox.serving.parity import RunningServer, tokens_of


class Server:
    """Records requests, and answers as llama.cpp's routes do."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append((path, body))
        return {"prompt": "<|user|>hi"} if path == "/apply-template" else {"tokens": [3, 4]}


def requests_for(request: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    server = Server()
    running = RunningServer(cast(Endpoint, server), threading.Event(), is_llama_cpp=True)
    assert tokens_of(running, "small", ParityPrompt("a", request, ())) == [3, 4]
    return server.requests


def test_a_conversation_is_rendered_and_what_begins_a_text_is_added() -> None:
    talk = {"messages": [{"role": "user", "content": "hi"}], "tools": []}
    assert requests_for(talk) == [
        ("/apply-template", {"model": "small", **talk}),
        ("/tokenize", {"content": "<|user|>hi", "add_special": True, "parse_special": True}),
    ]


def test_a_text_is_tokenized_as_it_is() -> None:
    assert requests_for({"prompt": "hi"}) == [
        ("/tokenize", {"content": "hi", "add_special": False, "parse_special": True})
    ]
