"""A loopback server with models that answer by a known rule, as OpenAI's API does."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class Refusal(Exception):
    """A status and a message in place of an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


Rule = Callable[[Mapping[str, Any]], str]
"""Returns the text of an answer to a request; raises Refusal."""


@dataclass
class LoopbackModels:
    """The address of a running server, and the requests that it got."""

    url: str = ""
    rule: Rule = lambda _body: ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    names: tuple[str, ...] = ("judge",)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request."""
        with self._lock:
            self.requests.append(body)
            content = self.rule(body)
        message: dict[str, Any] = {"message": {"role": "assistant", "content": content}}
        choice = (
            {"text": content} if path.endswith("/completions") and "prompt" in body else message
        )
        usage = {"prompt_tokens": 7, "completion_tokens": 2}
        return {"choices": [{**choice, "finish_reason": "stop"}], "usage": usage}


@contextlib.contextmanager
def loopback_models(rule: Rule, *names: str) -> Iterator[LoopbackModels]:
    """Serve models that answer by a rule."""
    models = LoopbackModels(rule=rule, names=names or ("judge",))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._write(200, {"data": [{"id": name} for name in models.names]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._write(200, models.answer(self.path, body))
            except Refusal as refusal:
                self._write(refusal.status, {"error": {"message": refusal.message}})

        def _write(self, status: int, content: Any) -> None:
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        models.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield models
        finally:
            server.shutdown()
            thread.join()
