"""The gate in front of vLLM: the key on every path, and only this machine's own requests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from swiftbox.engines.middleware.swiftbox_gate import KEY, ONLY_LOCAL, ORIGINS, App, Gate
from swiftbox.serving.guards import AccessRules, Guard


class GateUnderTest:
    """Requests to a gate in front of an application that answers everything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
        for name in (KEY, ONLY_LOCAL, ORIGINS):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        self.app: App = Gate(self.answer)

    async def answer(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    def status(self, path: str, method: str = "POST", kind: str = "http", **headers: str) -> int:
        """Return the status of an answer, or the code that closed a WebSocket."""
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": kind, "path": path, "method": method, "headers": pairs}
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {}

        asyncio.run(self.app(scope, receive, send))
        return int(sent[0].get("status") or sent[0]["code"])


PATHS = ("/v1/models", "/invocations", "/tokenize", "/metrics", "/v1/load_lora_adapter", "/docs")


@pytest.mark.parametrize("path", PATHS)
def test_every_path_but_the_health_requires_the_key(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = GateUnderTest(monkeypatch, VLLM_API_KEY="sk-1")
    assert gate.status(path) == 401
    assert gate.status(path, authorization="Bearer sk-2") == 401
    assert gate.status(path, authorization="Basic sk-1") == 401
    assert gate.status(path, authorization="bearer sk-1") == 200
    assert gate.status(path, method="OPTIONS") == 200
    assert gate.status("/health") == 200


def test_a_server_without_a_key_answers_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GateUnderTest(monkeypatch).status("/v1/models", host="example.org") == 200


def test_only_this_machine_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = GateUnderTest(monkeypatch, SWIFTBOX_ONLY_LOCAL="1")
    hosts = {"localhost:8000": 200, "127.0.0.1:8000": 200, "[::1]:8000": 200}
    hosts |= {"evil.example:8000": 421, "127.0.0.1.evil.example": 421, "[": 421}
    hosts |= {"127.0.0.2:8000": 200, "127.1:8000": 421, "127.0.0.1.5": 421, "128.0.0.1": 421}
    hosts |= {"localhost.:8000": 200}
    assert {host: gate.status("/v1/models", host=host) for host in hosts} == hosts
    assert gate.status("/v1/models", origin="https://evil.example") == 403
    assert gate.status("/v1/models", origin="http://localhost:3000") == 200


def test_the_guard_of_our_servers_judges_hosts_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = GateUnderTest(monkeypatch, SWIFTBOX_ONLY_LOCAL="1")
    guard = GateUnderTest(monkeypatch)
    guard.app = Guard(guard.answer, AccessRules(None, 1, only_local=True))
    hosts = ("localhost", "127.0.0.2:80", "127.1", "[::1]", "[", "::1", "localhost.", "0.0.0.0")
    for host in (*hosts, "127.0.0.1.5", "127.a.b.c", "LOCALHOST:1", "a@localhost", ""):
        assert gate.status("/v1/models", host=host) == guard.status("/v1/models", host=host), host


def test_pages_of_allowed_origins_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = json.dumps(["https://chat.example"])
    gate = GateUnderTest(monkeypatch, SWIFTBOX_ONLY_LOCAL="1", SWIFTBOX_ALLOWED_ORIGINS=origins)
    assert gate.status("/v1/models", origin="https://chat.example") == 200
    assert gate.status("/v1/models", origin="https://other.example") == 403


def test_a_websocket_without_the_key_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        GateUnderTest(monkeypatch, VLLM_API_KEY="sk-1").status("/v1/realtime", kind="websocket")
        == 1008
    )
