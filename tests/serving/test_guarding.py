"""What is wrong, too large, too much or unauthorised is answered so, and hurts nobody else."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from box import until
from openai import APIStatusError, AuthenticationError, NotFoundError, RateLimitError
from own_server import Server, serving

KEY = "sk-test-9f2c"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
LONG = {**ASK, "max_tokens": 1000, "ignore_eos": True}


@pytest.fixture(scope="module")
def locked(tiny: Path) -> Iterator[Server]:
    with serving(tiny, key=KEY) as one:
        yield one


@pytest.fixture(scope="module")
def narrow(tiny: Path) -> Iterator[Server]:
    """Two slots, and two may wait."""
    with serving(tiny, max_concurrency=2, max_queue=2) as one:
        yield one


def send(
    server: Server, path: str, body: bytes | None, method: str = "POST", **headers: str
) -> tuple[int, dict[str, Any]]:
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    said = {"Content-Type": "application/json"}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, said)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def health(server: Server) -> dict[str, Any]:
    return send(server, "/health", None, "GET")[1]


def opened(server: Server, body: dict[str, Any]) -> socket.socket:
    """Send a request by hand and leave it open."""
    host, port = server.url.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)), timeout=30)
    raw = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    found.sendall(head.encode() + raw)
    return found


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize"])
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer ", KEY, f"Basic {KEY}"])
def test_a_missing_or_wrong_key_is_401(path: str, given: str | None, locked: Server) -> None:
    headers = {"Authorization": given} if given else {}
    status, said = send(locked, path, json.dumps(ASK).encode(), **headers)
    assert (status, said["error"]["code"]) == (401, "invalid_api_key")
    assert KEY not in json.dumps(said)


def test_all_but_health_wants_the_key(locked: Server) -> None:
    for path in ("/v1/models", "/metrics", "/nothing"):
        assert send(locked, path, None, "GET")[0] == 401
    assert send(locked, "/health", None, "GET")[0] == 200
    with locked.client("wrong") as client, pytest.raises(AuthenticationError):
        client.models.list()
    with locked.client(KEY) as client:
        assert [one.id for one in client.models.list()] == ["tiny"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "should be a JSON object"),
        (b"{}", "model: Field required"),
        (b'{"model": 3, "messages": [{"role": "user"}]}', "model: Input should be"),
        (b'{"model": "tiny", "messages": "hi"}', "messages: Input should be"),
        (b'{"model": "tiny", "messages": [{}], "temperature": NaN}', "temperature"),
    ],
)
def test_what_is_malformed_is_400(raw: bytes, why: str, narrow: Server) -> None:
    status, said = send(narrow, "/v1/chat/completions", raw)
    assert status == 400
    assert why in said["error"]["message"]


def test_a_form_is_not_taken_for_json(narrow: Server) -> None:
    body = json.dumps(ASK).encode()
    assert send(narrow, "/v1/chat/completions", body, Content_Type="text/plain")[0] == 400


def test_paths_and_methods_that_are_not_there_are_told_in_the_same_shape(narrow: Server) -> None:
    for path, method, status in (("/v2", "GET", 404), ("/v1/completions", "GET", 405)):
        found, said = send(narrow, path, None, method)
        assert found == status
        assert said["error"]["message"]


def test_a_body_that_is_too_large_is_413_by_its_length_or_as_it_comes(narrow: Server) -> None:
    large = json.dumps({**ASK, "user": "x" * (5 * 2**20)}).encode()
    host = narrow.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(large)))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    connection = http.client.HTTPConnection(host, timeout=30)
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


def test_the_queue_is_full_at_429_with_when_to_come_back(narrow: Server) -> None:
    left = [opened(narrow, LONG) for _ in range(2)]
    until(lambda: health(narrow)["running"] == 2, what="both slots in use")
    left += [opened(narrow, LONG) for _ in range(2)]
    until(lambda: health(narrow)["waiting"] == 2, what="a full queue")
    with narrow.client() as client, pytest.raises(RateLimitError) as caught:
        client.chat.completions.create(**ASK)
    assert int(caught.value.response.headers["retry-after"]) >= 1
    for one in left:
        one.close()
    until(lambda: health(narrow)["running"] == 0, what="free slots", timeout_s=20)
    with narrow.client() as client:
        assert client.chat.completions.create(**ASK).choices[0].finish_reason


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(stream: bool, narrow: Server) -> None:
    one = opened(narrow, {**LONG, "stream": stream})
    until(lambda: health(narrow)["running"] == 1, what="a slot in use")
    began = time.monotonic()
    one.close()
    until(lambda: health(narrow)["running"] == 0, what="a free slot", timeout_s=20)
    whole = time.monotonic() - began
    alone = opened(narrow, LONG)
    alone.recv(100)
    alone.close()
    assert whole < time.monotonic() - began  # sooner than the answer would have taken


def test_adapters_are_models_and_come_and_go(tiny: Path, tmp_path: Path) -> None:
    first, second = (make_adapter(tiny, tmp_path / str(at), seed=at) for at in (1, 2))

    def said(client: Any, model: str) -> str:
        keys = {**ASK, "model": model, "max_tokens": 20, "temperature": 0}
        return str(client.chat.completions.create(**keys).choices[0].message.content)

    with (
        serving(tiny, key=KEY, adapters={"first": first}, adapter_loading=True) as server,
        server.client(KEY) as client,
    ):
        assert {one.id for one in client.models.list()} == {"tiny", "first"}
        load = {"lora_name": "second.1", "lora_path": str(second)}
        busy = ThreadPoolExecutor(4)
        under_way = [busy.submit(said, client, name) for name in ("tiny", "first") * 4]
        client.post("/load_lora_adapter", cast_to=str, body=load)
        answers = {name: said(client, name) for name in ("tiny", "first", "second.1")}
        assert len(set(answers.values())) == 3
        assert {one.result() for one in under_way} == {answers["tiny"], answers["first"]}
        busy.shutdown()
        with pytest.raises(APIStatusError, match=r"second\.1 is there already"):
            client.post("/load_lora_adapter", cast_to=str, body=load)
        with pytest.raises(APIStatusError, match="no folder"):
            client.post(
                "/load_lora_adapter", cast_to=str, body={"lora_name": "x", "lora_path": "/none"}
            )
        with pytest.raises(APIStatusError, match=r"has no adapter_config\.json"):
            client.post(
                "/load_lora_adapter", cast_to=str, body={"lora_name": "x", "lora_path": str(tiny)}
            )
        client.post("/unload_lora_adapter", cast_to=str, body={"lora_name": "second.1"})
        with pytest.raises(NotFoundError):
            said(client, "second.1")
        assert {name: said(client, name) for name in ("tiny", "first")} == {
            name: answers[name] for name in ("tiny", "first")
        }


def test_unless_the_yaml_says_so_nobody_loads_adapters(narrow: Server, tiny: Path) -> None:
    body = json.dumps({"lora_name": "x", "lora_path": str(tiny)}).encode()
    status, said = send(narrow, "/v1/load_lora_adapter", body)
    assert status == 403
    assert "adapter_loading: true" in said["error"]["message"]


def test_a_stop_lets_answers_end_and_takes_no_more(tiny: Path) -> None:
    with serving(tiny) as server, server.client() as client:
        found: list[Any] = []
        keys = {**ASK, "max_tokens": 200, "extra_body": {"ignore_eos": True}}
        thread = threading.Thread(
            target=lambda: found.append(client.chat.completions.create(**keys))
        )
        thread.start()
        until(lambda: health(server)["running"] == 1, what="a slot in use")
        server.stop.set()
        thread.join(30)
        assert found[0].usage.completion_tokens == 200
    assert server.done["requests"] == 1
    with pytest.raises(OSError):
        send(server, "/health", None, "GET")


def test_a_stop_is_bounded(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from swiftbox.serving import embedded

    monkeypatch.setattr(embedded, "DRAIN_S", 0.2)
    with serving(tiny) as server:
        many = [opened(server, {**LONG, "stream": True}) for _ in range(16)]
        until(lambda: health(server)["running"] == 16, what="slots in use")
        began = time.monotonic()
        server.stop.set()
        last = b"".join(iter(lambda: many[0].recv(65536), b""))
        assert b"the server is stopping" in last
        assert time.monotonic() - began < 5
        for one in many:
            one.close()


@pytest.mark.slow
def test_a_thousand_requests_with_clients_that_leave_hurt_nobody(tiny: Path) -> None:
    import random

    import psutil

    def one(server: Server, number: int) -> int:
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
                statuses = set(pool.map(lambda number: one(server, number), numbers))
            assert statuses <= {0, 200}
            until(lambda: health(server)["running"] == 0, what="free slots", timeout_s=30)
            memory.append(psutil.Process().memory_info().rss)
        assert health(server)["waiting"] == 0
        print(f"memory after each 200 requests: {[one // 2**20 for one in memory]} MiB")
        assert memory[-1] < memory[1] * 1.1
    assert server.done["requests"] >= 900
    assert server.done["failed"] == 0
