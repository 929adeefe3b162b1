"""Which server gets the key of an endpoint: in check, in a run, in a chat, and in nothing else."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from swiftbox.cli.main import main
from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import RunError
from swiftbox.evaluation.endpoint import with_endpoint_models
from swiftbox.hub.online import search
from swiftbox.serving.address import is_this_machine
from swiftbox.serving.client import Endpoint, RequestRefused, health
from swiftbox.tasks.chat_servers import served_model
from swiftbox.tasks.load import loads

KEY = "sk-recorded-key"
CREDENTIALS = ("Authorization", "Cookie", "X-Api-Key", "Api-Key", "Proxy-Authorization")


@dataclass
class Recorder:
    """A server that lists two models, and what it was asked with which credentials."""

    address: str = ""
    location: str = ""
    """Where it redirects all requests."""
    wants_key: bool = False
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def secrets(self) -> list[str]:
        return [value for _, headers in self.requests for value in headers.values()]


@contextlib.contextmanager
def recorder(**settings: Any) -> Iterator[Recorder]:
    state = Recorder(**settings)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = {name: self.headers[name] for name in CREDENTIALS if self.headers[name]}
            state.requests.append((self.path, sent))
            body = json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()
            refused = state.wants_key and sent.get("Authorization") != f"Bearer {KEY}"
            self.send_response(302 if state.location else 401 if refused else 200)
            if state.location:
                self.send_header("Location", f"{state.location}{self.path}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set a key, tokens of hubs, and a ~/.netrc for every host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password netrc-secret\n")
    for name in ("MY_KEY", "HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # knows the proxies of before


def evaluation(**keys: Any) -> EvaluateConfig:
    content = {"task": "evaluate", "benchmarks": ["sample_mmlu"], "api_key_env": "MY_KEY", **keys}
    config = loads(json.dumps(content), source="a.yaml").config
    assert isinstance(config, EvaluateConfig)
    return config


@pytest.mark.parametrize("wants_key", [False, True])
def test_check_sends_no_key(wants_key: bool, tmp_path: Path) -> None:
    with recorder(wants_key=wants_key) as server, recorder() as judge:
        settings = {
            "task": "evaluate",
            "benchmarks": ["sample_mmlu"],
            "endpoint": server.address,
            "api_key_env": "MY_KEY",
            "judge_endpoint": judge.address,
            "judge_model": "a",
            "judge_key_env": "HF_TOKEN",
        }
        path = tmp_path / "a.yaml"
        path.write_text(json.dumps(settings))
        main(["check", str(path)])
        assert server.requests
        assert server.secrets == []
        assert judge.secrets == []


def test_a_run_sends_the_key_to_its_endpoint() -> None:
    with recorder(wants_key=True) as server:
        settled = with_endpoint_models(evaluation(endpoint=server.address), KEY)
        assert settled.endpoint_models == ["a", "b"]
        assert server.secrets == [f"Bearer {KEY}"]


def test_a_redirect_of_an_endpoint_gets_no_key() -> None:
    with recorder() as other, recorder(location=other.address) as server:
        with pytest.raises(Exception, match="302"):
            with_endpoint_models(evaluation(endpoint=server.address), KEY)
        assert server.secrets == [f"Bearer {KEY}"]
        assert other.requests == []


def test_a_chat_sends_the_key_to_its_endpoint_only() -> None:
    with recorder(wants_key=True) as server, recorder(location=server.address) as moved:
        assert served_model(Endpoint.at(server.address, KEY), prefer_base=True) == "a"
        assert server.secrets == [f"Bearer {KEY}"]
        with pytest.raises(RunError):
            served_model(Endpoint.at(moved.address, KEY), prefer_base=True)
        assert server.secrets == [f"Bearer {KEY}"]


def test_a_request_without_a_key_has_no_credentials() -> None:
    with recorder() as server:
        Endpoint.at(server.address).ask("/v1/models")
        assert health(server.address) == "ok"
        with contextlib.suppress(RequestRefused):
            list(Endpoint.at(server.address).stream("/v1/chat/completions", {}))
        assert len(server.requests) == 3
        assert server.secrets == []


def test_a_search_and_doctor_send_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder() as modelscope, recorder() as huggingface:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", modelscope.address)
        monkeypatch.setenv("HF_ENDPOINT", huggingface.address)
        search("qwen")
        main(["doctor"])
        assert modelscope.requests
        assert modelscope.secrets == huggingface.secrets == []


def test_a_key_without_its_server_is_refused(tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        json.dumps(
            {
                "task": "evaluate",
                "benchmarks": ["sample_mmlu"],
                "model": str(tiny),
                "api_key_env": "MY_KEY",
            }
        )
    )
    assert main(["check", str(path)]) == 2


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://192.0.2.1:8000", False),  # reserved for documentation
        ("http://", False),
        ("http://\x00", False),
    ],
)
def test_the_address_of_another_machine_is_recognised(url: str, expected: bool) -> None:
    if url.startswith("http://[") and not has_ipv6():
        pytest.skip("no IPv6 here")
    assert is_this_machine(url) is expected


def has_ipv6() -> bool:
    import socket

    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
