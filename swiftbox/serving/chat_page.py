"""The page at `/`: chat with the served models in a browser, from files of the package.

The files are the same for every server. What differs (models, defaults, version) the page asks for
with the key of the server, as every client does; so it can be loaded without a key. Its policy lets
it run its own scripts and ask its own server, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from swiftbox import __version__
from swiftbox.serving.api_errors import ApiError
from swiftbox.serving.asgi import App, Receive, Scope, Send

FOLDER = Path(__file__).with_name("page_files")

PAGE_FILES: Mapping[str, tuple[str, str]] = {
    "/": ("chat.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    "/chat.js": ("chat.js", "text/javascript"),
    "/texts.js": ("texts.js", "text/javascript"),
}
"""The files by their paths on the server, with their types."""

DEFAULTS_PATH = "/chat.json"
JSON = "application/json"

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # no text becomes markup, in browsers that know it
        "trusted-types 'none'",
    )
)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
"""The page is in no frame, and what it shows stays in it; a new version is used at once."""


@dataclass(frozen=True)
class PageDefaults:
    """What the page shows of a server beside its models; None: the page does not know."""

    temperature: float | None = None
    completion_tokens: int | None = None
    """The limit of tokens of a text completion; None: no limit."""
    max_model_len: int | None = None
    """The longest context, where the list of models does not say it."""
    without_template: Sequence[str] = ()
    """Models that continue texts only."""


class ChatPage:
    """An ASGI application in front of a server, which answers for the page.

    `defaults` returns what the page shows of the server beside its models.
    """

    def __init__(self, app: App, defaults: Callable[[], PageDefaults]) -> None:
        self.app = app
        self.defaults = defaults
        self.files = {
            path: (kind, (FOLDER / name).read_bytes()) for path, (name, kind) in PAGE_FILES.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for the page, and pass on every other."""
        path, method = scope["path"], scope["method"]
        if path not in self.files and path != DEFAULTS_PATH:
            await self.app(scope, receive, send)
        elif method == "OPTIONS":
            await _send(send, 204, {"Allow": "GET"}, b"")
        elif method != "GET":
            problem = ApiError(405, f"method {method} is not allowed")
            headers = {"Content-Type": JSON, "Allow": "GET"}
            await _send(send, 405, headers, json.dumps(problem.body()).encode())
        else:
            kind, content = self.files.get(path) or (JSON, self._defaults())
            headers = {"Content-Type": f"{kind}; charset=utf-8", **HEADERS}
            await _send(send, 200, headers, content)

    def _defaults(self) -> bytes:
        return json.dumps({"version": __version__, **asdict(self.defaults())}).encode()


async def _send(send: Send, status: int, headers: Mapping[str, str], content: bytes) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})
