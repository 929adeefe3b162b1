"""Ask a server for the answers to rows; each is written as it arrives and never asked for twice.

A server of ours gets the prompt in the tokens of the training; one elsewhere gets the messages.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from swiftbox.errors import ChildError, RunError
from swiftbox.evaluation.own_rows.row_files import ChosenRow
from swiftbox.evaluation.run_jobs import AnsweringServer
from swiftbox.evaluation.workload import AnswerRate
from swiftbox.files import write_atomic
from swiftbox.language import text
from swiftbox.serving.client import Endpoint, RequestRefused

TRIES = 4
"""Of a request that a server cannot answer now: it is busy, or the connection broke."""

FIRST_WAIT_S = 1.0
"""Before the second try; each later one waits twice as long."""

POLL_S = 0.1
END_S = 5.0
"""For requests under way when a stop is requested."""

REPORT_S = 0.5
"""Between two reports of progress."""

BUSY = (0, 408, 409, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed; 0: no connection."""

OF_THE_ROW = (400, 413, 422)
"""Statuses by which a server refuses this prompt, such as one that is too long."""


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are generated."""

    max_tokens: int
    temperature: float
    seed: int
    concurrency: int
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template, for a server that renders the messages."""


@dataclass(frozen=True)
class RowQuestion:
    """A row to answer: its messages, or its prompt in tokens."""

    row: ChosenRow
    prompt: Sequence[int] | None = None


class Report(Protocol):
    """Gets the progress of a set of answers."""

    def __call__(self, count: int, per_s: float | None, eta_s: float | None) -> None:
        """Take the number of answers, their rate, and the seconds left."""


