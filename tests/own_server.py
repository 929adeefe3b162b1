"""A builtin server in this process, and the official client to talk to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from box import HANG_S
from openai import OpenAI

from swiftbox.config.deploy import DeployConfig
from swiftbox.serving.address import listen_on
from swiftbox.serving.builtin_server import ServedFolders, ServerCallbacks, serve


class Server:
    """The address of a server, and how it ended."""

    def __init__(self) -> None:
        self.url = ""
        self.stop = threading.Event()
        self.started = threading.Event()
        self.done: Any = None
        self.error: BaseException | None = None

    def client(self, key: str = "none", **keys: Any) -> OpenAI:
        """Return the official client."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=HANG_S, **keys)


@contextmanager
def serving(
    model: Path,
    *,
    key: str | None = None,
    adapters: dict[str, Path] | None = None,
    verify: Any = None,
    **settings: Any,
) -> Iterator[Server]:
    """Serve a model in a thread at a free port, and stop."""
    server = Server()
    config = DeployConfig(model=str(model), hub="local", dtype="float32", port=0, **settings)
    served = ServedFolders(model, "tiny", adapters or {}, "cpu")

    def started(url: str, _: Any) -> None:
        server.url = url
        server.started.set()

    checks = () if verify is None else (verify,)
    callbacks = ServerCallbacks(server.stop, started, *checks)

    def work() -> None:
        try:
            with listen_on("127.0.0.1", 0) as listening:
                server.done = serve(config, served, listening, callbacks, key=key)
        except BaseException as error:
            server.error = error
            raise
        finally:
            server.started.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert server.started.wait(HANG_S)
        assert server.url, server.error
        yield server
    finally:
        server.stop.set()
        thread.join(HANG_S)
        assert not thread.is_alive()
