"""Chat templates of a server, rendered in child processes.

A template is a program of strangers, and clients choose what it works on: it may run for ever or
take all memory for some conversations only. A child that exceeds its limits ends, and its request
is refused. Others use another child: a template has at most a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import select
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from swiftbox.security.children import child_environment, module_command
from swiftbox.serving.api_errors import ApiError
from swiftbox.templates.call_formats.table import AnswerForm

MAX_CHILDREN = 8
CHILDREN_PER_TEMPLATE = 3
"""Children that one template may use at once, so that some are left for other templates."""

IDLE_CHILDREN = 2
"""Children that stay; each has about 25 MB, and starts in a tenth of a second."""

PATIENCE_S = 0.1
"""How long a conversation waits for a child, which takes a millisecond, before another starts."""

MAX_WAITING = 256
"""Conversations of one template that wait for a child."""

LONGEST_WAIT_S = 60.0
"""A child ends by its processor time; this is for a machine on which it gets none."""

LONGEST_ANSWER = 64 * 2**20
"""Bytes; a prompt of that length has more tokens than any model reads."""

Rendering = Mapping[str, Any]
"""What a child renders: template, messages, tools, prompted, variables."""


@dataclass(frozen=True)
class RenderedConversation:
    """The text of a conversation, and how the answer to it is read."""

    text: str
    form: AnswerForm


class TooExpensive(Exception):
    """A conversation on which the template takes too much time or memory."""


class RenderingChild:
    """A process that renders one conversation at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            module_command("swiftbox.templates.rendering_child"),
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def render(self, rendering: Rendering) -> dict[str, Any]:
        """Return the text of a conversation with its form, or the error of its template.

        Raises TooExpensive if that ends the child.
        """
        process = self._process
        assert process.stdin is not None
        line = json.dumps(rendering, default=str).encode() + b"\n"
        try:
            view = memoryview(line)
            while view:
                view = view[process.stdin.write(view) :]
            answer: dict[str, Any] = json.loads(self._read_line())
        except (OSError, ValueError):
            raise TooExpensive from None
        return answer

    def _read_line(self) -> bytes:
        """Return the next line; raise OSError if the process ends or takes too long."""
        assert self._process.stdout is not None
        deadline, received = time.monotonic() + LONGEST_WAIT_S, bytearray()
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        while not received.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            part = self._process.stdout.read(2**20)
            received += part or b""
            if not part or len(received) > LONGEST_ANSWER:
                raise BrokenPipeError
        return bytes(received)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class TemplateRenderer:
    """The children that render the templates of a server."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_CHILDREN, thread_name_prefix="rendering")
        self._idle: queue.LifoQueue[RenderingChild] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._children: set[RenderingChild] = set()
        self._is_closed = False
        self._places: dict[str, asyncio.Semaphore] = {}
        self._long_turn = asyncio.Semaphore(1)
        self._waiting: dict[str, int] = {}

    def start(self) -> None:
        """Start the children that stay, so that the first requests need not wait."""
        for _ in range(IDLE_CHILDREN):
            self._idle.put(self._new_child())

    def close(self) -> None:
        """End all children."""
        with self._lock:
            self._is_closed = True
            children, self._children = self._children, set()
        for child in children:
            child.close()
        self._threads.shutdown()

    def has_unknown_calls(self, template: str, variables: Mapping[str, Any]) -> bool:
        """Tell whether a template renders calls in a form that is not in our table."""
        try:
            answer = self._render(lambda: {"template": template, "variables": dict(variables)})
        except TooExpensive:
            return False  # its requests will be refused, with the reason
        return bool(answer.get("renders_calls")) and not answer.get("format")

    async def render(
        self, template: str, prepare: Callable[[], Rendering], *, is_long: bool = False
    ) -> RenderedConversation:
        """Return the text of a conversation, which `prepare` returns; it is called in a thread.

        Long conversations take turns, so that a child is left for short ones.
        Raises ApiError if the template refuses it, or takes too much time or memory.
        """
        turn = self._long_turn if is_long else contextlib.nullcontext()
        async with self._place(template), turn:
            loop = asyncio.get_running_loop()
            try:
                answer = await loop.run_in_executor(self._threads, self._render, prepare)
            except TooExpensive:
                raise _refused("it takes too much time or memory on them") from None
        if "param" in answer:
            raise _unread(answer["param"])
        if "error" in answer:
            raise _refused(answer["error"])
        return RenderedConversation(answer["text"], AnswerForm.from_dict(answer["form"]))

    @contextlib.asynccontextmanager
    async def _place(self, template: str) -> AsyncIterator[None]:
        """Wait for one of the places of a template."""
        waiting = self._waiting.get(template, 0)
        if waiting >= MAX_WAITING:
            raise _busy()
        place = self._places.setdefault(template, asyncio.Semaphore(CHILDREN_PER_TEMPLATE))
        self._waiting[template] = waiting + 1
        try:
            async with place:
                yield
        finally:
            self._waiting[template] -= 1
            if not self._waiting[template]:
                del self._waiting[template], self._places[template]

    def _render(self, prepare: Callable[[], Rendering]) -> dict[str, Any]:
        rendering = prepare()
        child = self._take_child()
        try:
            answer = child.render(rendering)
        except TooExpensive:
            self._discard(child)
            if self._idle.empty():
                self._idle.put(self._new_child())  # it is ready sooner than if it were started then
            raise
        if self._idle.qsize() >= IDLE_CHILDREN:
            self._discard(child)
        else:
            self._idle.put(child)
        return answer

    def _take_child(self) -> RenderingChild:
        """Return an idle child; start another if there is none for a moment."""
        while True:
            try:
                return self._idle.get(timeout=PATIENCE_S)
            except queue.Empty:
                if len(self._children) < MAX_CHILDREN:
                    return self._new_child()

    def _new_child(self) -> RenderingChild:
        with self._lock:
            if self._is_closed:
                raise TooExpensive
            child = RenderingChild()
            self._children.add(child)
            return child

    def _discard(self, child: RenderingChild) -> None:
        with self._lock:
            self._children.discard(child)
        child.close()


@contextlib.contextmanager
def running_renderer() -> Iterator[TemplateRenderer]:
    """Start the first child, and end all children after the block."""
    renderer = TemplateRenderer()
    renderer.start()
    try:
        yield renderer
    finally:
        renderer.close()


def _refused(reason: str) -> ApiError:
    return ApiError(400, f"the chat template refuses these messages: {reason}", param="messages")


UNREAD: Mapping[str, str] = {
    "tools": "tools: the chat template renders no tools, so the model would not see them; deploy "
    "with `tools_in_prompt: true`, which describes them in the system prompt",
    "reasoning_effort": "reasoning_effort: the chat template does not read it; pass what the "
    "template reads in `chat_template_kwargs`",
}
"""Parameters that only some templates read."""


def _unread(param: str) -> ApiError:
    return ApiError(400, UNREAD[param], param=param, code="unsupported")


def _busy() -> ApiError:
    error = ApiError(503, "too many conversations wait for their template", code="busy")
    error.headers = {"Retry-After": "5"}
    return error
