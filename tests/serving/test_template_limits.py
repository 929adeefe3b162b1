"""Endless and exploding templates end with a refusal, while other requests are answered."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from adapters import make_adapter
from box import HANG_S, until
from hostile_templates import EXPLODES_WHEN_ASKED, WHEN_ASKED
from openai import BadRequestError
from own_server import Server, serving
from transformers import AutoTokenizer

from swiftbox.templates.rendering_child import answer_to


def folder_with(template: str, source: Path, folder: Path) -> Path:
    """Copy a model with another chat template."""
    shutil.copytree(source, folder)
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model and two adapters, each with a template that can be made to hang or to explode."""
    root = tmp_path_factory.mktemp("served")
    adapters = {}
    for name, template in (("hangs", WHEN_ASKED + "1"), ("explodes", EXPLODES_WHEN_ASKED)):
        adapters[name] = make_adapter(tiny, root / name, seed=1)
        AutoTokenizer.from_pretrained(tiny).save_pretrained(adapters[name])
        (adapters[name] / "chat_template.jinja").write_text(template, "utf-8")
    model = folder_with(WHEN_ASKED, tiny, root / "model")
    with serving(model, adapters=adapters) as running:
        yield running


def ask(server: Server, content: str, model: str = "tiny") -> Any:
    with server.client() as client:
        messages: Any = [{"role": "user", "content": content}]
        answer = client.chat.completions.create(model=model, messages=messages, max_tokens=3)
        return answer.choices[0].finish_reason


def refusal(server: Server, content: str, model: str = "tiny") -> str:
    with pytest.raises(BadRequestError) as caught:
        ask(server, content, model)
    return caught.value.message


def test_others_are_answered_while_two_templates_are_endless(server: Server) -> None:
    refusals: list[str] = []

    def hang(model: str) -> None:
        refusals.append(refusal(server, "HANG", model))

    threads = [
        threading.Thread(target=hang, args=(model,))
        for model in ("tiny", "hangs")
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    answers = [ask(server, "Hi.", model) for model in ("tiny", "hangs", "explodes")]
    for thread in threads:
        thread.join(HANG_S)
    assert set(answers) <= {"stop", "length"}
    assert len(refusals) == 4
    assert all("too much time or memory" in message for message in refusals)
    assert ask(server, "Hi.")


def test_a_template_that_takes_all_memory_ends_its_child_only(server: Server) -> None:
    before = psutil.Process().memory_info().rss
    assert "memory" in refusal(server, "HANG", "explodes")
    assert psutil.Process().memory_info().rss - before < 2**28
    assert ask(server, "Hi.", "explodes")


def test_many_hanging_requests_leave_no_process(server: Server) -> None:
    threads = [threading.Thread(target=refusal, args=(server, "HANG")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)

    def rendering() -> int:
        count = 0
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                count += "rendering_child" in " ".join(child.cmdline())
        return count

    until(lambda: rendering() <= 2, what="two idle children at most")
    assert ask(server, "Hi.")


def test_a_template_error_is_the_message_of_the_refusal(server: Server, tiny: Path) -> None:
    request = {"template": "{{ raise_exception('no such role') }}", "messages": [], "tools": None}
    request |= {"prompted": True, "variables": {}}
    assert answer_to(request) == {"error": "no such role"}
    tokenize = {"model": "tiny", "messages": [{"role": "user", "content": "Hi."}]}
    with server.client() as client:
        raw = client.post(server.url + "/tokenize", body=tokenize, cast_to=str)
    ids = AutoTokenizer.from_pretrained(tiny)("Hi.", add_special_tokens=False).input_ids
    assert json.loads(raw)["tokens"] == ids
