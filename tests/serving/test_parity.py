"""A server is compared with the training of its model; a changed template is found."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter
from own_server import Server, serving
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.generation import parity
from swiftbox.display.deploy import parity_lines
from swiftbox.errors import ResultError
from swiftbox.serving.client import Endpoint
from swiftbox.serving.parity import (
    ParityResult,
    ParityTarget,
    RunningServer,
    compare,
    require_parity,
)


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with the record that its training would have left."""
    folder = make_adapter(tiny, tmp_path_factory.mktemp("run") / "model")
    base_model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.save_pretrained(folder)
    network = PeftModel.from_pretrained(base_model, folder)
    parity.record_training(network, tokenizer, folder, print, dtype="float32")
    return folder


@pytest.fixture(scope="module")
def server(tiny: Path, trained: Path) -> Iterator[Server]:
    with serving(tiny, adapters={"mine": trained}) as running:
        yield running


def parity_target(tiny: Path, trained: Path) -> ParityTarget:
    return ParityTarget("tiny", {"tiny": tiny, "mine": trained}, "float32")


def results(server: Server, target: ParityTarget) -> list[ParityResult]:
    return compare(target, RunningServer(Endpoint.at(server.url), threading.Event()))


def test_the_record_has_every_shape_that_the_template_writes(tiny: Path, trained: Path) -> None:
    record = parity.read_record(trained)
    assert record is not None
    assert {prompt.name for prompt in record.prompts} == set(parity.CONVERSATIONS) - {"tools"}
    assert [answer.name for answer in record.answers] == list(parity.ANSWERED)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    (system,) = (prompt for prompt in record.prompts if prompt.name == "system")
    rendered = tokenizer.apply_chat_template(
        parity.CONVERSATIONS["system"]["messages"], tokenize=False, add_generation_prompt=True
    )
    assert list(system.ids) == tokenizer(rendered, add_special_tokens=False).input_ids


def test_server_and_training_agree(server: Server, tiny: Path, trained: Path) -> None:
    base_model, mine = results(server, parity_target(tiny, trained))
    assert (mine.prompts, mine.trained, mine.differences) == (6, True, [])
    assert (mine.answers, mine.answered_by) == (3, "training")
    assert (base_model.prompts, base_model.trained, base_model.differences) == (6, False, [])
    assert base_model.answered_by == ""


def test_a_changed_template_is_found_with_both_texts(
    tiny: Path, trained: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(trained, tmp_path / "changed")
    template = changed / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("<|im_end|>\n", "<|im_end|>"), "utf-8")
    with serving(tiny, adapters={"mine": changed}) as server:
        mine = results(server, parity_target(tiny, changed))[1]
        emitted: list[Any] = []
        running = RunningServer(Endpoint.at(server.url), threading.Event())
        with pytest.raises(ResultError, match="prompt question: token") as caught:
            require_parity(
                parity_target(tiny, changed),
                running,
                strict=True,
                emit=lambda event, **fields: emitted.append({"event": event, **fields}),
            )
        target = parity_target(tiny, changed)
        require_parity(target, running, strict=False, emit=lambda *_, **__: None)
    assert len(mine.differences) == 6
    first = mine.differences[0]
    assert "(training)" in first
    assert "(server)" in first
    assert "<|im_end|>\\n" in first
    assert "parity: warn" in caught.value.hint
    (event,) = emitted
    assert any(line.startswith("! mine: prompt question") for line in parity_lines(event))


def test_the_wrong_adapter_is_found_by_its_answers(
    tiny: Path, trained: Path, tmp_path: Path
) -> None:
    other = make_adapter(tiny, tmp_path / "other", seed=9)
    for name in (
        parity.RECORD_FILE,
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        shutil.copy(trained / name, other)
    with serving(tiny, adapters={"mine": other}) as server:
        mine = results(server, parity_target(tiny, other))[1]
    assert any("answer to" in line and "no tie" in line for line in mine.differences)


def test_an_answer_that_differs_at_a_tie_is_counted_and_not_refused(
    server: Server, tiny: Path, trained: Path, tmp_path: Path
) -> None:
    record = parity.read_record(trained)
    assert record is not None
    changed = shutil.copytree(trained, tmp_path / "changed")
    answers = [
        replace(
            answer,
            ids=(answer.ids[0] + 1, *answer.ids[1:]),
            margins=(0.0, *answer.margins[1:]),
        )
        for answer in record.answers
    ]
    replace(record, answers=tuple(answers)).write(changed)
    mine = results(server, parity_target(tiny, changed))[1]
    assert (mine.ties, mine.differences) == (3, [])


def test_answers_of_another_base_are_not_compared(
    server: Server, tiny: Path, trained: Path, tmp_path: Path
) -> None:
    record = parity.read_record(trained)
    assert record is not None
    changed = shutil.copytree(trained, tmp_path / "changed")
    replace(record, quantization="bnb").write(changed)
    mine = results(server, parity_target(tiny, changed))[1]
    assert (mine.prompts, mine.answered_by, mine.answers) == (6, "", 0)


def test_without_a_record_the_model_in_memory_answers(tiny: Path) -> None:
    outcomes: list[ParityResult] = []

    def verify(url: str, generate: Any) -> None:
        server = RunningServer(Endpoint.at(url), threading.Event(), generate)
        outcomes.extend(compare(ParityTarget("tiny", {"tiny": tiny}, "float32"), server))

    with serving(tiny, verify=verify):
        (base_model,) = outcomes
    assert (base_model.answered_by, base_model.answers, base_model.differences) == ("memory", 3, [])


def test_a_model_without_a_template_is_compared_by_texts(tiny: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(tiny, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with serving(bare) as server:
        (base_model,) = results(server, ParityTarget("tiny", {"tiny": bare}, "float32"))
    assert (base_model.prompts, base_model.differences) == (7, [])


def test_a_prompt_longer_than_the_server_accepts_is_skipped(tiny: Path, trained: Path) -> None:
    with serving(tiny, adapters={"mine": trained}, max_model_len=100) as server:
        mine = results(server, parity_target(tiny, trained))[1]
    assert mine.skipped >= 1
    assert mine.differences == []


def test_tool_calls_are_written_as_in_training(tiny: Path, tmp_path: Path) -> None:
    tooled = shutil.copytree(tiny, tmp_path / "tooled")
    template = (
        "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}"
        "{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.arguments | tojson }}{% endfor %};{% endfor %}"
    )
    (tooled / "chat_template.jinja").write_text(template, "utf-8")
    with serving(tooled) as server:
        (base_model,) = results(server, ParityTarget("tiny", {"tiny": tooled}, "float32"))
    assert (base_model.prompts, base_model.differences) == (7, [])


def test_a_record_is_copied_with_the_coarser_dtype(trained: Path, tmp_path: Path) -> None:
    parity.copy_record(trained, tmp_path, dtype="bfloat16", answers=False)
    first, second = parity.read_record(trained), parity.read_record(tmp_path)
    assert first is not None
    assert second is not None
    assert (second.dtype, second.answers) == ("bfloat16", ())
    assert second.prompts == first.prompts
    parity.copy_record(tmp_path / "nothing", tmp_path / "nowhere", dtype="float32", answers=True)


def test_a_record_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    emitted: list[str] = []
    parity.record_training(
        None, None, tmp_path, lambda event, **_: emitted.append(event), dtype="float32"
    )
    assert emitted == ["warning"]
    assert parity.read_record(tmp_path) is None
