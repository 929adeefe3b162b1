"""Response formats: complete or streamed, for chat and for text completions."""

from __future__ import annotations

import codecs
import itertools
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftbox.core.generation.sampling import SampledToken

CHARACTER_BYTES = 4
"""The longest character; its tokens are at most as many."""

DONE = b"data: [DONE]\n\n"


@dataclass
class Answer:
    """One choice, as far as it has been generated."""

    text: str = ""
    finish: str | None = None
    tokens: int = 0
    logs: list[SampledToken] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Its tool calls; in a chunk of a stream, the new ones."""
    reasoning: str = ""

    @property
    def ids(self) -> list[int]:
        """Return the tokens whose text is complete."""
        return [sampled.token for sampled in self.logs]

    @property
    def is_visible(self) -> bool:
        """Tell whether clients see more of it than its tokens."""
        return bool(self.text or self.reasoning or self.calls or self.finish)

    def followed_by(self, later: Answer) -> Answer:
        """Return this part and the next as one."""
        return Answer(
            self.text + later.text,
            later.finish,
            later.tokens,
            self.logs + later.logs,
            self.calls + later.calls,
            self.reasoning + later.reasoning,
        )


@dataclass(frozen=True)
class ResponseFormat:
    """Writes the answers to one request in the format of its route."""

    chat: bool
    model: str
    decode: Callable[[int], str]
    """The text of one token."""
    bytes_of: Callable[..., bytes | None]
    """The bytes that a token adds to the text; with `is_first`, at its beginning."""
    logprobs: bool
    usage: bool
    """Whether a stream ends with the usage."""
    ids: bool = False
    """Whether token ids are returned too."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def complete(self, answers: Sequence[Answer], prompt_tokens: int) -> dict[str, Any]:
        """Return all answers in one response."""
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        response = self._head("chat.completion" if self.chat else "text_completion")
        return {**response, "choices": choices, "usage": usage(prompt_tokens, answers)}

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "finish_reason": answer.finish}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": answer.text, "refusal": None}
            if answer.reasoning:
                choice["message"]["reasoning_content"] = answer.reasoning
            if answer.calls:
                calls = {"content": answer.text or None, "tool_calls": answer.calls}
                choice["message"] |= calls
        else:
            choice["text"] = answer.text
        if self.ids:
            choice["token_ids"] = answer.ids
        logs = self._logprobs(answer.logs, Answer()) if self.logprobs else None
        return {**choice, "logprobs": logs}

    def opening(self, index: int) -> bytes:
        """Return the chunk that names the role."""
        return self._chunk(index, {"role": "assistant", "content": ""}, Answer(), None)

    def chunk(self, index: int, new: Answer, before: Answer) -> bytes:
        """Return the chunk for a new part of an answer, given the part before it."""
        logs = self._logprobs(new.logs, before) if self.logprobs and new.logs else None
        delta: dict[str, Any] = {"content": new.text} if new.text or logs else {}
        if new.reasoning:
            delta["reasoning_content"] = new.reasoning
        if new.calls:
            numbered = enumerate(new.calls, start=len(before.calls))
            delta["tool_calls"] = [{"index": number, **call} for number, call in numbered]
        ids: dict[str, Any] = {"token_ids": new.ids} if self.ids else {}
        return self._chunk(index, delta, new, logs, **ids)

    def _chunk(
        self, index: int, delta: Mapping[str, Any], new: Answer, logs: Any, **extra: Any
    ) -> bytes:
        choice: dict[str, Any] = {"index": index, "logprobs": logs, "finish_reason": new.finish}
        choice["delta" if self.chat else "text"] = delta if self.chat else new.text
        return self._event({"choices": [{**choice, **extra}]})

    def ending(self, answers: Sequence[Answer], prompt_tokens: int) -> bytes:
        """Return the end of the stream."""
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

    def _logprobs(self, logs: Sequence[SampledToken], before: Answer) -> dict[str, Any]:
        if self.chat:
            content = [
                self._sampled(sampled, is_first=not before.logs and number == 0)
                for number, sampled in enumerate(logs)
            ]
            return {"content": content, "refusal": None}
        texts = self._texts(logs, before)
        starts = list(itertools.accumulate(map(len, texts), initial=len(before.text)))
        return {
            "tokens": texts,
            "token_logprobs": [sampled.logprob for sampled in logs],
            "top_logprobs": [
                {self.decode(token): value for token, value in sampled.top} for sampled in logs
            ],
            "text_offset": starts[:-1],
        }

    def _texts(self, logs: Sequence[SampledToken], before: Answer) -> list[str]:
        """Return what each token adds to the text: a character comes with its last byte."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for sampled in before.logs[-CHARACTER_BYTES:]:
            decoder.decode(self.bytes_of(sampled.token) or b"")
        return [
            decoder.decode(
                self.bytes_of(sampled.token, is_first=not before.logs and number == 0) or b""
            )
            for number, sampled in enumerate(logs)
        ]

    def _sampled(self, sampled: SampledToken, *, is_first: bool) -> dict[str, Any]:
        top = [self._token(token, value, is_first=is_first) for token, value in sampled.top]
        chosen = self._token(sampled.token, sampled.logprob or 0.0, is_first=is_first)
        return {**chosen, "top_logprobs": top}

    def _token(self, token: int, value: float, *, is_first: bool) -> dict[str, Any]:
        raw = self.bytes_of(token, is_first=is_first)
        number_list = None if raw is None else list(raw)
        return {"token": self.decode(token), "logprob": value, "bytes": number_list}


def usage(prompt_tokens: int, answers: Sequence[Answer]) -> dict[str, int]:
    """Return the counts of prompt and generated tokens."""
    generated = sum(answer.tokens for answer in answers)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": generated,
        "total_tokens": prompt_tokens + generated,
    }


def event(content: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
