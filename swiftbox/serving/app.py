"""The HTTP routes: OpenAI's, health, metrics, and those that load and forget adapters."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from swiftbox.serving.guards import App, Guard
from swiftbox.serving.metrics import exposition
from swiftbox.serving.problems import Problem
from swiftbox.serving.requests import (
    AdapterAsking,
    Asking,
    ChatAsking,
    TextAsking,
    TokensAsking,
    parsed,
)
from swiftbox.serving.service import Service

CLIENT_LEFT = 499
"""What a request is counted as whose client did not wait."""


def application(service: Service, *, key: str | None, largest_body: int) -> App:
    """Return the whole server as one ASGI application."""
    app = FastAPI(title="swiftbox", docs_url=None, redoc_url=None, openapi_url=None)
    answered: Counter[int] = Counter()
    _refusals(app)
    _answers(app, service)
    _adapters(app, service)
    _state(app, service, answered)
    return _counted(Guard(app, key=key, largest_body=largest_body), answered)


def _counted(app: App, answered: Counter[int]) -> App:
    async def counted(scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered[message["status"]] += 1
            await send(message)

        await app(scope, receive, told)

    return counted


def _refusals(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def _problem(_: Request, problem: Problem) -> Response:
        return JSONResponse(problem.body(), problem.status, headers=dict(problem.headers))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        known = {404: f"no such path: {request.url.path}", 405: f"not with {request.method}"}
        problem = Problem(error.status_code, known.get(error.status_code, str(error.detail)))
        return JSONResponse(problem.body(), problem.status, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _bug(_: Request, error: Exception) -> Response:
        problem = Problem(500, f"the server has a bug ({type(error).__name__}); its log has more")
        return JSONResponse(problem.body(), problem.status)


def _answers(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions")
    async def _chat(request: Request) -> Response:
        return await _answer(service, await _body(request, ChatAsking), request)

    @app.post("/v1/completions")
    async def _text(request: Request) -> Response:
        return await _answer(service, await _body(request, TextAsking), request)

    @app.post("/tokenize")
    async def _tokens(request: Request) -> Response:
        asked = await _body(request, TokensAsking)
        if (asked.prompt is None) == (asked.messages is None):
            raise Problem(400, "give either prompt or messages", param="prompt")
        found = await service.tokens(asked)
        longest = service.scheduler.limits.length
        return JSONResponse({"tokens": found, "count": len(found), "max_model_len": longest})


async def _body(request: Request, kind: Any) -> Any:
    content_type = request.headers.get("content-type", "")
    return parsed(kind, await request.body(), content_type)


async def _answer(service: Service, asked: Asking, request: Request) -> Response:
    if asked.stream_options is not None and not asked.stream:
        raise Problem(400, "stream_options: only with stream: true", param="stream_options")
    prepared = await service.prepared(asked)

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    if not asked.stream:
        found = await service.whole(asked, prepared, left)
        return JSONResponse(found) if found is not None else Response(status_code=CLIENT_LEFT)
    pieces = service.pieces(asked, prepared)
    await anext(pieces)  # whether it is taken is known before the status is sent
    return StreamingResponse(
        _closed(pieces), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


async def _closed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass pieces on, and close their source at once when nobody reads them any more."""
    try:
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]  # an async generator has it


def _adapters(app: FastAPI, service: Service) -> None:
    def require_allowed() -> None:
        if not service.may_load:
            raise Problem(
                403, "adapters come and go only where the YAML says adapter_loading: true"
            )

    @app.post("/v1/load_lora_adapter")
    async def _load(request: Request) -> Response:
        require_allowed()
        asked = await _body(request, AdapterAsking)
        if not asked.lora_path or not Path(asked.lora_path).is_dir():
            raise Problem(400, f"lora_path: no folder {asked.lora_path}", param="lora_path")
        await service.load(asked.lora_name, Path(asked.lora_path))
        return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' added successfully.")

    @app.post("/v1/unload_lora_adapter")
    async def _unload(request: Request) -> Response:
        require_allowed()
        asked = await _body(request, AdapterAsking)
        await service.unload(asked.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' removed successfully.")


def _state(app: FastAPI, service: Service, answered: Counter[int]) -> None:
    scheduler = service.scheduler
    listed = {"object": "model", "created": 0, "owned_by": "swiftbox"}

    def card(name: str, parent: str | None) -> dict[str, Any]:
        length = scheduler.limits.length
        return {"id": name, **listed, "parent": parent, "root": name, "max_model_len": length}

    @app.get("/v1/models")
    async def _models() -> Response:
        data = [card(name, parent) for name, parent in service.models()]
        return JSONResponse({"object": "list", "data": data})

    @app.get("/v1/models/{name:path}")
    async def _model(name: str) -> Response:
        service.adapter(name)
        return JSONResponse(card(name, dict(service.models())[name]))

    @app.get("/health")
    async def _health() -> Response:
        alive = scheduler.alive
        said = {
            "status": "ok" if alive else "failed",
            "running": scheduler.running,
            "waiting": scheduler.waiting,
            "slots": scheduler.limits.rows,
        }
        return JSONResponse(said, 200 if alive else 503)

    @app.get("/metrics")
    async def _metrics() -> Response:
        content = exposition(scheduler, dict(answered))
        return PlainTextResponse(content, media_type="text/plain; version=0.0.4")
