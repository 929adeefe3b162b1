"""From a checked request to its answer: tickets with the scheduler, and what comes back of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from swiftbox.core.generation.network import BASE
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.core.generation.tickets import Closing, Delta, QueueFull, Request, Ticket
from swiftbox.errors import UserError
from swiftbox.hub.adapters import look
from swiftbox.serving.answers import Answer, Shape, event
from swiftbox.serving.problems import Problem, busy, closing
from swiftbox.serving.prompts import Prepared, Preparing
from swiftbox.serving.requests import Asking, ChatAsking, TokensAsking

READERS = 2
"""Threads that render and tokenize, beside the loop that answers."""

GONE = None
"""What a stream of deltas brings when the client has left."""

Arrived = tuple[int, Delta] | None


class Service:
    """One base under its name, its adapters under theirs."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.network = scheduler.network
        self.name = name
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

    async def prepared(self, asked: Asking) -> Prepared:
        """Return the tokens and samplings of a request; raise Problem for what cannot be done."""
        adapter = self.adapter(asked.model)
        found: Prepared = await self.read(lambda: self.preparing.prepare(asked, adapter))
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
        )

    @contextlib.contextmanager
    def _submitted(self, asked: Asking, prepared: Prepared) -> Any:
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
        except Closing:
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
        self, asked: Asking, prepared: Prepared, left: Callable[[], Awaitable[None]]
    ) -> dict[str, Any] | None:
        """Return all answers at once; None when the client has left before."""
        answers = [Answer() for samplings in prepared.samplings for _ in samplings]
        with self._submitted(asked, prepared) as arrived:
            watch = asyncio.create_task(_tell_when(left, arrived))
            try:
                open_answers = len(answers)
                while open_answers:
                    found = await arrived.get()
                    if found is GONE:
                        return None
                    index, delta = found
                    _take(answers[index], delta)
                    open_answers -= delta.finish is not None
            finally:
                watch.cancel()
        read = sum(map(len, prepared.prompts))
        return self.shape(asked).whole(answers, read)

    async def pieces(self, asked: Asking, prepared: Prepared) -> AsyncIterator[bytes]:
        """Yield the answers as they come, as events; the first is empty, once they are under way.

        Raises Problem before that when the request cannot be taken.
        """
        shape = self.shape(asked)
        answers = [Answer() for samplings in prepared.samplings for _ in samplings]
        with self._submitted(asked, prepared) as arrived:
            yield b""
            if shape.chat:
                for index in range(len(answers)):
                    yield shape.opening(index)
            open_answers = len(answers)
            while open_answers:
                index, delta = await arrived.get()
                offset = len(answers[index].text)
                try:
                    _take(answers[index], delta)
                except Problem as problem:
                    yield event(problem.body())
                    return
                new = Answer(delta.text, delta.finish, delta.tokens, list(delta.logs))
                yield shape.piece(index, new, offset)
                open_answers -= delta.finish is not None
        yield shape.ending(answers, sum(map(len, prepared.prompts)))

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter between two steps; raise Problem when it cannot be."""
        if name in dict(self.models()):
            raise Problem(400, f"lora_name: {name} is there already", param="lora_name")
        try:
            look(folder)  # whole, of a kind that can be loaded, and no pickle
            await asyncio.wrap_future(self.scheduler.call(lambda: self.network.add(name, folder)))
        except UserError as error:
            raise Problem(400, error.message, param="lora_path") from None
        except Closing:
            raise closing() from None

    async def unload(self, name: str) -> None:
        """Forget an adapter between two steps; those who are being answered by it are let go."""
        if name not in self.network.adapters:
            raise Problem(404, f"lora_name: {name} is not loaded", param="lora_name")
        try:
            await asyncio.wrap_future(self.scheduler.call(lambda: self.scheduler.forget(name)))
        except Closing:
            raise closing() from None


def _take(answer: Answer, delta: Delta) -> None:
    """Add what is new; raise Problem when it ended without an answer."""
    if delta.finish == "error":
        raise Problem(500, f"the answer could not be written ({delta.error})")
    if delta.finish == "cancelled":
        raise Problem(503, "the answer was given up: the server is stopping or its model has left")
    answer.text += delta.text
    answer.logs += delta.logs
    answer.finish = delta.finish
    answer.tokens = max(answer.tokens, delta.tokens)


async def _tell_when(left: Callable[[], Awaitable[None]], arrived: asyncio.Queue[Arrived]) -> None:
    await left()
    arrived.put_nowait(GONE)
