"""From a checked request to its answer: tickets with the scheduler, and what comes back of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftbox.core.generation.network import BASE
from swiftbox.core.generation.requests import Delta, QueueFull, Request, ShuttingDown, Ticket
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.errors import UserError
from swiftbox.models.adapters import read_adapter
from swiftbox.serving.answers import Answer, Shape, event
from swiftbox.serving.problems import Problem, busy, closing
from swiftbox.serving.prompts import PreparedPrompts, Preparing
from swiftbox.serving.requests import Asking, ChatAsking, TokensAsking
from swiftbox.serving.tool_calls import Calls

READERS = 2
"""Threads that render and tokenize, beside the loop that answers."""

GONE = None
"""What a stream of deltas brings when the client has left."""

Arrived = tuple[int, Delta] | None


class Service:
    """One base under its name, its adapters under theirs."""

    def __init__(self, scheduler: Scheduler, name: str, *, may_load: bool = False) -> None:
        self.scheduler = scheduler
        self.network = scheduler.network
        self.name = name
        self.may_load = may_load
        self.preparing = Preparing(self.network, scheduler.limits.length, scheduler.limits.rows)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="prompts")

    def models(self) -> list[tuple[str, str | None]]:
        """Return the names of the models, and for adapters that of their base."""
        return [(self.name, None), *((one, self.name) for one in self.network.adapters)]

    def adapter(self, model: str) -> str:
        """Return the adapter of a model's name; raise Problem for a name that is not there."""
        if model == self.name:
            return BASE
        if model in self.network.adapters:
            return model
        known = ", ".join(name for name, _ in self.models())
        raise Problem(
            404,
            f"model: {model} is not there; there are: {known}",
            param="model",
            code="model_not_found",
        )

    async def read(self, work: Callable[[], Any]) -> Any:
        """Do something that takes a processor, away from the loop that answers."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def prepared(self, asked: Asking) -> PreparedPrompts:
        """Return the tokens and samplings of a request; raise Problem for what cannot be done."""
        adapter = self.adapter(asked.model)
        found: PreparedPrompts = await self.read(lambda: self.preparing.prepare(asked, adapter))
        return found

    async def tokens(self, asked: TokensAsking) -> list[int]:
        """Return the tokens of a prompt or conversation, as a request would have them."""
        adapter, preparing = self.adapter(asked.model), self.preparing

        def work() -> list[int]:
            if asked.prompt is not None:
                return preparing.tokens(asked.prompt, adapter, special=asked.add_special_tokens)
            said = preparing.rendered(
                asked.messages or [],
                adapter,
                asked.tools,
                asked.chat_template_kwargs,
                prompted=asked.add_generation_prompt,
            )
            return preparing.tokens(said, adapter, special=False)

        found: list[int] = await self.read(work)
        return found

    def shape(self, asked: Asking) -> Shape:
        """Return how the answers to a request are written."""
        tokenizer = self.network.tokenizers[self.adapter(asked.model)]
        options = asked.stream_options
        return Shape(
            chat=isinstance(asked, ChatAsking),
            model=asked.model,
            words=lambda token: str(tokenizer.decode([token])),
            logprobs=asked.alternatives is not None,
            usage=bool(options and options.include_usage),
            ids=bool(asked.return_token_ids),
        )

    @contextlib.contextmanager
    def _submitted(self, asked: Asking, prepared: PreparedPrompts) -> Any:
        """Hand in all prompts of a request; give up what is left of them in the end."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Arrived] = asyncio.Queue()
        tickets: list[Ticket] = []
        first = 0
        try:
            for prompt, samplings in zip(prepared.prompts, prepared.samplings, strict=True):

                def deliver(delta: Delta, first: int = first) -> None:
                    with contextlib.suppress(RuntimeError):  # the loop has ended
                        loop.call_soon_threadsafe(arrived.put_nowait, (first + delta.index, delta))

                request = Request(prompt, samplings, self.adapter(asked.model), deliver)
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
        """Guess in how many seconds there is place: by how long a first token has taken so far."""
        counters = self.scheduler.counters
        mean = counters.first_token_s / counters.first_tokens if counters.first_tokens else 1.0
        return max(1, min(60, round(mean)))

    async def whole(
        self, asked: Asking, prepared: PreparedPrompts, left: Callable[[], Awaitable[None]]
    ) -> dict[str, Any] | None:
        """Return all answers at once; None when the client has left before."""
        answers = _begun(asked, prepared)
        with self._submitted(asked, prepared) as arrived:
            watch = asyncio.create_task(_tell_when(left, arrived))
            try:
                open_answers = len(answers)
                while open_answers:
                    found = await arrived.get()
                    if found is GONE:
                        return None
                    index, delta = found
                    answers[index].take(delta)
                    open_answers -= delta.finish is not None
            finally:
                watch.cancel()
        read = sum(map(len, prepared.prompts))
        return self.shape(asked).whole([one.answer for one in answers], read)

    async def pieces(self, asked: Asking, prepared: PreparedPrompts) -> AsyncIterator[bytes]:
        """Yield the answers as they come, as events; the first is empty, once they are under way.

        Raises Problem before that when the request cannot be taken.
        """
        shape = self.shape(asked)
        answers = _begun(asked, prepared)
        with self._submitted(asked, prepared) as arrived:
            yield b""
            if shape.chat:
                for index in range(len(answers)):
                    yield shape.opening(index)
            open_answers = len(answers)
            while open_answers:
                index, delta = await arrived.get()
                before = answers[index].so_far()
                try:
                    new = answers[index].take(delta)
                except Problem as problem:
                    yield event(problem.body())
                    return
                yield shape.piece(index, new, before)
                open_answers -= delta.finish is not None
        read = sum(map(len, prepared.prompts))
        yield shape.ending([one.answer for one in answers], read)

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter between two steps; raise Problem when it cannot be."""
        if name in dict(self.models()):
            raise Problem(400, f"lora_name: {name} is there already", param="lora_name")
        try:
            read_adapter(folder)  # whole, of a kind that can be loaded, and no pickle
            await asyncio.wrap_future(self.scheduler.call(lambda: self.network.add(name, folder)))
        except UserError as error:
            raise Problem(400, error.message, param="lora_path") from None
        except ShuttingDown:
            raise closing() from None

    async def unload(self, name: str) -> None:
        """Forget an adapter between two steps; those who are being answered by it are let go."""
        if name not in self.network.adapters:
            raise Problem(404, f"lora_name: {name} is not loaded", param="lora_name")
        try:
            await asyncio.wrap_future(self.scheduler.call(lambda: self.scheduler.forget(name)))
        except ShuttingDown:
            raise closing() from None


@dataclass
class _Coming:
    """An answer on its way; where tools are offered, what it calls is taken out of its text."""

    calls: Calls | None
    answer: Answer = field(default_factory=Answer)

    def so_far(self) -> Answer:
        """Return what there is of it, apart from what is still to come."""
        return replace(self.answer, calls=list(self.answer.calls))

    def take(self, delta: Delta) -> Answer:
        """Add what is new and return it; raise Problem when it ended without an answer."""
        if delta.finish == "error":
            raise Problem(500, f"the answer could not be written ({delta.error})")
        if delta.finish == "cancelled":
            raise Problem(
                503, "the answer was given up: the server is stopping or its model has left"
            )
        said = delta.text
        calls: list[dict[str, Any]] = []
        if self.calls is not None:
            said, calls = self.calls.feed(delta.text)
            if delta.finish:
                rest, more = self.calls.finish()
                said, calls = said + rest, calls + more
        one = self.answer
        one.text += said
        one.calls += calls
        one.logs += delta.logs
        one.finish = "tool_calls" if delta.finish == "stop" and one.calls else delta.finish
        one.tokens = max(one.tokens, delta.tokens)
        return Answer(said, one.finish, delta.tokens, list(delta.logs), calls)


def _begun(asked: Asking, prepared: PreparedPrompts) -> list[_Coming]:
    tools = isinstance(asked, ChatAsking) and asked.offered is not None
    count = sum(map(len, prepared.samplings))
    return [_Coming(Calls() if tools else None) for _ in range(count)]


async def _tell_when(left: Callable[[], Awaitable[None]], arrived: asyncio.Queue[Arrived]) -> None:
    await left()
    arrived.put_nowait(GONE)
