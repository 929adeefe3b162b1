"""Hold a running server against the training of what it serves: tokens of prompts, greedy answers.

Shapes: T tokens of a prompt, A tokens of an answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.core.generation import parity
from swiftbox.core.generation.parity import (
    GreedyAnswer,
    ParityPrompt,
    ParityRecord,
    first_difference,
)
from swiftbox.errors import ResultError, RunError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.serving.client import Endpoint, Refused

AROUND = 8
"""Tokens that are shown before a difference and from it on."""

UNLIKE_GREEDY = {"temperature": 0, "top_p": 1, "repetition_penalty": 1}
"""What a model's own settings would otherwise add to a request."""

Generate = Callable[[str, ParityPrompt], GreedyAnswer]
"""Answers with the very model in the server's memory, by plain generate; "" is the base."""


@dataclass(frozen=True)
class Held:
    """What is held against what: folders by the names they are served under, the base first."""

    base: str
    folders: Mapping[str, Path]
    dtype: str
    trust_remote_code: bool = False

    @property
    def is_quantized(self) -> bool:
        """Tell whether the base is served in few bits."""
        said = read_json(self.folders[self.base] / "config.json")
        return "quantization_config" in said


@dataclass
class Verdict:
    """What was found for one model."""

    model: str
    prompts: int = 0
    """Whose tokens were compared."""
    trained: bool = False
    """Whether with those of its training; else with what the trainer makes of them today."""
    answers: int = 0
    answered_by: str = ""
    """training, or memory: plain generate beside the server; empty: nothing to compare with."""
    ties: int = 0
    """Answers that part where two tokens are as likely but for rounding."""
    skipped: int = 0
    """Prompts that are longer than the server reads."""
    differences: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def hold(
    held: Held,
    at: Endpoint,
    *,
    strict: bool,
    generate: Generate | None,
    stop: threading.Event,
    emit: Callable[..., None],
) -> None:
    """Check, and record what was found; raise ResultError for a difference where it is strict."""
    began = time.monotonic()
    found = check(held, at, generate=generate, stop=stop)
    seconds = round(time.monotonic() - began, 2)
    emit(events.PARITY, seconds=seconds, models=[one.to_dict() for one in found])
    differences = [line for one in found for line in one.differences]
    if differences and strict:
        raise ResultError(
            "\n".join(differences),
            hint=text(
                "training and server would not say the same: give back the template, tokenizer, "
                "base or adapter of the training; parity: warn serves it as it is",
                "训练与服务的结果不一致：请恢复训练时的模板、分词器、基座或适配器；"
                "设 parity: warn 则照常部署",
            ),
        )


def check(
    held: Held, at: Endpoint, *, generate: Generate | None, stop: threading.Event
) -> list[Verdict]:
    """Compare every model that is served; stop between two questions when asked to.

    Raises RunError for a server that is gone.
    """
    found = []
    for name, folder in held.folders.items():
        tokenizer, record, trained = parity.load_reference(
            folder, held.folders[held.base], trust_remote_code=held.trust_remote_code
        )
        verdict = Verdict(name, trained=trained)
        try:
            _tokens(verdict, record.prompts, tokenizer, at, stop)
            if not verdict.differences:
                _answers(verdict, held, record, tokenizer, (at, generate, stop))
        except Refused as refused:
            if not refused.status:  # it was not reached
                raise RunError(refused.message) from None
            verdict.differences.append(f"{name}: {refused.message}")
        found.append(verdict)
    return found


def _tokens(
    verdict: Verdict,
    prompts: Sequence[ParityPrompt],
    tokenizer: Any,
    at: Endpoint,
    stop: threading.Event,
) -> None:
    for one in prompts:
        if stop.is_set():
            return
        try:
            got = tokens_of(at, verdict.model, one)
        except Refused as refused:
            if not _too_long(refused):
                raise
            verdict.skipped += 1
            continue
        verdict.prompts += 1
        place = first_difference(one.ids, got)
        if place is not None:
            sides = (one.ids, got, verdict.trained)
            verdict.differences.append(
                in_words(verdict.model, f"prompt {one.name}", place, sides, tokenizer)
            )


def _too_long(refused: Refused) -> bool:
    """Tell whether a server refuses a prompt for its length: ours says so, and vLLM."""
    words = ("the longest with its", "is more than", "maximum context length", "max_model_len")
    return refused.status == 400 and any(one in refused.message for one in words)


