"""A server whose answers are given texts: everything but the generation is real.

Each format of calls has a model with its own tokenizer and chat template.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from box import HANG_S
from openai import OpenAI
from tiny import train_tokenizer
from transformers import GenerationConfig

from swiftbox.core.generation.requests import Counters, Delta, Request, SchedulerLimits
from swiftbox.core.generation.transcript import Transcript
from swiftbox.serving.address import listen_on, local_url
from swiftbox.serving.app import application
from swiftbox.serving.guards import AccessRules
from swiftbox.serving.listener import ServerLifecycle, listen
from swiftbox.serving.rendering import running_renderer
from swiftbox.serving.service import Service, ServiceOptions

LENGTH = 100_000


class ForcedScheduler:
    """Answers each request with the text of its model, token by token."""

    def __init__(self, tokenizers: Mapping[str, Any]) -> None:
        self.network: Any = SimpleNamespace(
            tokenizers=tokenizers,
            adapters=[name for name in tokenizers if name],
            variables={"": {}} | {name: {} for name in tokenizers if name},
            vocabulary=LENGTH,
            generation=GenerationConfig(),
            ends=lambda adapter: frozenset({tokenizers[adapter].eos_token_id}),
        )
        self.limits = SchedulerLimits(rows=16, queue=16, length=LENGTH, cells=LENGTH)
        self.counters = Counters()
        self.waiting = 0
        self.text = ""
        self.prompt = ""
        """The text of the last prompt."""

    def submit(self, request: Request) -> None:
        """Deliver the text up to a token that ends the answer."""
        tokenizer = self.network.tokenizers[request.adapter]
        self.prompt = tokenizer.decode(request.prompt)
        tokens = tokenizer(self.text, add_special_tokens=False).input_ids
        for index, sampling in enumerate(request.samplings):
            transcript = Transcript(tokenizer, sampling.stop, sampling.visible)
            for count, token in enumerate(tokens, 1):
                if token in sampling.stop_ids:
                    break
                transcript.add(token)
                request.deliver(Delta(index, transcript.release(), tokens=count))
            request.deliver(Delta(index, transcript.finish(), (), "stop", len(tokens)))

    def cancel(self, _: Any) -> None:
        """Do nothing: the answer is complete."""


class ForcedServer:
    """The scheduler whose text is set, and the official client."""

    def __init__(self, scheduler: ForcedScheduler, client: OpenAI) -> None:
        self.scheduler = scheduler
        self.client = client
        self.url = str(client.base_url).removesuffix("/v1/")

    def ask(self, text: str, **keys: Any) -> Any:
        """Return the message of the answer that is `text`, with its `finish_reason`."""
        self.scheduler.text = text
        return self.client.chat.completions.create(**keys).choices[0]

    def stream(self, text: str, **keys: Any) -> list[Any]:
        """Return the choices of the chunks of the answer that is `text`."""
        self.scheduler.text = text
        chunks = self.client.chat.completions.create(stream=True, **keys)
        return [chunk.choices[0] for chunk in chunks]


def tokenizer_with(template: str, special: list[str]) -> Any:
    """Return a tokenizer that has these special tokens."""
    tokenizer = train_tokenizer()
    tokenizer.bos_token = tokenizer.pad_token
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


@contextmanager
def answering(
    tokenizers: Mapping[str, Any], *, key: str | None = None, **options: Any
) -> Iterator[ForcedServer]:
    """Serve models by their tokenizers in a thread at a free port."""
    scheduler: Any = ForcedScheduler(tokenizers)
    ready, stop = threading.Event(), threading.Event()
    with running_renderer() as renderer, listen_on("127.0.0.1", 0) as listening:
        service = Service(scheduler, renderer, "base", ServiceOptions(**options))
        app = application(service, AccessRules(key, 2**20, only_local=True))
        lifecycle = ServerLifecycle(stop, ready.set, lambda: None, 0)
        thread = threading.Thread(target=listen, args=(app, listening, lifecycle))
        thread.start()
        try:
            assert ready.wait(HANG_S)
            url = f"{local_url(*listening.getsockname()[:2])}/v1"
            with OpenAI(
                base_url=url, api_key=key or "none", max_retries=0, timeout=HANG_S
            ) as client:
                yield ForcedServer(scheduler, client)
        finally:
            stop.set()
            thread.join(HANG_S)
