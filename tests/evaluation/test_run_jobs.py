"""Jobs in this process: a stand-in for EvalScope, a server with a constant answer."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_evalscope
import pytest

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import RunError
from swiftbox.evaluation.benchmarks import select_benchmarks
from swiftbox.evaluation.candidates import Candidate
from swiftbox.evaluation.endpoint import RemoteServer
from swiftbox.evaluation.jobs import Job, jobs
from swiftbox.evaluation.run_jobs import ToolCall, run_jobs
from swiftbox.evaluation.tool_requests import evalscope_request


class ConstantAnswer(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        answer = {"choices": [{"message": {"content": "C it is"}}]}
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ConstantAnswer) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield http_server
        http_server.shutdown()
        thread.join()


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file exists, the stand-in passes its first question only for model `one`."""
    monkeypatch.setenv("FAKE_HOLD", str(tmp_path / "hold"))
    monkeypatch.setenv("FAKE_FREE", "one")
    (tmp_path / "hold").touch()
    return tmp_path / "hold"


@pytest.fixture
def open_jobs(tmp_path: Path) -> list[Job]:
    fake_evalscope.install(Path(os.environ["SWIFTBOX_HOME"]))
    candidates = [Candidate(name, "endpoint", name) for name in ("one", "two")]
    return jobs(candidates, select_benchmarks(["sample_ceval"], None), tmp_path)


def call(open_jobs: list[Job], server: http.server.HTTPServer, folder: Path) -> ToolCall:
    config = EvaluateConfig(benchmarks="sample_ceval", limit=1)
    address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    unfinished = [job for job in open_jobs if not job.is_done]
    return ToolCall(
        "evalscope", evalscope_request(config, address, unfinished), folder, {"NO_PROXY": "*"}
    )


def test_a_stop_keeps_results_and_the_rest_runs_later(
    open_jobs: list[Job],
    server: http.server.ThreadingHTTPServer,
    tmp_path: Path,
    hold: Path,
) -> None:
    stop = threading.Event()
    emitted: list[tuple[str, str]] = []

    def emit(event: str, **fields: Any) -> None:
        emitted.append((event, fields.get("candidate", "")))
        if event == "scored":
            stop.set()

    tool_call = call(open_jobs, server, tmp_path / "tool")
    assert not run_jobs(tool_call, open_jobs, emit, server=None, stop=stop)
    assert [job.is_done for job in open_jobs] == [True, False]
    hold.unlink()
    tool_call = call(open_jobs, server, tmp_path / "tool")
    assert run_jobs(tool_call, open_jobs[1:], emit, server=None, stop=threading.Event())
    assert [job.is_done for job in open_jobs] == [True, True]
    assert [name for event, name in emitted if event == "scored"] == ["one", "two"]
    assert {row["said"] for row in open_jobs[1].read_result()["samples"]} == {"C it is"}


def test_an_endpoint_that_ends_stops_the_run(
    open_jobs: list[Job],
    server: http.server.ThreadingHTTPServer,
    hold: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from swiftbox.evaluation import endpoint

    monkeypatch.setattr(endpoint, "POLL_S", 0.1)
    scored: list[str] = []

    def emit(event: str, **_: Any) -> None:
        if event == "scored" and not scored:
            server.shutdown()
            server.server_close()
            scored.append(event)

    tool_call = call(open_jobs, server, hold.with_name("tool"))
    remote = RemoteServer(tool_call.request["api_url"])
    with pytest.raises(
        RunError, match=r"ended during the evaluation of two/sample_ceval"
    ) as caught:
        run_jobs(tool_call, open_jobs, emit, server=remote, stop=threading.Event())
    assert hold.exists()  # so the tool is still asking the server for an answer
    assert "no longer accepts connections" in caught.value.message
    assert [job.is_done for job in open_jobs] == [True, False]
