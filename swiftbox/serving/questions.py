"""Ask one or several participants at once, and yield their answers as they arrive."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from swiftbox.serving.client import Endpoint, RequestRefused

Messages = Sequence[Mapping[str, Any]]

POLL_S = 0.1

REASONING_KEYS = ("reasoning_content", "reasoning")


@dataclass(frozen=True)
class Participant:
    """A model that answers: its name for people, its endpoint, and its name there."""

    name: str
    endpoint: Endpoint
    model: str
    temperature: float | None = None
    """None: the server's default."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template; empty: the server's default."""


@dataclass(frozen=True)
class AnswerPiece:
    """A part of the answer of one participant."""

    participant: int
    text: str = ""
    finish: str = ""
    """stop, length, ... in the last piece."""
    error: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """The name and the arguments of each tool call; all of them in the last piece."""


def answer(
    participant: Participant, messages: Messages, max_tokens: int
) -> Generator[AnswerPiece, None, None]:
    """Yield an answer as it arrives, numbered 0; raises RequestRefused.

    If `max_tokens` does not fit after the prompt, the longest possible answer is requested.
    """
    body: dict[str, Any] = {"model": participant.model, "messages": list(messages)}
    if participant.temperature is not None:
        body["temperature"] = participant.temperature
    if participant.variables:
        body["chat_template_kwargs"] = dict(participant.variables)
    try:
        yield from _pieces(participant, {**body, "max_tokens": max_tokens})
    except RequestRefused as refused:
        if refused.status != 400 or "max_tokens" not in refused.message:
            raise
        yield from _pieces(participant, body)


def _pieces(
    participant: Participant, body: Mapping[str, Any]
) -> Generator[AnswerPiece, None, None]:
    calls: dict[int, tuple[str, str]] = {}
    with contextlib.closing(participant.endpoint.stream("/v1/chat/completions", body)) as events:
        for event in events:
            for choice in event.get("choices") or []:
                delta = choice.get("delta") or {}
                for call in delta.get("tool_calls") or []:
                    _add_call(calls, call)
                content = delta.get("content") or ""
                reasoning = _reasoning(delta)
                finish = choice.get("finish_reason") or ""
                if content or reasoning or finish:
                    complete = tuple(calls.values()) if finish else ()
                    yield AnswerPiece(0, content, finish, "", reasoning, complete)


def _reasoning(delta: Mapping[str, Any]) -> str:
    """Return the reasoning of a chunk, under the names that servers give it."""
    return next((delta[key] for key in REASONING_KEYS if isinstance(delta.get(key), str)), "")


def _add_call(calls: dict[int, tuple[str, str]], delta: Mapping[str, Any]) -> None:
    """Add a piece of a call to the calls by their index."""
    name, arguments = calls.get(delta.get("index", 0), ("", ""))
    function = delta.get("function") or {}
    name, arguments = (
        name or function.get("name") or "",
        arguments + (function.get("arguments") or ""),
    )
    calls[delta.get("index", 0)] = name, arguments


def ask_all(
    participants: Sequence[Participant],
    conversations: Sequence[Messages],
    max_tokens: int,
    stop: threading.Event,
) -> Iterator[AnswerPiece]:
    """Ask all participants at once; yield pieces until all have ended or `stop` is set."""
    arrived: queue.Queue[AnswerPiece] = queue.Queue()

    def listen(index: int) -> None:
        finish = "stop"
        try:
            with contextlib.closing(
                answer(participants[index], conversations[index], max_tokens)
            ) as pieces:
                for piece in pieces:
                    if stop.is_set():
                        return
                    finish = piece.finish or finish
                    if piece.text or piece.reasoning or piece.calls:
                        arrived.put(replace(piece, participant=index, finish=""))
            arrived.put(AnswerPiece(index, finish=finish))
        except RequestRefused as refused:
            arrived.put(AnswerPiece(index, finish="error", error=refused.message))

    for index in range(len(participants)):
        threading.Thread(target=listen, args=(index,), daemon=True).start()
    unfinished = len(participants)
    while unfinished and not stop.is_set():
        with contextlib.suppress(queue.Empty):
            piece = arrived.get(timeout=POLL_S)
            unfinished -= bool(piece.finish)
            yield piece