@dataclass
class LineFile:
    """A file of JSON objects, one per line; a line that a crash cut off is dropped."""

    path: Path

    def read(self) -> list[dict[str, Any]]:
        """Return the complete lines."""
        try:
            content = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        complete = content[: content.rfind("\n") + 1]
        if complete != content:
            write_atomic(self.path, complete)
        return [json.loads(line) for line in complete.splitlines()]

    def add(self, content: Mapping[str, Any]) -> None:
        """Append a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content, ensure_ascii=True) + "\n")


@dataclass(frozen=True)
class Asking:
    """A model at a server, and how it answers."""

    endpoint: Endpoint
    model: str
    settings: AnswerSettings
    server: AnsweringServer | None = None

    def answer_all(
        self,
        questions: Sequence[RowQuestion],
        answers: LineFile,
        report: Report,
        stop: threading.Event,
    ) -> bool:
        """Answer every question that has no answer yet; return False if a stop was requested.

        Raises RunError if the server ended, or refuses to answer at all.
        """
        known = {line["id"] for line in answers.read()}
        open_questions = [question for question in questions if question.row.id not in known]
        done, total, rate = len(questions) - len(open_questions), len(questions), AnswerRate()
        rate.add(time.monotonic(), done)
        report(done, None, None)
        last_report = time.monotonic()
        for line in in_parallel(self._answer, open_questions, self.settings.concurrency, stop):
            answers.add(line)
            done += 1
            rate.add(time.monotonic(), done)
            if time.monotonic() - last_report >= REPORT_S or done == total:
                last_report = time.monotonic()
                report(done, rate.per_s(), rate.eta_s(total))
        return done == total

    def _answer(self, question: RowQuestion, stop: threading.Event) -> dict[str, Any] | None:
        """Return an answer; None if a stop was requested."""
        began = time.monotonic()
        try:
            answer = self._ask(question, stop)
        except RequestRefused as refused:
            if refused.status not in OF_THE_ROW:
                raise _no_answer(self, refused) from None
            why = refused.message[:500]
            return {"id": question.row.id, "answer": "", "end": "refused", "why": why}
        if answer is None:
            return None
        seconds = round(time.monotonic() - began, 3)
        return {"id": question.row.id, **read_answer(answer), "seconds": seconds}

    def _ask(self, question: RowQuestion, stop: threading.Event) -> dict[str, Any] | None:
        path, body = self._request(question)
        try:
            return patiently(self.endpoint, path, body, stop)
        except RequestRefused as refused:
            if refused.status != 400 or "max_tokens" not in refused.message:
                raise
        shorter = {key: value for key, value in body.items() if key != "max_tokens"}
        return patiently(self.endpoint, path, shorter, stop)

    def _request(self, question: RowQuestion) -> tuple[str, dict[str, Any]]:
        settings = self.settings
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            "seed": settings.seed,
        }
        if question.prompt is not None:
            return "/v1/completions", {**body, "prompt": list(question.prompt)}
        row = question.row
        body["messages"] = [dict(message) for message in row.messages]
        if row.tools:
            body["tools"] = list(row.tools)
        if settings.variables:
            body["chat_template_kwargs"] = dict(settings.variables)
        return "/v1/chat/completions", body


def read_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the text of an answer, how it ended, and its tokens."""
    choice = (answer.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    content = choice.get("text") if "text" in choice else message.get("content")
    calls = message.get("tool_calls") or []
    parts = [content or "", *(json.dumps(call.get("function")) for call in calls)]
    usage = answer.get("usage") or {}
    return {
        "answer": "\n".join(part for part in parts if part),
        "end": str(choice.get("finish_reason") or "stop"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "tokens": usage.get("completion_tokens"),
    }


def patiently(
    endpoint: Endpoint, path: str, body: Mapping[str, Any], stop: threading.Event
) -> dict[str, Any] | None:
    """Return a server's answer, asked for again while it is busy; None if a stop was requested.

    Raises RequestRefused for an answer that another try does not change, and after TRIES.
    """
    for number in range(TRIES):
        if stop.is_set():
            return None
        try:
            return endpoint.ask(path, body)
        except RequestRefused as refused:
            if refused.status not in BUSY or number + 1 == TRIES:
                raise
        stop.wait(FIRST_WAIT_S * 2**number)
    return None


def in_parallel(
    work: Any, items: Sequence[Any], concurrency: int, stop: threading.Event
) -> Iterator[dict[str, Any]]:
    """Yield the results of `work(item, ended)` as they arrive, but for those that are None.

    After an error nothing new begins; what is under way is yielded, then the error is raised.
    After a stop, what is under way has END_S seconds.
    """
    ended = threading.Event()
    remaining = iter(items)
    errors: list[RunError] = []
    running: set[Future[dict[str, Any] | None]] = set()
    try:
        while not stop.is_set():
            if not errors:
                new = _next(remaining, concurrency - len(running))
                running |= {_begin(work, item, ended) for item in new}
            if not running:
                break
            complete, running = wait(running, POLL_S, FIRST_COMPLETED)
            yield from _results(complete, errors)
            if errors:
                ended.set()
        ended.set()
        complete, _ = wait(running, END_S)
        yield from _results(complete, errors)
    finally:
        ended.set()
    if errors:
        raise errors[0]


def _begin(work: Any, item: Any, ended: threading.Event) -> Future[dict[str, Any] | None]:
    """Return the future result of `work(item, ended)`, from a thread that delays no exit."""
    future: Future[dict[str, Any] | None] = Future()

    def run() -> None:
        try:
            future.set_result(work(item, ended))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _results(
    complete: Iterable[Future[dict[str, Any] | None]], errors: list[RunError]
) -> Iterator[dict[str, Any]]:
    """Yield results, and collect errors."""
    for future in complete:
        try:
            result = future.result()
        except RunError as error:
            errors.append(error)
            continue
        if result is not None:
            yield result


def _next(items: Iterator[Any], count: int) -> Iterator[Any]:
    for _ in range(count):
        try:
            yield next(items)
        except StopIteration:
            return


def _no_answer(asking: Asking, refused: RequestRefused) -> RunError:
    """Return the error of a server that does not answer, with its last lines if it ended."""
    why = refused.message
    if asking.server is not None and not asking.server.is_alive:
        why = asking.server.failure().message
    return ChildError(
        text(f"{asking.model}: no answer: {why}", f"{asking.model}：没有回答：{why}"),
        hint=text(
            "answers so far are kept: continue with `swiftbox runs resume`",
            "已有的回答已保留：`swiftbox runs resume` 可继续",
        ),
    )
