"""Compare a running server with the training of its model: prompt tokens, greedy answers.

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
from swiftbox.serving.client import Endpoint, RequestRefused
from swiftbox.templates.variables import served_variables

CONTEXT_TOKENS = 8
"""Tokens that are shown before and after a difference."""

GREEDY_SETTINGS = {"temperature": 0, "top_p": 1, "repetition_penalty": 1}
"""Overrides of a model's generation config."""

Generate = Callable[[str, ParityPrompt], GreedyAnswer]
"""Answers by plain generate with the model in the server's memory; "" is the base model."""


@dataclass(frozen=True)
class ParityTarget:
    """The served folders by name, the base model first, and how they are loaded."""

    base_name: str
    folders: Mapping[str, Path]
    dtype: str
    trust_remote_code: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the template that are set for all of them."""

    @property
    def is_quantized(self) -> bool:
        """Tell whether the base model is quantized."""
        config = read_json(self.folders[self.base_name] / "config.json")
        return "quantization_config" in config


@dataclass
class ParityResult:
    """The outcome of the comparison for one model."""

    model: str
    prompts: int = 0
    """Prompts whose tokens were compared."""
    trained: bool = False
    """Whether they were compared with the tokens of the training, else with fresh encodings."""
    answers: int = 0
    answered_by: str = ""
    """training, memory (plain generate in the server), or empty if there is nothing to compare."""
    ties: int = 0
    """Answers that differ at a token where two are equally likely up to rounding."""
    skipped: int = 0
    """Prompts that are longer than the server accepts."""
    differences: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class RunningServer:
    """The server under comparison: its endpoint, the stop request, and its plain generate."""

    endpoint: Endpoint
    stop: threading.Event
    generate: Generate | None = None
    is_llama_cpp: bool = False
    """Whether it has llama.cpp's routes for templates and tokens, not vLLM's."""


def require_parity(
    target: ParityTarget, server: RunningServer, *, strict: bool, emit: Callable[..., None]
) -> None:
    """Compare and record the outcome; raise ResultError for a difference if `strict`."""
    started = time.monotonic()
    results = compare(target, server)
    seconds = round(time.monotonic() - started, 2)
    emit(events.PARITY, seconds=seconds, models=[result.to_dict() for result in results])
    differences = [line for result in results for line in result.differences]
    if differences and strict:
        raise ResultError(
            "\n".join(differences),
            hint=text(
                "the server would answer differently from the training: restore the template, "
                "tokenizer, base or adapter of the training; parity: warn serves it anyway",
                "训练与服务的结果不一致：请恢复训练时的模板、分词器、基座或适配器；"
                "设 parity: warn 则照常部署",
            ),
        )


def compare(target: ParityTarget, server: RunningServer) -> list[ParityResult]:
    """Compare every served model; stop between two requests if asked to.

    Raises RunError for a server that has ended.
    """
    results = []
    for name, folder in target.folders.items():
        base_folder = target.folders[target.base_name]
        tokenizer, record, trained = parity.load_reference(
            folder,
            base_folder,
            trust_remote_code=target.trust_remote_code,
            variables=served_variables(folder, base_folder, target.variables),
        )
        result = ParityResult(name, trained=trained)
        try:
            _compare_tokens(result, record.prompts, tokenizer, server)
            if not result.differences:
                _compare_answers(result, target, record, tokenizer, server)
        except RequestRefused as refused:
            if not refused.status:  # it was not reached
                raise RunError(
                    refused.message,
                    hint=text(
                        "see the log of the server in the run folder", "请查看运行目录中服务的日志"
                    ),
                ) from None
            result.differences.append(f"{name}: {refused.message}")
        results.append(result)
    return results


def _compare_tokens(
    result: ParityResult, prompts: Sequence[ParityPrompt], tokenizer: Any, server: RunningServer
) -> None:
    for prompt in prompts:
        if server.stop.is_set():
            return
        try:
            actual = tokens_of(server, result.model, prompt)
        except RequestRefused as refused:
            if not _too_long(refused):
                raise
            result.skipped += 1
            continue
        result.prompts += 1
        position = first_difference(prompt.ids, actual)
        if position is not None:
            texts = TokenTexts(prompt.ids, actual, result.trained, tokenizer)
            result.differences.append(
                f"{result.model}: prompt {prompt.name}: {texts.describe(position)}"
            )


def _too_long(refused: RequestRefused) -> bool:
    """Tell whether a server refuses a prompt for its length, in the words of one of the servers."""
    phrases: tuple[str, ...] = ("the limit including", "is more than", "maximum context length")
    phrases += ("max_model_len", "exceeds the available context size")
    return refused.status == 400 and any(phrase in refused.message for phrase in phrases)


def tokens_of(server: RunningServer, model: str, prompt: ParityPrompt) -> list[int]:
    """Return the tokens that a server makes of a prompt."""
    body: dict[str, Any] = {"model": model, **prompt.request}
    if server.is_llama_cpp:
        return _llama_tokens(server.endpoint, body)
    if "prompt" in body:
        body["add_special_tokens"] = False
    return [int(token) for token in server.endpoint.ask("/tokenize", body)["tokens"]]


def _llama_tokens(endpoint: Endpoint, body: Mapping[str, Any]) -> list[int]:
    """Render and tokenize as llama.cpp does for a request: what begins a text is added."""
    is_chat = "prompt" not in body
    content = endpoint.ask("/apply-template", body)["prompt"] if is_chat else body["prompt"]
    request = {"content": content, "add_special": is_chat, "parse_special": True}
    return [int(token) for token in endpoint.ask("/tokenize", request)["tokens"]]


def _compare_answers(
    result: ParityResult,
    target: ParityTarget,
    record: ParityRecord,
    tokenizer: Any,
    server: RunningServer,
) -> None:
    recorded = {answer.name: answer for answer in record.answers}
    same_base = not record.quantization and not target.is_quantized
    fallback = "memory" if server.generate else ""
    result.answered_by = "training" if recorded and same_base else fallback
    adapter = "" if result.model == target.base_name else result.model
    for prompt in record.prompts:
        if server.stop.is_set() or not result.answered_by:
            return
        if prompt.name not in parity.ANSWERED:
            continue
        expected = recorded.get(prompt.name) if result.answered_by == "training" else None
        if expected is None and server.generate is not None:
            expected = server.generate(adapter, prompt)
        if expected is None:
            continue
        dtypes = (target.dtype, record.dtype) if prompt.name in recorded else (target.dtype,)
        try:
            actual = answer_of(server.endpoint, result.model, prompt)
        except RequestRefused as refused:
            if not _too_long(refused):
                raise
            result.skipped += 1
            continue
        _compare_answer(result, prompt, (expected, actual), dtypes, tokenizer)


def answer_of(endpoint: Endpoint, model: str, prompt: ParityPrompt) -> tuple[int, ...] | str:
    """Return a server's greedy answer: its tokens, or its text if it returns no tokens."""
    body = {"model": model, "prompt": list(prompt.ids), "max_tokens": parity.ANSWER_TOKENS}
    body |= {**GREEDY_SETTINGS, "return_token_ids": True}
    (choice,) = endpoint.ask("/v1/completions", body)["choices"]
    ids = choice.get("token_ids")
    return tuple(ids) if ids is not None else str(choice["text"])


