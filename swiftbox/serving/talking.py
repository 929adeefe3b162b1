"""Ask those who answer, one or two at once, and hand on what they say as it comes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.serving.client import Endpoint, Refused

Messages = Sequence[Mapping[str, Any]]

LOOK_AGAIN_S = 0.1


@dataclass(frozen=True)
class Side:
    """Someone who answers: under which name for people, at which server under which name."""

    name: str
    at: Endpoint
    model: str
    temperature: float | None = None
    """None: as the server has it."""


@dataclass(frozen=True)
class Piece:
    """A bit of what one side says."""

    side: int
    text: str = ""
    finish: str = ""
    """stop, length, ...; of the last piece."""
    error: str = ""


def said(side: Side, messages: Messages, max_tokens: int) -> Generator[Piece, None, None]:
    """Yield an answer as it comes, numbered 0; raises Refused.

    Where the longest answer does not fit behind the prompt, what fits is asked for.
    """
    body: dict[str, Any] = {"model": side.model, "messages": list(messages)}
    if side.temperature is not None:
        body["temperature"] = side.temperature
    try:
        yield from _pieces(side, {**body, "max_tokens": max_tokens})
    except Refused as refused:
        if refused.status != 400 or "max_tokens" not in refused.message:
            raise
        yield from _pieces(side, body)


def _pieces(side: Side, body: Mapping[str, Any]) -> Generator[Piece, None, None]:
    with contextlib.closing(side.at.stream("/v1/chat/completions", body)) as events:
        for event in events:
            for choice in event.get("choices") or []:
                words = (choice.get("delta") or {}).get("content") or ""
                finish = choice.get("finish_reason") or ""
                if words or finish:
                    yield Piece(0, words, finish)


def together(
    sides: Sequence[Side],
    conversations: Sequence[Messages],
    max_tokens: int,
    stop: threading.Event,
) -> Iterator[Piece]:
    """Ask all sides at once; yield what comes from any, until all have ended or `stop` is set."""
    arrived: queue.Queue[Piece] = queue.Queue()

    def listen(at: int) -> None:
        finish = "stop"
        try:
            with contextlib.closing(said(sides[at], conversations[at], max_tokens)) as pieces:
                for one in pieces:
                    if stop.is_set():
                        return
                    finish = one.finish or finish
                    if one.text:
                        arrived.put(Piece(at, one.text))
            arrived.put(Piece(at, finish=finish))
        except Refused as refused:
            arrived.put(Piece(at, finish="error", error=refused.message))

    for at in range(len(sides)):
        threading.Thread(target=listen, args=(at,), daemon=True).start()
    left = len(sides)
    while left and not stop.is_set():
        with contextlib.suppress(queue.Empty):
            one = arrived.get(timeout=LOOK_AGAIN_S)
            left -= bool(one.finish)
            yield one