def tokens_of(at: Endpoint, model: str, prompt: ParityPrompt) -> list[int]:
    """Ask a server for the tokens of a prompt, by vLLM's route."""
    body: dict[str, Any] = {"model": model, **prompt.request}
    if "prompt" in body:
        body["add_special_tokens"] = False
    return [int(one) for one in at.ask("/tokenize", body)["tokens"]]


Means = tuple[Endpoint, "Generate | None", threading.Event]


def _answers(
    verdict: Verdict, held: Held, record: ParityRecord, tokenizer: Any, means: Means
) -> None:
    at, generate, stop = means
    known = {one.name: one for one in record.answers}
    same_base = not record.quantization and not held.is_quantized
    verdict.answered_by = "training" if known and same_base else "memory" if generate else ""
    adapter = "" if verdict.model == held.base else verdict.model
    for one in record.prompts:
        if stop.is_set() or not verdict.answered_by:
            return
        if one.name not in parity.ANSWERED:
            continue
        wanted = known.get(one.name) if verdict.answered_by == "training" else None
        if wanted is None and generate is not None:
            wanted = generate(adapter, one)
        if wanted is None:
            continue
        dtypes = (held.dtype, record.dtype) if one.name in known else (held.dtype,)
        try:
            got = answer_of(at, verdict.model, one)
        except Refused as refused:
            if not _too_long(refused):
                raise
            verdict.skipped += 1
            continue
        _compare(verdict, one, (wanted, got), dtypes, tokenizer)


def answer_of(at: Endpoint, model: str, prompt: ParityPrompt) -> tuple[int, ...] | str:
    """Ask a server for the greedy answer to a prompt: its tokens, its text where it tells none."""
    body = {"model": model, "prompt": list(prompt.ids), "max_tokens": parity.ANSWER_TOKENS}
    body |= {**UNLIKE_GREEDY, "return_token_ids": True}
    (choice,) = at.ask("/v1/completions", body)["choices"]
    found = choice.get("token_ids")
    return tuple(found) if found is not None else str(choice["text"])


def _compare(
    verdict: Verdict,
    prompt: ParityPrompt,
    answers: tuple[GreedyAnswer, tuple[int, ...] | str],
    dtypes: Sequence[str],
    tokenizer: Any,
) -> None:
    wanted, got = answers
    verdict.answers += 1
    if isinstance(got, str):
        if got == tokenizer.decode(wanted.ids, skip_special_tokens=True):
            return
        got = tuple(tokenizer(got, add_special_tokens=False).input_ids)
    ends = set(tokenizer.all_special_ids)
    while got and got[-1] in ends and len(got) > len(wanted.ids):
        got = got[:-1]
    place = first_difference(wanted.ids, got)
    if place is None:
        return
    if parity.is_tie(wanted, place, dtypes):
        verdict.ties += 1
        return
    gap = wanted.margins[place] if place < len(wanted.margins) else 0.0
    sides = (wanted.ids, got, verdict.answered_by == "training")
    said = in_words(verdict.model, f"answer to {prompt.name}", place, sides, tokenizer)
    more = text(
        f"(the token led the second by {gap:.2g}: no tie)",
        f"（该 token 领先第二名 {gap:.2g}，并非平局）",
    )
    verdict.differences.append(f"{said} {more}")


def in_words(
    model: str,
    what: str,
    place: int,
    sides: tuple[Sequence[int], Sequence[int], bool],
    tokenizer: Any,
) -> str:
    """Return where two rows of tokens part, and both texts from a little before."""
    wanted, got, trained = sides
    words = [repr(str(tokenizer.decode(list(one[place : place + 1])))) for one in (wanted, got)]
    begin = max(0, place - AROUND)
    cut = [repr(str(tokenizer.decode(list(one[begin : place + AROUND])))) for one in (wanted, got)]
    theirs = text("training", "训练") if trained else text("trainer's way", "训练方式")
    ours = text("server", "服务")
    return text(
        f"{model}: {what}: token {place + 1} differs: {words[0]} ({theirs}), {words[1]} ({ours}); "
        f"{theirs}: {cut[0]}; {ours}: {cut[1]}",
        f"{model}：{what}：第 {place + 1} 个 token 不同：{words[0]}（{theirs}），"
        f"{words[1]}（{ours}）；{theirs}：{cut[0]}；{ours}：{cut[1]}",
    )
