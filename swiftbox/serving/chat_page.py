"""The page at `/`: chat with the served models in a browser, from files of the package.

The files are the same for every server. What differs (models, defaults, version) the page asks for
with the key of the server, as every client does; so it can be loaded without a key. Its policy lets
it run its own scripts and ask its own server, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from swiftbox import __version__
from swiftbox.serving.prompts import DEFAULT_TEXT_TOKENS
from swiftbox.serving.service import Service

FOLDER = Path(__file__).with_name("page_files")

PAGE_FILES: Mapping[str, tuple[str, str]] = {
    "/": ("chat.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    "/chat.js": ("chat.js", "text/javascript"),
    "/texts.js": ("texts.js", "text/javascript"),
}
"""The files by their paths on the server, with their types."""

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


def add_chat_page(app: FastAPI, service: Service) -> None:
    """Add the routes of the page: its files, and the defaults that it shows."""
    for path, (name, kind) in PAGE_FILES.items():
        _add_file(app, path, (FOLDER / name).read_bytes(), kind)

    @app.get("/chat.json")
    async def _defaults() -> Response:
        return JSONResponse(chat_defaults(service))


def _add_file(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    @app.get(path)
    async def _file() -> Response:
        return Response(content, media_type=kind, headers=dict(HEADERS))


def chat_defaults(service: Service) -> dict[str, Any]:
    """Return what the page shows of a server beside its models."""
    tokenizers = {
        name: service.network.tokenizers[service.adapter(name)] for name, _ in service.models()
    }
    return {
        "version": __version__,
        "temperature": service.prompts.default_temperature,
        "completion_tokens": DEFAULT_TEXT_TOKENS,
        "without_template": [
            name for name, tokenizer in tokenizers.items() if not tokenizer.chat_template
        ],
    }
