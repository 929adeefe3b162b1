"""The shapes of answers: whole or as a stream of pieces, for conversations and for texts."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftbox.core.generation.sampling import SampledToken

DONE = b"data: [DONE]\n\n"


@dataclass
class Answer:
    """One choice as far as it is known."""

    text: str = ""
    finish: str | None = None
    tokens: int = 0
    logs: list[SampledToken] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    """The tools it calls; of a piece of a stream, the new ones."""

    @property
    def ids(self) -> list[int]:
        """Return its tokens, as far as their text is told."""
        return [one.token for one in self.logs]


@dataclass(frozen=True)
class Shape:
    """Writes the answers to one request as its kind wants them."""

    chat: bool
    model: str
    words: Callable[[int], str]
    """The text of one token."""
    logprobs: bool
    usage: bool
    """Whether a stream ends with its usage."""
    ids: bool = False
    """Whether the tokens are told by number too."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answers: Sequence[Answer], prompt_tokens: int) -> dict[str, Any]:
        """Return all answers at once."""
        choices = [self._choice(index, one) for index, one in enumerate(answers)]
        said = self._head("chat.completion" if self.chat else "text_completion")
        return {**said, "choices": choices, "usage": usage(prompt_tokens, answers)}

    def _choice(self, index: int, one: Answer) -> dict[str, Any]:
        said: dict[str, Any] = {"index": index, "finish_reason": one.finish}
        if self.chat:
            said["message"] = {"role": "assistant", "content": one.text, "refusal": None}
            if one.calls:
                said["message"] |= {"content": one.text or None, "tool_calls": one.calls}
        else:
            said["text"] = one.text
        if self.ids:
            said["token_ids"] = one.ids
        return {**said, "logprobs": self._logprobs(one.logs, 0) if self.logprobs else None}

    def opening(self, index: int) -> bytes:
        """Return the piece that says who speaks."""
        return self._piece(index, {"role": "assistant", "content": ""}, Answer(), None)

    def piece(self, index: int, one: Answer, before: Answer) -> bytes:
        """Return a piece of an answer, which follows what there was before."""
        logs = self._logprobs(one.logs, len(before.text)) if self.logprobs and one.logs else None
        delta: dict[str, Any] = {"content": one.text} if one.text or logs else {}
        if one.calls:
            first = len(before.calls)
            calls = [{"index": first + at, **call} for at, call in enumerate(one.calls)]
            delta["tool_calls"] = calls
        said: dict[str, Any] = {"token_ids": one.ids} if self.ids else {}
        return self._piece(index, delta, one, logs, **said)

    def _piece(
        self, index: int, delta: Mapping[str, Any], one: Answer, logs: Any, **more: Any
    ) -> bytes:
        said: dict[str, Any] = {"index": index, "logprobs": logs, "finish_reason": one.finish}
        said["delta" if self.chat else "text"] = delta if self.chat else one.text
        return self._event({"choices": [{**said, **more}]})

    def ending(self, answers: Sequence[Answer], prompt_tokens: int) -> bytes:
        """Return what follows the last piece."""
        last = b""
        if self.usage:
            last = self._event({"choices": [], "usage": usage(prompt_tokens, answers)})
        return last + DONE

    def _event(self, content: Mapping[str, Any]) -> bytes:
        head = self._head("chat.completion.chunk" if self.chat else "text_completion")
        if self.usage:
            head["usage"] = None
        return event({**head, **content})

    def _head(self, kind: str) -> dict[str, Any]:
        name = f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}"
        return {"id": name, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, logs: Sequence[SampledToken], offset: int) -> dict[str, Any]:
        if self.chat:
            return {"content": [self._told(one) for one in logs], "refusal": None}
        words = [self.words(one.token) for one in logs]
        offsets = [offset + sum(map(len, words[:at])) for at in range(len(words))]
        return {
            "tokens": words,
            "token_logprobs": [one.logprob for one in logs],
            "top_logprobs": [
                {self.words(token): value for token, value in one.top} for one in logs
            ],
            "text_offset": offsets,
        }

    def _told(self, one: SampledToken) -> dict[str, Any]:
        top = [self._token(token, value) for token, value in one.top]
        return {**self._token(one.token, one.logprob or 0.0), "top_logprobs": top}

    def _token(self, token: int, value: float) -> dict[str, Any]:
        word = self.words(token)
        return {"token": word, "logprob": value, "bytes": list(word.encode())}


def usage(prompt_tokens: int, answers: Sequence[Answer]) -> dict[str, int]:
    """Return the tokens that were read and written."""
    written = sum(one.tokens for one in answers)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
    }


def event(content: Mapping[str, Any]) -> bytes:
    """Return one event of a stream."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