def _compare_answer(
    result: ParityResult,
    prompt: ParityPrompt,
    answers: tuple[GreedyAnswer, tuple[int, ...] | str],
    dtypes: Sequence[str],
    tokenizer: Any,
) -> None:
    expected, actual = answers
    result.answers += 1
    if isinstance(actual, str):
        if actual == tokenizer.decode(expected.ids, skip_special_tokens=True):
            return
        actual = tuple(tokenizer(actual, add_special_tokens=False).input_ids)
    ends = set(tokenizer.all_special_ids)
    while actual and actual[-1] in ends and len(actual) > len(expected.ids):
        actual = actual[:-1]
    position = first_difference(expected.ids, actual)
    if position is None:
        return
    if parity.is_tie(expected, position, dtypes):
        result.ties += 1
        return
    gap = expected.margins[position] if position < len(expected.margins) else 0.0
    is_trained = result.answered_by == "training"
    difference = TokenTexts(expected.ids, actual, is_trained, tokenizer).describe(position)
    margin = text(
        f"(the token led the second by {gap:.2g}: no tie)",
        f"（该 token 领先第二名 {gap:.2g}，并非平局）",
    )
    result.differences.append(f"{result.model}: answer to {prompt.name}: {difference} {margin}")


@dataclass(frozen=True)
class TokenTexts:
    """Two rows of tokens that differ: the expected one (of the training or not), the actual one."""

    expected: Sequence[int]
    actual: Sequence[int]
    is_trained: bool
    tokenizer: Any

    def describe(self, position: int) -> str:
        """Describe where the rows differ, with both texts around that position."""
        tokens = self._decoded(position, position + 1)
        around = self._decoded(max(0, position - CONTEXT_TOKENS), position + CONTEXT_TOKENS)
        expected = text("training", "训练") if self.is_trained else text("trainer", "训练方式")
        actual = text("server", "服务")
        return text(
            f"token {position + 1} differs: {tokens[0]} ({expected}), {tokens[1]} ({actual}); "
            f"{expected}: {around[0]}; {actual}: {around[1]}",
            f"第 {position + 1} 个 token 不同：{tokens[0]}（{expected}），"
            f"{tokens[1]}（{actual}）；{expected}：{around[0]}；{actual}：{around[1]}",
        )

    def _decoded(self, start: int, end: int) -> list[str]:
        rows = (self.expected, self.actual)
        return [repr(str(self.tokenizer.decode(list(row[start:end])))) for row in rows]
