"""A server renders with the template variables of the training, unless others are set."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter
from own_server import Server, serving
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.config.deploy import DeployConfig
from swiftbox.core.generation import parity
from swiftbox.runs import events
from swiftbox.serving import vllm
from swiftbox.serving.client import Endpoint
from swiftbox.serving.deployment import Deployment
from swiftbox.serving.parity import ParityTarget, RunningServer, compare
from swiftbox.templates.variables import RECORD_FILE, served_variables, trained_variables

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    "{% if style is defined %}{{ style }}{% endif %}{% endif %}"
)
"""Closes the thinking where it is off, as Qwen3's does."""

OFF = {"enable_thinking": False}


@pytest.fixture(scope="module")
def base_model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("base") / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that was trained without thinking."""
    folder = make_adapter(base_model, tmp_path_factory.mktemp("run") / "model")
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    network = PeftModel.from_pretrained(model, folder)
    parity.record_training(network, tokenizer, folder, print, dtype="float32", variables=OFF)
    return folder


@pytest.fixture(scope="module")
def server(base_model: Path, trained: Path) -> Iterator[Server]:
    with serving(base_model, adapters={"mine": trained}) as running:
        yield running


def prompt(server: Server, tokenizer: Any, model: str, **more: Any) -> str:
    """Return the text that a server makes of a question."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi."}], **more}
    tokens = Endpoint.at(server.url).ask("/tokenize", body)["tokens"]
    return str(tokenizer.decode(tokens))


def test_requests_to_an_adapter_are_rendered_as_in_its_training(
    server: Server, base_model: Path, trained: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    assert prompt(server, tokenizer, "mine").endswith("<think></think>")
    assert prompt(server, tokenizer, "tiny").endswith("assistant\n")
    on = prompt(server, tokenizer, "mine", chat_template_kwargs={"enable_thinking": True})
    assert on.endswith("assistant\n")
    target = ParityTarget("tiny", {"tiny": base_model, "mine": trained}, "float32")
    for result in compare(target, RunningServer(Endpoint.at(server.url), threading.Event())):
        assert result.differences == []


def test_the_settings_of_a_server_come_before_the_training_and_after_a_request(
    base_model: Path, trained: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    settings = {"enable_thinking": True, "style": "Plainly:"}
    with serving(base_model, adapters={"mine": trained}, chat_template_kwargs=settings) as server:
        assert prompt(server, tokenizer, "mine").endswith("assistant\nPlainly:")
        requested = prompt(server, tokenizer, "mine", chat_template_kwargs={"style": "Briefly:"})
        assert requested.endswith("assistant\nBriefly:")
        target = ParityTarget(
            "tiny", {"tiny": base_model, "mine": trained}, "float32", variables=settings
        )
        first, _ = compare(target, RunningServer(Endpoint.at(server.url), threading.Event()))
        assert first.differences == []


def test_a_copied_record_keeps_the_variables(trained: Path, tmp_path: Path) -> None:
    parity.copy_record(trained, tmp_path, dtype="bfloat16", answers=False)
    assert trained_variables(tmp_path) == OFF


def test_a_record_cannot_set_what_is_rendered(tmp_path: Path) -> None:
    variables = {"messages": [], "add_generation_prompt": False, "style": "x"}
    record = {"chat_template_kwargs": variables}
    (tmp_path / RECORD_FILE).write_text(json.dumps(record), "utf-8")
    assert trained_variables(tmp_path) == {"style": "x"}
    for broken in ('{"chat_template_kwargs": [1]}', "[]", "{"):
        (tmp_path / RECORD_FILE).write_text(broken, "utf-8")
        assert trained_variables(tmp_path) == {}


def test_an_adapter_without_a_record_is_rendered_as_its_base(trained: Path, tmp_path: Path) -> None:
    assert served_variables(tmp_path, trained, {"style": "x"}) == {**OFF, "style": "x"}


def deployment(
    base_model: Path, adapters: dict[str, Path], recorded: list[tuple[str, Any]], **settings: Any
) -> Deployment:
    config = DeployConfig(model=str(base_model), hub="local", **settings)
    return Deployment(
        config,
        base_model,
        None,
        "tiny",
        base_model,
        adapters,
        lambda event, **fields: recorded.append((event, fields)),
        lambda *_, **__: None,
    )


def test_variables_of_a_training_are_reported_once(base_model: Path, trained: Path) -> None:
    recorded: list[tuple[str, Any]] = []
    adapters = {"mine": trained, "same": trained}
    deployment(base_model, adapters, recorded).note_variables()
    ((event, fields),) = recorded
    assert (event, fields["key"]) == (events.NOTE, "chat_template_kwargs")
    assert fields["message"].startswith("enable_thinking: false: as in the training of mine, same")


def test_vllm_gets_the_variables_of_the_adapters(base_model: Path, trained: Path) -> None:
    serves = deployment(base_model, {"mine": trained}, [], engine="vllm")
    target = vllm.VllmTarget(("vllm",), base_model, "tiny", {}, (), 1, serves.common_variables())
    command = vllm.command(serves.config, target)
    at = command.index("--default-chat-template-kwargs")
    assert json.loads(command[at + 1]) == OFF
    plain = vllm.command(serves.config, vllm.VllmTarget(("vllm",), base_model, "tiny", {}, (), 1))
    assert "--default-chat-template-kwargs" not in plain
