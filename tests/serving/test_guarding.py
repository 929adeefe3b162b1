"""Invalid, oversized and unauthorised requests are refused and disturb no others."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from box import HANG_S, until
from openai import APIStatusError, AuthenticationError, NotFoundError, RateLimitError
from own_server import Server, serving

from swiftbox.serving import builtin_server

KEY = "sk-test-9f2c"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
LONG = {**ASK, "max_tokens": 1000, "ignore_eos": True}


@pytest.fixture(scope="module")
def locked(tiny: Path) -> Iterator[Server]:
    with serving(tiny, key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(tiny: Path) -> Iterator[Server]:
    """Two slots, and a queue of two."""
    with serving(tiny, max_concurrency=2, max_queue=2) as running:
        yield running


def send(
    server: Server, path: str, body: bytes | None, method: str = "POST", **headers: str
) -> tuple[int, dict[str, Any]]:
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=HANG_S)
    fields = {"Content-Type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def health(server: Server) -> dict[str, Any]:
    return send(server, "/health", None, "GET")[1]


def metric(server: Server, name: str) -> float:
    """Return the value of a counter of the server."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=HANG_S) as response:
        lines = response.read().decode().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"swiftbox_{name}_total ")]
    return float(value)


def opened(server: Server, body: dict[str, Any]) -> socket.socket:
    """Send a request on a raw socket and leave it open."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=HANG_S)
    raw = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    connection.sendall(head.encode() + raw)
    return connection


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", KEY, f"Basic {KEY}"])
def test_a_missing_or_wrong_key_is_401(
    path: str, authorization: str | None, locked: Server
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    status, answer = send(locked, path, json.dumps(ASK).encode(), **headers)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert KEY not in json.dumps(answer)


def test_everything_but_health_needs_the_key(locked: Server) -> None:
    for path in ("/v1/models", "/metrics", "/nothing"):
        assert send(locked, path, None, "GET")[0] == 401
    assert send(locked, "/health", None, "GET")[0] == 200
    with locked.client("wrong") as client, pytest.raises(AuthenticationError):
        client.models.list()
    with locked.client(KEY) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "should be a JSON object"),
        (b"{}", "model: is required"),
        (b'{"model": 3, "messages": [{"role": "user"}]}', "model: should be a text"),
        (b'{"model": "tiny", "messages": "hi"}', "messages: should be a list"),
        (b'{"model": "tiny", "messages": [{}], "temperature": NaN}', "temperature"),
    ],
)
def test_malformed_requests_are_400(raw: bytes, why: str, narrow: Server) -> None:
    status, answer = send(narrow, "/v1/chat/completions", raw)
    assert status == 400
    assert why in answer["error"]["message"]


def test_other_content_types_are_refused(narrow: Server) -> None:
    body = json.dumps(ASK).encode()
    assert send(narrow, "/v1/chat/completions", body, Content_Type="text/plain")[0] == 400


def test_unknown_paths_and_methods_are_errors_of_the_same_format(narrow: Server) -> None:
    for path, method, status in (("/v2", "GET", 404), ("/v1/completions", "GET", 405)):
        actual, answer = send(narrow, path, None, method)
        assert actual == status
        assert answer["error"]["message"]


def test_a_body_that_is_too_large_is_413_with_or_without_its_length(narrow: Server) -> None:
    large = json.dumps({**ASK, "user": "x" * (5 * 2**20)}).encode()
    host = narrow.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=HANG_S)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(large)))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    connection = http.client.HTTPConnection(host, timeout=HANG_S)
    pieces = (large[at : at + 65536] for at in range(0, len(large), 65536))
    status = None
    try:
        connection.request(
            "POST",
            "/v1/chat/completions",
            pieces,
            {"Content-Type": "application/json"},
            encode_chunked=True,
        )
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # it did not wait for the rest
    connection.close()
    assert status == 413
    assert health(narrow)["running"] == 0


def test_a_full_queue_is_429_with_a_time_to_retry(narrow: Server) -> None:
    left = [opened(narrow, LONG) for _ in range(2)]
    until(lambda: health(narrow)["running"] == 2, what="both slots in use")
    left += [opened(narrow, LONG) for _ in range(2)]
    until(lambda: health(narrow)["waiting"] == 2, what="a full queue")
    with narrow.client() as client, pytest.raises(RateLimitError) as caught:
        client.chat.completions.create(**ASK)
    assert int(caught.value.response.headers["retry-after"]) >= 1
    for connection in left:
        connection.close()
    until(lambda: health(narrow)["running"] == 0, what="free slots")
    with narrow.client() as client:
        assert client.chat.completions.create(**ASK).choices[0].finish_reason


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_disconnects_frees_its_slot(stream: bool, narrow: Server) -> None:
    connection = opened(narrow, {**LONG, "stream": stream})
    until(lambda: health(narrow)["running"] == 1, what="a slot in use")
    cancelled, finished = (metric(narrow, f"requests_{end}") for end in ("cancelled", "finished"))
    connection.close()
    until(lambda: health(narrow)["running"] == 0, what="a free slot")
    assert metric(narrow, "requests_cancelled") == cancelled + 1
    assert metric(narrow, "requests_finished") == finished


def test_adapters_are_models_that_can_be_loaded_and_unloaded(tiny: Path, tmp_path: Path) -> None:
    first, second = (make_adapter(tiny, tmp_path / str(at), seed=at) for at in (1, 2))

    def answer_of(client: Any, model: str) -> str:
        keys = {**ASK, "model": model, "max_tokens": 20, "temperature": 0}
        return str(client.chat.completions.create(**keys).choices[0].message.content)

    with (
        serving(tiny, key=KEY, adapters={"first": first}, adapter_loading=True) as server,
        server.client(KEY) as client,
    ):
        assert {model.id for model in client.models.list()} == {"tiny", "first"}
        load = {"lora_name": "second.1", "lora_path": str(second)}
        busy = ThreadPoolExecutor(4)
        under_way = [busy.submit(answer_of, client, name) for name in ("tiny", "first") * 4]
        client.post("/load_lora_adapter", cast_to=str, body=load)
        answers = {name: answer_of(client, name) for name in ("tiny", "first", "second.1")}
        assert len(set(answers.values())) == 3
        assert {answer.result() for answer in under_way} == {answers["tiny"], answers["first"]}
        busy.shutdown()
        with pytest.raises(APIStatusError, match=r"second\.1 exists already"):
            client.post("/load_lora_adapter", cast_to=str, body=load)
        with pytest.raises(APIStatusError, match="no such folder"):
            client.post(
                "/load_lora_adapter", cast_to=str, body={"lora_name": "x", "lora_path": "/none"}
            )
        with pytest.raises(APIStatusError, match=r"has no adapter_config\.json"):
            client.post(
                "/load_lora_adapter", cast_to=str, body={"lora_name": "x", "lora_path": str(tiny)}
            )
        client.post("/unload_lora_adapter", cast_to=str, body={"lora_name": "second.1"})
        with pytest.raises(NotFoundError):
            answer_of(client, "second.1")
        assert {name: answer_of(client, name) for name in ("tiny", "first")} == {
            name: answers[name] for name in ("tiny", "first")
        }


def test_adapters_are_not_loaded_unless_the_yaml_allows_it(narrow: Server, tiny: Path) -> None:
    body = json.dumps({"lora_name": "x", "lora_path": str(tiny)}).encode()
    status, answer = send(narrow, "/v1/load_lora_adapter", body)
    assert status == 403
    assert "adapter_loading: true" in answer["error"]["message"]


def test_a_stop_lets_answers_end_and_takes_no_more(tiny: Path) -> None:
    with serving(tiny) as server, server.client() as client:
        answers: list[Any] = []
        keys = {**ASK, "max_tokens": 200, "extra_body": {"ignore_eos": True}}
        thread = threading.Thread(
            target=lambda: answers.append(client.chat.completions.create(**keys))
        )
        thread.start()
        until(lambda: health(server)["running"] == 1, what="a slot in use")
        server.stop.set()
        thread.join(HANG_S)
        assert answers[0].usage.completion_tokens == 200
    assert server.done["requests"] == 1
    with pytest.raises(OSError):
        send(server, "/health", None, "GET")


def test_a_stop_is_bounded(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin_server, "DRAIN_S", 0.2)
    with serving(tiny) as server:
        many = [opened(server, {**LONG, "stream": True}) for _ in range(16)]
        until(lambda: health(server)["running"] == 16, what="slots in use")
        server.stop.set()
        last = b"".join(iter(lambda: many[0].recv(65536), b""))
        assert b"the server is stopping" in last
        assert last.count(b"data:") < LONG["max_tokens"]
        for connection in many:
            connection.close()


@pytest.mark.slow
def test_a_thousand_requests_with_disconnecting_clients_disturb_nobody(tiny: Path) -> None:
    import random

    import psutil

    def request(server: Server, number: int) -> int:
        chooser = random.Random(number)
        count = chooser.randint(1, 60)
        body = {**ASK, "max_tokens": count, "ignore_eos": True, "stream": chooser.random() < 0.5}
        body["n"] = chooser.choice([1, 1, 1, 2])
        connection = opened(server, body)
        try:
            if chooser.random() < 0.3:
                connection.settimeout(chooser.random() * 0.05)
                with contextlib.suppress(TimeoutError):
                    connection.recv(10)
                return 0
            return int(connection.recv(4096).split()[1])
        finally:
            connection.close()

    with serving(tiny, max_concurrency=16) as server:
        memory = []
        for part in range(5):
            with ThreadPoolExecutor(32) as pool:
                numbers = range(part * 200, part * 200 + 200)
                statuses = set(pool.map(lambda number: request(server, number), numbers))
            assert statuses <= {0, 200}
            until(lambda: health(server)["running"] == 0, what="free slots")
            memory.append(psutil.Process().memory_info().rss)
        assert health(server)["waiting"] == 0
        print(f"memory after each 200 requests: {[size // 2**20 for size in memory]} MiB")
        assert memory[-1] < memory[1] * 1.1
    assert server.done["requests"] >= 900
    assert server.done["failed"] == 0
