"""From a validated request to its answer: tickets of the scheduler, and their results."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftbox.core.generation.network import BASE
from swiftbox.core.generation.requests import Delta, QueueFull, Request, ShuttingDown, Ticket
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.errors import UserError
from swiftbox.models.adapters import read_adapter
from swiftbox.models.templates import require_bounded_templates
from swiftbox.serving.answers import CHARACTER_BYTES, Answer, ResponseFormat, event
from swiftbox.serving.api_errors import ApiError, busy, closing, failed
from swiftbox.serving.prompts import ConversationToRender, PreparedPrompts, PromptBuilder
from swiftbox.serving.rendering import RenderedConversation, TemplateRenderer
from swiftbox.serving.requests import ApiRequest, ChatRequest, TokenizeRequest
from swiftbox.serving.required_answers import RequiredCallReader
from swiftbox.serving.token_bytes import token_bytes
from swiftbox.serving.tool_calls import as_openai
from swiftbox.templates.call_formats.answer_reader import AnswerParts, Reader
from swiftbox.templates.call_formats.table import AnswerForm

PROMPT_THREADS = 2
"""Threads that tokenize, beside the event loop."""

LONG_PROMPT = 200_000
"""Characters; longer prompts, which take seconds, have a thread for themselves."""

LONG_PROMPT_PRIORITY = 5
"""Of their thread: on a busy processor it has a third of the time of another."""

DISCONNECTED = None
"""Ends the deltas of a request whose client has disconnected."""

Arrived = tuple[int, Delta] | None


@dataclass(frozen=True)
class ServiceOptions:
    """What a deployment allows and sets."""

    may_load: bool = False
    """Whether requests may load and unload adapters."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template."""
    tools_in_prompt: bool = False
    """Whether tools are described in the system prompt where a template renders none."""


