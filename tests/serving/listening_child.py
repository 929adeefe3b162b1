"""A server with the real listener and an application that answers at once, for tests of floods.

Usage: `python listening_child.py DESCRIPTORS SECONDS [small]`; the seconds are the deadlines, and
with `small` the system keeps few bytes of an answer. Prints its port; ends when its input ends.
"""

from __future__ import annotations

import resource
import socket
import sys
import threading
from typing import Any

from swiftbox.serving import connections
from swiftbox.serving.address import listen_on
from swiftbox.serving.guards import AccessRules, Guard
from swiftbox.serving.listener import ServerLifecycle, listen

SIZES = {"/large": 32 * 2**20, "/medium": 60_000}
"""More bytes than the system keeps for a client that does not read, and fewer than asyncio does."""

SMALL_BUFFER = 2048
"""Bytes that the system keeps for a client, where a test asks for it."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, and answer its length."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = b"x" * SIZES[scope["path"]] if scope["path"] in SIZES else b"%d" % length
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until the input ends."""
    descriptors, wait_s = int(sys.argv[1]), float(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    connections.HEADERS_S = connections.BODY_S = connections.READ_S = wait_s
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        stop.set()

    with listen_on("127.0.0.1", 0) as listening:
        if "small" in sys.argv:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        port = listening.getsockname()[1]
        threading.Thread(target=wait_for_end, daemon=True).start()
        lifecycle = ServerLifecycle(stop, lambda: print(port, flush=True), lambda: None, 0.5)
        listen(Guard(application, AccessRules(key=None, largest_body=2**24)), listening, lifecycle)
    assert "torch" not in sys.modules  # every test would wait for seconds until it is imported


if __name__ == "__main__":
    main()
