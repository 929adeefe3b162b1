"""Ask a judge model which of two answers is better, in both orders, and keep each verdict.

A judge that prefers a position instead of an answer contradicts itself when the order changes:
such a row is a tie. Equal answers are a tie without a question.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftbox.errors import ChildError, RunError
from swiftbox.evaluation.intervals import mcnemar, wilson
from swiftbox.evaluation.own_rows.asking import (
    OF_THE_ROW,
    LineFile,
    Report,
    in_parallel,
    patiently,
)
from swiftbox.evaluation.own_rows.judge_prompt import (
    RESPONSE_FORMAT,
    judge_messages,
    read_verdict,
)
from swiftbox.evaluation.own_rows.row_files import ChosenRow
from swiftbox.evaluation.workload import AnswerRate
from swiftbox.language import text
from swiftbox.serving.client import Endpoint, RequestRefused

ORDERS = ("baseline first", "candidate first")

SIDES = {
    "baseline first": {"A": "baseline", "B": "candidate", "TIE": "tie"},
    "candidate first": {"A": "candidate", "B": "baseline", "TIE": "tie"},
}
"""What the letters of a verdict stand for in each order."""

SAME = "same"
"""The order of a row whose answers are equal, about which nobody is asked."""

UNREAD = "unread"

MAX_REFUSED = 5
"""Refused requests before the first verdict: then the judge is not one that can be asked."""

KEPT_CHARACTERS = 500
"""Of a reply that is not a verdict."""


@dataclass(frozen=True)
class Pair:
    """The answers of baseline and candidate to a row."""

    row: ChosenRow
    baseline: str
    candidate: str

    def in_order(self, order: str) -> tuple[str, str]:
        """Return both answers, A first."""
        is_first = order == ORDERS[0]
        return (self.baseline, self.candidate) if is_first else (self.candidate, self.baseline)


@dataclass
class Judge:
    """A judge model at a server; remembers which settings the server does not take."""

    endpoint: Endpoint
    model: str
    max_tokens: int
    concurrency: int
    language: str = "en"
    refused: set[str] = field(default_factory=set)
    """Settings that the server refused, and that later requests leave out."""
    _tried: int = 0
    _read: int = 0

    def judge(
        self, pairs: Sequence[Pair], verdicts: LineFile, report: Report, stop: threading.Event
    ) -> bool:
        """Judge every pair in both orders, but for known verdicts; return False after a stop.

        Raises RunError if the judge cannot be asked; verdicts so far are kept.
        """
        lines = verdicts.read()
        known = {(line["id"], line["order"]) for line in lines}
        for pair in pairs:
            if pair.baseline == pair.candidate and (pair.row.id, SAME) not in known:
                verdicts.add({"id": pair.row.id, "order": SAME, "verdict": "tie"})
        different = [pair for pair in pairs if pair.baseline != pair.candidate]
        items = [(pair, order) for pair in different for order in ORDERS]
        questions = [item for item in items if (item[0].row.id, item[1]) not in known]
        done, rate = len(items) - len(questions), AnswerRate()
        self._read += done
        rate.add(time.monotonic(), done)
        report(done, None, None)
        for line in in_parallel(self._verdict, questions, self.concurrency, stop):
            verdicts.add(line)
            done += 1
            rate.add(time.monotonic(), done)
            report(done, rate.per_s(), rate.eta_s(len(items)))
        return done == len(items)

    def _verdict(self, item: tuple[Pair, str], stop: threading.Event) -> dict[str, Any] | None:
        pair, order = item
        line: dict[str, Any] = {"id": pair.row.id, "order": order}
        messages = judge_messages(pair.row, pair.in_order(order), self.language)
        try:
            reply = self._reply(messages, stop)
        except RequestRefused as refused:
            self._tried += 1
            hopeless = not self._read and self._tried >= MAX_REFUSED
            if refused.status not in OF_THE_ROW or hopeless:
                raise self._no_verdict(refused) from None
            return {**line, "verdict": UNREAD, "reply": refused.message[:KEPT_CHARACTERS]}
        if reply is None:
            return None
        self._read += 1
        choice = (reply.get("choices") or [{}])[0]
        content = str((choice.get("message") or {}).get("content") or "")
        usage = reply.get("usage") or {}
        line["tokens"] = (usage.get("prompt_tokens") or 0) + (usage.get("completion_tokens") or 0)
        letter = read_verdict(content)
        if not letter:
            return {**line, "verdict": UNREAD, "reply": content[:KEPT_CHARACTERS]}
        return {**line, "verdict": SIDES[order][letter]}

    def _reply(
        self, messages: list[dict[str, str]], stop: threading.Event
    ) -> dict[str, Any] | None:
        """Return the reply of the judge, without the settings that its server does not take."""
        for _ in range(4):
            body = self._body(messages)
            try:
                return patiently(self.endpoint, "/v1/chat/completions", body, stop)
            except RequestRefused as refused:
                setting = self._refused_setting(refused, body)
                if not setting:
                    raise
                self.refused.add(setting)
        return None

    def _body(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        settings = {
            "temperature": 0,
            "response_format": RESPONSE_FORMAT,
            "max_tokens": self.max_tokens,
        }
        body = {key: value for key, value in settings.items() if key not in self.refused}
        if "max_tokens" in self.refused:  # reasoning models of OpenAI have another name for it
            body["max_completion_tokens"] = self.max_tokens
        return {"model": self.model, "messages": messages, **body}

    def _refused_setting(self, refused: RequestRefused, body: Mapping[str, Any]) -> str:
        """Return the setting that a refusal names; empty if it is about something else."""
        if refused.status not in (400, 422):
            return ""
        message = refused.message.lower()
        names = {
            "response_format": ("response_format", "json_schema", "guided", "grammar"),
            "max_tokens": ("max_tokens", "max_completion_tokens"),
            "temperature": ("temperature",),
        }
        for setting, marks in names.items():
            if setting in body and any(mark in message for mark in marks):
                return setting
        return ""

    def _no_verdict(self, refused: RequestRefused) -> RunError:
        return ChildError(
            text(
                f"judge {self.model}: no verdict: {refused.message}",
                f"评审模型 {self.model}：没有裁决：{refused.message}",
            ),
            hint=text(
                "check judge_endpoint, judge_model and judge_key_env; verdicts so far are kept: "
                "`swiftbox runs resume` asks only for the others",
                "请检查 judge_endpoint、judge_model 与 judge_key_env；已有的裁决已保留："
                "`swiftbox runs resume` 只补问其余的",
            ),
        )


def outcomes(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the outcome of each row: win, loss, tie, flipped (by the order), same or unread."""
    by_row: dict[str, dict[str, str]] = {}
    for line in lines:
        by_row.setdefault(line["id"], {})[line["order"]] = line["verdict"]
    return {name: _outcome(verdicts) for name, verdicts in by_row.items()}


