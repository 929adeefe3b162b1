"""Asking in this process: a stand-in of EvalScope, a server that says the same to everything."""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_evalscope
import pytest

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import RunError
from swiftbox.evaluation.asking import Call, ask
from swiftbox.evaluation.benchmarks import chosen
from swiftbox.evaluation.candidates import Candidate
from swiftbox.evaluation.endpoint import Remote
from swiftbox.evaluation.results import Job, jobs
from swiftbox.evaluation.tools import by_answers


class Says(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        said = {"choices": [{"message": {"content": "C it is"}}]}
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Says) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, the stand-in gets past its first question with `one` only."""
    monkeypatch.setenv("FAKE_HOLD", str(tmp_path / "hold"))
    monkeypatch.setenv("FAKE_FREE", "one")
    (tmp_path / "hold").touch()
    return tmp_path / "hold"


@pytest.fixture
def todo(tmp_path: Path) -> list[Job]:
    fake_evalscope.install(Path(os.environ["SWIFTBOX_HOME"]))
    who = [Candidate(name, "endpoint", name) for name in ("one", "two")]
    return jobs(who, chosen(["sample_ceval"], None), tmp_path)


def call(todo: list[Job], server: http.server.HTTPServer, folder: Path) -> Call:
    config = EvaluateConfig(benchmarks="sample_ceval", limit=1)
    address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    left = [one for one in todo if not one.is_done]
    return Call("evalscope", by_answers(config, address, left), folder, {"NO_PROXY": "*"})


def test_a_stop_keeps_what_is_scored_and_the_rest_is_asked_later(
    todo: list[Job],
    server: http.server.ThreadingHTTPServer,
    tmp_path: Path,
    hold: Path,
) -> None:
    stop = threading.Event()
    heard: list[tuple[str, str]] = []

    def emit(event: str, **said: Any) -> None:
        heard.append((event, said.get("candidate", "")))
        if event == "scored":
            stop.set()

    asked = call(todo, server, tmp_path / "tool")
    assert not ask(asked, todo, emit, server=None, stop=stop)
    assert [one.is_done for one in todo] == [True, False]
    hold.unlink()
    asked = call(todo, server, tmp_path / "tool")
    assert ask(asked, todo[1:], emit, server=None, stop=threading.Event())
    assert [one.is_done for one in todo] == [True, True]
    assert [name for event, name in heard if event == "scored"] == ["one", "two"]
    assert {row["said"] for row in todo[1].found()["samples"]} == {"C it is"}


@pytest.mark.usefixtures("hold")
def test_an_endpoint_that_goes_away_ends_it_in_seconds(
    todo: list[Job],
    server: http.server.ThreadingHTTPServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from swiftbox.evaluation import endpoint

    monkeypatch.setattr(endpoint, "LOOK_EVERY_S", 0.1)
    gone_at: list[float] = []

    def emit(event: str, **_: Any) -> None:
        if event == "scored" and not gone_at:
            server.shutdown()
            server.server_close()
            gone_at.append(time.monotonic())

    asked = call(todo, server, tmp_path / "tool")
    remote = Remote(asked.request["api_url"])
    with pytest.raises(RunError, match=r"ended while it was asked \(two/sample_ceval\)") as caught:
        ask(asked, todo, emit, server=remote, stop=threading.Event())
    assert time.monotonic() - gone_at[0] < 5
    assert "takes no connection any more" in caught.value.message
    assert todo[0].is_done