class Service:
    """The base model and its adapters, each under its served name."""

    def __init__(
        self,
        scheduler: Scheduler,
        renderer: TemplateRenderer,
        name: str,
        options: ServiceOptions | None = None,
    ) -> None:
        options = options or ServiceOptions()
        self.scheduler = scheduler
        self.renderer = renderer
        self.network = scheduler.network
        self.name = name
        self.may_load = options.may_load
        self.loaded_at = dict.fromkeys((name for name, _ in self.models()), int(time.time()))
        """When each model was loaded, in seconds since 1970."""
        limits = scheduler.limits
        self.prompts = PromptBuilder(
            self.network, limits.length, limits.rows, options.variables, options.tools_in_prompt
        )
        self._prompt_threads = ThreadPoolExecutor(PROMPT_THREADS, thread_name_prefix="prompts")
        self._long_prompt_thread = ThreadPoolExecutor(
            1, thread_name_prefix="long prompts", initializer=_give_way
        )

    def created(self, name: str) -> int:
        """Return when a model was loaded, in seconds since 1970."""
        return self.loaded_at.setdefault(name, int(time.time()))

    def models(self) -> list[tuple[str, str | None]]:
        """Return the names of the models, and for adapters the name of their base model."""
        return [(self.name, None), *((adapter, self.name) for adapter in self.network.adapters)]

    def models_with_unknown_calls(self) -> list[str]:
        """Return the models whose templates render calls in a form that is not read."""
        names = []
        for name, _ in self.models():
            adapter = self.adapter(name)
            try:
                template = self.prompts.template(adapter, [{}])
            except ApiError:
                continue  # it has no template for conversations
            if self.renderer.has_unknown_calls(template, self.prompts.template_variables(adapter)):
                names.append(name)
        return names

    def adapter(self, model: str) -> str:
        """Return the adapter of a model name; raise ApiError for an unknown name."""
        if model == self.name:
            return BASE
        if model in self.network.adapters:
            return model
        known = ", ".join(name for name, _ in self.models())
        raise ApiError(
            404,
            f"model: no model named {model}; available: {known}",
            param="model",
            code="model_not_found",
        )

    async def run_in_thread(self, work: Callable[[], Any], *, characters: int = 0) -> Any:
        """Run blocking work outside the event loop; that on many characters delays no other."""
        is_long = characters > LONG_PROMPT
        threads = self._long_prompt_thread if is_long else self._prompt_threads
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    async def prepare(self, body: ApiRequest) -> PreparedPrompts:
        """Return the tokens and sampling settings of a request; raise ApiError."""
        adapter = self.adapter(body.model)
        self.prompts.require_few_answers(body)
        rendered = None
        if isinstance(body, ChatRequest):
            talk = ConversationToRender(
                body.messages,
                body.offered,
                body.chat_template_kwargs,
                effort=body.reasoning_effort,
            )
            rendered = await self.render(talk, adapter)
        prompts: PreparedPrompts = await self.run_in_thread(
            lambda: self.prompts.prepare(body, adapter, rendered),
            characters=len(rendered.text if rendered else "") + body.characters,
        )
        return prompts

    async def render(self, talk: ConversationToRender, adapter: str) -> RenderedConversation:
        """Return a conversation as a text; raise ApiError if the template refuses it."""
        template = self.prompts.template(adapter, talk.tools)
        await self.run_in_thread(lambda: self.prompts.require_few_characters(talk, adapter))
        return await self.renderer.render(
            template,
            lambda: self.prompts.rendering(talk, adapter, template),
            is_long=talk.characters > LONG_PROMPT,
        )

    async def tokens(self, body: TokenizeRequest) -> list[int]:
        """Return the tokens of a prompt or a conversation, as a request would use them."""
        adapter, prompts, special = self.adapter(body.model), self.prompts, False
        if body.prompt is not None:
            content, special = body.prompt, body.add_special_tokens
        else:
            messages, prompted = body.messages or [], body.add_generation_prompt
            talk = ConversationToRender(messages, body.tools, body.chat_template_kwargs, prompted)
            content = (await self.render(talk, adapter)).text
        ids: list[int] = await self.run_in_thread(
            lambda: prompts.tokens(content, adapter, special=special), characters=len(content)
        )
        return ids

    def response_format(self, body: ApiRequest) -> ResponseFormat:
        """Return the format of the answers to a request."""
        tokenizer = self.network.tokenizers[self.adapter(body.model)]
        options = body.stream_options
        return ResponseFormat(
            chat=isinstance(body, ChatRequest),
            model=body.model,
            decode=lambda token: str(tokenizer.decode([token])),
            bytes_of=token_bytes(tokenizer).of,
            logprobs=body.alternatives is not None,
            usage=bool(options and options.include_usage),
            ids=bool(body.return_token_ids),
        )

    @contextlib.contextmanager
    def _submitted(self, body: ApiRequest, prepared: PreparedPrompts) -> Any:
        """Submit all prompts of a request; cancel the unfinished ones in the end."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Arrived] = asyncio.Queue()
        tickets: list[Ticket] = []
        first = 0
        try:
            for prompt, samplings in zip(prepared.prompts, prepared.samplings, strict=True):

                def deliver(delta: Delta, first: int = first) -> None:
                    with contextlib.suppress(RuntimeError):  # the loop has ended
                        loop.call_soon_threadsafe(arrived.put_nowait, (first + delta.index, delta))

                request = Request(prompt, samplings, self.adapter(body.model), deliver)
                tickets.append(self.scheduler.submit(request))
                first += len(samplings)
            yield arrived
        except QueueFull:
            raise busy(self.scheduler.waiting, self._wait_s()) from None
        except ShuttingDown:
            raise closing() from None
        finally:
            for ticket in tickets:
                self.scheduler.cancel(ticket)

    def _wait_s(self) -> int:
        """Estimate when a slot becomes free, by the mean time to the first token so far."""
        counters = self.scheduler.counters
        mean = counters.first_token_s / counters.first_tokens if counters.first_tokens else 1.0
        return max(1, min(60, round(mean)))

    async def complete(
        self,
        body: ApiRequest,
        prepared: PreparedPrompts,
        disconnected: Callable[[], Awaitable[None]],
    ) -> dict[str, Any] | None:
        """Return all answers in one response; None if the client disconnects first."""
        answers = _partial_answers(body, prepared)
        with self._submitted(body, prepared) as arrived:
            watch = asyncio.create_task(_notify(disconnected, arrived))
            try:
                open_answers = len(answers)
                while open_answers:
                    arrival = await arrived.get()
                    if arrival is DISCONNECTED:
                        return None
                    index, delta = arrival
                    answers[index].take(delta)
                    open_answers -= delta.finish is not None
            finally:
                watch.cancel()
        prompt_tokens = sum(map(len, prepared.prompts))
        return self.response_format(body).complete([item.answer for item in answers], prompt_tokens)

    async def chunks(self, body: ApiRequest, prepared: PreparedPrompts) -> AsyncIterator[bytes]:
        """Yield the answers as server-sent events; the first is empty, once they are running.

        Raises ApiError before that if the request is refused.
        """
        response = self.response_format(body)
        answers = _partial_answers(body, prepared)
        with self._submitted(body, prepared) as arrived:
            yield b""
            if response.chat:
                for index in range(len(answers)):
                    yield response.opening(index)
            open_answers = len(answers)
            unsent: dict[int, tuple[Answer, Answer]] = {}
            while open_answers:
                index, delta = await arrived.get()
                before, waiting = unsent.pop(index, (answers[index].so_far(), Answer()))
                try:
                    new = waiting.followed_by(answers[index].take(delta))
                except ApiError as problem:
                    yield event(problem.body())
                    return
                if new.logs and not new.is_visible:
                    # Some clients drop chunks without text, and their log-probabilities.
                    unsent[index] = (before, new)
                    continue
                yield response.chunk(index, new, before)
                open_answers -= delta.finish is not None
        prompt_tokens = sum(map(len, prepared.prompts))
        yield response.ending([item.answer for item in answers], prompt_tokens)

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter between two steps; raise ApiError if that fails."""
        if name in dict(self.models()):
            raise ApiError(400, f"lora_name: {name} exists already", param="lora_name")
        try:
            read_adapter(folder)  # complete, of a supported kind, and not a pickle
            await self.run_in_thread(lambda: require_bounded_templates(folder))
            await asyncio.wrap_future(self.scheduler.call(lambda: self.network.add(name, folder)))
            self.loaded_at[name] = int(time.time())
        except UserError as error:
            raise ApiError(400, error.message, param="lora_path") from None
        except ShuttingDown:
            raise closing() from None

    async def unload(self, name: str) -> None:
        """Unload an adapter between two steps; its running answers are cancelled."""
        if name not in self.network.adapters:
            raise ApiError(404, f"lora_name: {name} is not loaded", param="lora_name")
        try:
            await asyncio.wrap_future(self.scheduler.call(lambda: self.scheduler.forget(name)))
        except ShuttingDown:
            raise closing() from None