def _outcome(verdicts: Mapping[str, str]) -> str:
    if SAME in verdicts:
        return SAME
    both = [verdicts.get(order, UNREAD) for order in ORDERS]
    if UNREAD in both:
        return UNREAD
    if both[0] != both[1]:
        return "flipped"
    return {"candidate": "win", "baseline": "loss"}.get(both[0], "tie")


def judged(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return wins, ties and losses of a candidate, and its win rate with the 95 % interval.

    A tie is half a win. Rows without a readable verdict count for nothing.
    """
    by_row = list(outcomes(lines).values())
    counts = {name: by_row.count(name) for name in ("win", "loss", "tie", "flipped", SAME, UNREAD)}
    ties = counts["tie"] + counts["flipped"] + counts[SAME]
    total = counts["win"] + counts["loss"] + ties
    rate: dict[str, float] = {}
    if total:
        interval = wilson(counts["win"] + ties / 2, total)
        rate = {key: round(value, 6) for key, value in vars(interval).items()}
    p_value = mcnemar(counts["win"], counts["loss"])
    apart = bool(rate) and not rate["low"] <= 0.5 <= rate["high"]
    requests = [line for line in lines if line["order"] != SAME]
    return {
        **counts,
        "count": total,
        **rate,
        "p": p_value,
        "told": apart and p_value < 0.05,
        "first": _chosen_first(requests),
        "questions": len(requests),
        "unread_replies": sum(line["verdict"] == UNREAD for line in requests),
        "tokens": sum(line.get("tokens") or 0 for line in requests),
    }


def _chosen_first(requests: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return how many verdicts chose the answer that stood first, and how many chose one."""
    first = {ORDERS[0]: "baseline", ORDERS[1]: "candidate"}
    decided = [line for line in requests if line["verdict"] in ("baseline", "candidate")]
    return [sum(line["verdict"] == first[line["order"]] for line in decided), len(decided)]
