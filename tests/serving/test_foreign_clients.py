"""litellm and langchain-openai against the server: tools, schemas, reasoning, log probabilities.

`CLIENTS_PYTHON=venv/bin/python pytest -m network tests/serving` uses an environment that has both;
without it they are installed into the test's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from call_answers import FULL, TOOLS, WRITTEN
from call_templates import call_tokenizers
from forced_server import ForcedServer, answering
from jsonschema import Draft202012Validator
from own_server import Server, serving
from random_schemas import random_schema

pytestmark = pytest.mark.network

PACKAGES = ("litellm==1.110.2", "langchain-openai==1.7.4")
USER = [{"role": "user", "content": "How is it?"}]
SCHEMAS = 100

every_client = pytest.mark.parametrize("client", ["litellm", "langchain"])
whole_and_streamed = pytest.mark.parametrize("stream", [False, True])


class Clients:
    """The child that has the clients."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(
        self, client: str, server: Server | ForcedServer, stream: bool, **keys: Any
    ) -> list[dict[str, Any]]:
        """Return the answers to a request."""
        model, messages = keys.pop("model", "tiny"), keys.pop("messages", USER)
        request = {"client": client, "url": server.url, "model": model, "messages": messages}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**request, "keys": keys, "stream": stream}) + "\n")
        self._process.stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answers


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    python = os.environ.get("CLIENTS_PYTHON")
    if python is None:
        folder = tmp_path_factory.mktemp("clients")
        venv.create(folder, with_pip=True)
        python = str(folder / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    child = Path(__file__).parents[1] / "client_child.py"
    with subprocess.Popen(
        [python, str(child)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr if os.environ.get("CLIENTS_PYTHON") else None,
        text=True,
        cwd=tmp_path_factory.mktemp("empty"),
    ) as process:
        yield Clients(process)


@pytest.fixture(scope="module")
def forced() -> Iterator[ForcedServer]:
    with answering(call_tokenizers()) as running:
        yield running


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    with serving(tiny, tools_in_prompt=True) as running:
        yield running


@every_client
@whole_and_streamed
@pytest.mark.parametrize("name", WRITTEN)
def test_calls_of_every_format_arrive(
    name: str, stream: bool, client: str, clients: Clients, forced: ForcedServer
) -> None:
    expected = [("weather", FULL), ("ping", {})]
    # Generation stops at the end of a call of that format.
    forced.scheduler.text = WRITTEN[name].calls(*expected).replace("<|call|>", "<|end|>")
    keys = {"model": WRITTEN[name].format, "tools": TOOLS}
    (answer,) = clients.ask(client, forced, stream, **keys)
    calls = [(called, json.loads(arguments)) for called, arguments in answer["calls"].values()]
    assert calls == expected
    assert answer["finish"] == "tool_calls"


@whole_and_streamed
def test_reasoning_arrives_beside_the_answer(
    stream: bool, clients: Clients, forced: ForcedServer
) -> None:
    forced.scheduler.text = "<think>\nI wonder.\n</think>\n\nFine."
    (answer,) = clients.ask("litellm", forced, stream, model="hermes")
    assert answer["reasoning"].strip() == "I wonder."
    assert answer["content"].strip() == "Fine."


@every_client
def test_every_answer_follows_its_schema(client: str, clients: Clients, server: Server) -> None:
    for seed in range(SCHEMAS):
        schema = random_schema(seed)
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        keys = {"response_format": form, "max_tokens": 900, "temperature": 1, "seed": seed}
        (answer,) = clients.ask(client, server, seed % 2 == 1, **keys)
        assert answer["finish"] == "stop"
        Draft202012Validator(schema).validate(json.loads(answer["content"]))


@every_client
@whole_and_streamed
def test_log_probabilities_rebuild_the_text(
    stream: bool, client: str, clients: Clients, server: Server
) -> None:
    keys = {"logprobs": True, "top_logprobs": 2, "temperature": 1.0, "seed": 5, "max_tokens": 40}
    (answer,) = clients.ask(client, server, stream, **keys)
    assert answer["bytes"]
    assert bytes(answer["bytes"]).decode("utf-8", "replace") == answer["content"]


@every_client
def test_a_seed_repeats_whole_and_streamed_and_a_stop_cuts(
    client: str, clients: Clients, server: Server
) -> None:
    keys: dict[str, Any] = {"temperature": 1.2, "seed": 5, "max_tokens": 40}
    ((free,), (streamed,)) = (
        clients.ask(client, server, stream, **keys) for stream in (False, True)
    )
    assert streamed["content"] == free["content"]
    stop = free["content"][8:11]
    (cut,) = clients.ask(client, server, False, stop=[stop], **keys)
    assert cut["content"] == free["content"].partition(stop)[0]
    assert cut["finish"] == "stop"


@whole_and_streamed
def test_several_answers_arrive_by_their_numbers(
    stream: bool, clients: Clients, server: Server
) -> None:
    keys = {"n": 3, "temperature": 1.2, "seed": 5, "max_tokens": 20}
    answers = clients.ask("litellm", server, stream, **keys)
    assert len({answer["content"] for answer in answers}) == len(answers) == 3
