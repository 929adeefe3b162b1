"""A server whose device fails says so, and ends with the reason."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import torch
from box import until
from own_server import serving

from swiftbox.core.generation import device_access
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.core.generation.requests import OUT_OF_MEMORY
from swiftbox.errors import MachineError
from swiftbox.serving.api_errors import failed
from swiftbox.serving.app import application
from swiftbox.serving.client import health
from swiftbox.serving.guards import AccessRules

MESSAGE = "CUDA error: unspecified launch failure"


def fail(*_: Any) -> Any:
    raise torch.AcceleratorError(MESSAGE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_ends_with_the_reason_when_its_device_fails(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchCache, "forward", fail)
    monkeypatch.setattr(device_access, "device_failure", lambda _: MESSAGE)
    with serving(tiny) as server:
        with (
            server.client() as client,
            pytest.raises(openai.InternalServerError, match="the device failed") as raised,
        ):
            client.completions.create(model="tiny", prompt="The json", max_tokens=5)
        assert raised.value.status_code == 503
        until(lambda: server.error is not None, what="the end of the server")
    assert isinstance(server.error, MachineError)
    assert MESSAGE in server.error.message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_idle_server_whose_device_fails_ends_when_its_health_is_asked(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tiny) as server:
        monkeypatch.setattr(device_access, "device_failure", lambda _: MESSAGE)
        health(server.url)
        until(lambda: server.error is not None, what="the end of the server")
    assert isinstance(server.error, MachineError)
    assert MESSAGE in server.error.message


def test_health_gives_the_reason_why_nothing_is_computed() -> None:
    limits = SimpleNamespace(rows=4, length=64)
    state = {"alive": False, "failure": MESSAGE, "running": 0, "waiting": 0, "limits": limits}
    scheduler = SimpleNamespace(**state, probe_if_idle=lambda: None)
    service: Any = SimpleNamespace(scheduler=scheduler, may_load=False)
    app: Any = application(service, AccessRules(None, 100))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/health", "raw_path": b"/health"}
    scope |= {"headers": [(b"host", b"localhost")], "query_string": b"", "http_version": "1.1"}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["reason"] == MESSAGE


def test_an_answer_without_memory_gets_a_503_and_another_error_a_500() -> None:
    without_memory, other = failed(OUT_OF_MEMORY), failed("ValueError")
    assert (without_memory.status, without_memory.code) == (503, "out_of_memory")
    assert (other.status, other.code) == (500, None)
    assert "ValueError" in other.message
