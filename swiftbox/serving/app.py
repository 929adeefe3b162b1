"""The HTTP routes: OpenAI's, health, metrics, loading of adapters, and the page at `/`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from swiftbox.serving.api_errors import ApiError
from swiftbox.serving.asgi import App
from swiftbox.serving.chat_page import ChatPage, PageDefaults
from swiftbox.serving.guards import AccessRules, guarded
from swiftbox.serving.metrics import exposition
from swiftbox.serving.plain_values import SMALL_BODY
from swiftbox.serving.prompts import DEFAULT_TEXT_TOKENS
from swiftbox.serving.requests import (
    AdapterRequest,
    ApiRequest,
    ChatRequest,
    TextRequest,
    TokenizeRequest,
    parse,
)
from swiftbox.serving.service import Service
from swiftbox.serving.unknown_paths import unknown_path

CLIENT_CLOSED_REQUEST = 499
"""The status that is counted if the client disconnects before the answer."""

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Neither caches nor nginx keep the parts of a stream back."""


def application(service: Service, access: AccessRules) -> App:
    """Return the server as an ASGI application."""
    app = FastAPI(title="swiftbox", docs_url=None, redoc_url=None, openapi_url=None)
    answered: Counter[int] = Counter()
    _error_handlers(app)
    _answers(app, service)
    _adapters(app, service)
    _state(app, service, answered)
    page = ChatPage(app, lambda: _page_defaults(service))
    return _counted(guarded(page, access), answered)


def _page_defaults(service: Service) -> PageDefaults:
    tokenizers = service.network.tokenizers
    bare = [n for n, _ in service.models() if not tokenizers[service.adapter(n)].chat_template]
    return PageDefaults(
        service.prompts.default_temperature, DEFAULT_TEXT_TOKENS, without_template=bare
    )


def _counted(app: App, answered: Counter[int]) -> App:
    async def counted(scope: Any, receive: Any, send: Any) -> None:
        async def count_and_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered[message["status"]] += 1
            await send(message)

        await app(scope, receive, count_and_send)

    return counted


def _error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def _problem(_: Request, problem: ApiError) -> Response:
        return JSONResponse(problem.body(), problem.status, headers=dict(problem.headers))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers=dict(error.headers or {}))
        problem = _http_problem(error, request)
        return JSONResponse(problem.body(), problem.status, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _bug(_: Request, error: Exception) -> Response:
        problem = ApiError(500, f"the server has a bug ({type(error).__name__}); its log has more")
        return JSONResponse(problem.body(), problem.status)


def _http_problem(error: HTTPException, request: Request) -> ApiError:
    if error.status_code == 404:
        return unknown_path(request.url.path)
    is_method = error.status_code == 405
    message = f"method {request.method} is not allowed" if is_method else str(error.detail)
    return ApiError(error.status_code, message)


def _answers(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions")
    async def _chat(request: Request) -> Response:
        return await _answer(service, await _body(request, ChatRequest), request)

    @app.post("/v1/completions")
    async def _text(request: Request) -> Response:
        return await _answer(service, await _body(request, TextRequest), request)

    @app.post("/tokenize")
    async def _tokens(request: Request) -> Response:
        body = await _body(request, TokenizeRequest)
        if (body.prompt is None) == (body.messages is None):
            raise ApiError(400, "set either prompt or messages", param="prompt")
        ids = await service.tokens(body)
        limit = service.scheduler.limits.length
        return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": limit})


async def _body(request: Request, kind: Any) -> Any:
    content_type = request.headers.get("content-type", "")
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise ApiError(CLIENT_CLOSED_REQUEST, "the client has disconnected") from None
    if len(raw) <= SMALL_BODY:
        return parse(kind, raw, content_type)
    return await asyncio.to_thread(parse, kind, raw, content_type)


async def _answer(service: Service, body: ApiRequest, request: Request) -> Response:
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options: only with stream: true", param="stream_options")
    prepared = await service.prepare(body)

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    if not body.stream:
        answer = await service.complete(body, prepared, disconnected)
        return (
            JSONResponse(answer)
            if answer is not None
            else Response(status_code=CLIENT_CLOSED_REQUEST)
        )
    chunks = service.chunks(body, prepared)
    await anext(chunks)  # a refusal must be known before the status is sent
    return StreamingResponse(
        _closed(chunks), media_type="text/event-stream", headers=STREAM_HEADERS
    )


async def _closed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass on chunks, and close their source as soon as nobody reads them."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]  # an async generator has it


def _adapters(app: FastAPI, service: Service) -> None:
    def require_allowed() -> None:
        if not service.may_load:
            raise ApiError(
                403, "adapters can be loaded only with adapter_loading: true in the YAML"
            )

    @app.post("/v1/load_lora_adapter")
    async def _load(request: Request) -> Response:
        require_allowed()
        body = await _body(request, AdapterRequest)
        if not body.lora_path or not Path(body.lora_path).is_dir():
            raise ApiError(400, f"lora_path: no such folder: {body.lora_path}", param="lora_path")
        await service.load(body.lora_name, Path(body.lora_path))
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    @app.post("/v1/unload_lora_adapter")
    async def _unload(request: Request) -> Response:
        require_allowed()
        body = await _body(request, AdapterRequest)
        await service.unload(body.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


def _state(app: FastAPI, service: Service, answered: Counter[int]) -> None:
    scheduler = service.scheduler
    listed = {"object": "model", "owned_by": "swiftbox"}

    def card(name: str, parent: str | None) -> dict[str, Any]:
        length = scheduler.limits.length
        created = service.created(name)
        head = {"id": name, "created": created, **listed}
        return {**head, "parent": parent, "root": name, "max_model_len": length}

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
        scheduler.probe_if_idle()
        alive = scheduler.alive
        state = {
            "status": "ok" if alive else "failed",
            "running": scheduler.running,
            "waiting": scheduler.waiting,
            "slots": scheduler.limits.rows,
        }
        if scheduler.failure:
            state["reason"] = scheduler.failure
        return JSONResponse(state, 200 if alive else 503)

    @app.get("/metrics")
    async def _metrics() -> Response:
        content = exposition(scheduler, dict(answered))
        return PlainTextResponse(content, media_type="text/plain; version=0.0.4")
