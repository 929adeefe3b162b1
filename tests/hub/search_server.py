"""A hub's search on loopback: ModelScope's and Hugging Face's routes, made-up rows, set faults."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MODELSCOPE = {
    "models": [
        {"id": "Qwen/Qwen3-8B", "downloads": 1_234_567, "license": "apache-2.0", "tasks": ["chat"]},
        {"id": "someone/Qwen3-8B-Pirate", "downloads": 12, "file_size": 16_400_000_000},
    ],
    "datasets": [{"id": "AI-ModelScope/alpaca-gpt4-data-zh", "downloads": 5, "license": "mit"}],
}
HUGGING_FACE = {
    "models": [{"id": "Qwen/Qwen3-8B", "downloads": 99, "tags": ["a", "license:apache-2.0"]}],
    "datasets": [{"id": "someone/new", "downloads": 3, "tags": []}],
}


@dataclass
class Search:
    """The address of the server, what it was asked, and how it answers."""

    url: str = ""
    requests: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    is_endless: bool = False
    """Whether the rest of an answer comes a byte at a time, for ever."""


@contextmanager
def search_server() -> Iterator[Search]:
    """Serve on a free port until the block ends."""
    state = Search()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            state.requests.append((parts.path, parse_qs(parts.query)))
            kind = parts.path.rpartition("/")[2]
            answer: Any = HUGGING_FACE[kind]
            if parts.path.startswith("/openapi/"):
                answer = {"success": True, "data": {kind: MODELSCOPE[kind], "total_count": 2}}
            content = json.dumps(answer).encode() if state.body is None else state.body
            self.send_response(state.status)
            if not state.is_endless:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            with contextlib.suppress(OSError):
                while state.is_endless:
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