@dataclass
class _PartialAnswer:
    """An unfinished answer; reasoning and tool calls are split from that of a conversation."""

    reader: Reader | None
    form: AnswerForm
    answer: Answer = field(default_factory=Answer)

    def so_far(self) -> Answer:
        """Return a copy of the answer so far, with its last tokens only."""
        answer = self.answer
        return replace(answer, calls=list(answer.calls), logs=answer.logs[-CHARACTER_BYTES:])

    def take(self, delta: Delta) -> Answer:
        """Add a delta and return the new part; raise ApiError if the answer failed."""
        if delta.finish == "error":
            raise failed(delta.error)
        if delta.finish == "cancelled":
            raise ApiError(
                503, "the answer was cancelled: the server is stopping or the adapter was unloaded"
            )
        parts = self._parts(delta)
        calls = [as_openai(call, self.form) for call in parts.calls]
        answer = self.answer
        answer.text += parts.content
        answer.reasoning += parts.reasoning
        answer.calls += calls
        answer.logs += delta.logs
        is_call = delta.finish == "stop" and bool(answer.calls)
        answer.finish = "tool_calls" if is_call else delta.finish
        answer.tokens = max(answer.tokens, delta.tokens)
        return Answer(
            parts.content, answer.finish, delta.tokens, list(delta.logs), calls, parts.reasoning
        )

    def _parts(self, delta: Delta) -> AnswerParts:
        """Return the parts of the answer that are certain after a delta."""
        if self.reader is None:
            return AnswerParts(content=delta.text)
        parts = self.reader.feed(delta.text)
        if delta.finish is None:
            return parts
        rest = self.reader.finish()
        return AnswerParts(
            parts.reasoning + rest.reasoning, parts.content + rest.content, parts.calls + rest.calls
        )


def _give_way() -> None:
    """Leave most of a busy processor to other threads: those of the model wait for each other.

    Only Linux has priorities of threads; elsewhere this would change the whole process.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        priority = max(LONG_PROMPT_PRIORITY, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, priority)


def _partial_answers(body: ApiRequest, prepared: PreparedPrompts) -> list[_PartialAnswer]:
    def reader() -> Reader | None:
        if not isinstance(body, ChatRequest):
            return None
        required, form = prepared.required, prepared.form
        if required is not None:
            inner = form.reader(None) if form.prefix else None
            return RequiredCallReader(required.tool, inner) if required.is_call else inner
        return form.reader(body.offered, is_single=body.parallel_tool_calls is False)

    count = sum(map(len, prepared.samplings))
    return [_PartialAnswer(reader(), prepared.form) for _ in range(count)]


async def _notify(
    disconnected: Callable[[], Awaitable[None]], arrived: asyncio.Queue[Arrived]
) -> None:
    await disconnected()
    arrived.put_nowait(DISCONNECTED)
