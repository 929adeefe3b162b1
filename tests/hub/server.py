"""A hub on loopback that speaks ModelScope's routes for one small repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse


@contextmanager
def hub(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve files as the repository of any model; yield the address and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlparse(self.path)
            asked.append(self.path)
            query = parse_qs(url.query)
            if url.path.endswith("/repo/files"):
                self.say(listing(files))
            elif url.path.endswith("/revisions"):
                branch = {"Revision": "master"}
                self.say({"RevisionMap": {"Branches": [branch], "Tags": []}})
            elif url.path.endswith("/repo") and query.get("FilePath", [""])[0] in files:
                self.send(files[query["FilePath"][0]])
            else:
                self.say({"Name": "n", "Path": "o"})

        def say(self, data: Any) -> None:
            body = json.dumps({"Code": 200, "Success": True, "Message": "", "Data": data}).encode()
            self.send(body)

        def send(self, body: bytes) -> None:
            begin = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]
            part = body[int(begin) :]
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(len(part)))
            end = len(body) - 1
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(body)}")
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(files: dict[str, bytes]) -> dict[str, Any]:
    return {
        "Files": [
            {
                "Path": name,
                "Name": name.rsplit("/", 1)[-1],
                "Type": "blob",
                "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest(),
                "Revision": "master",
            }
            for name, content in files.items()
        ]
    }
