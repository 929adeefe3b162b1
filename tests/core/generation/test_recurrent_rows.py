"""A model with recurrent layers answers in a batch as it answers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from adapters import save_adapter
from box import HANG_S
from peft import PeftModel
from submitting import SubmittedRequest, generated, greedy, prompts, start_scheduler
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM

from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.sampling import Sampling
from swiftbox.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def network(tiny_multimodal: Path) -> Network:
    return Network(LoadSettings(tiny_multimodal, "float32", "cpu"))


def plain(folder: Path) -> AutoModelForMultimodalLM:
    return AutoModelForMultimodalLM.from_pretrained(folder, dtype=torch.float32)


def test_rows_that_join_and_leave_answer_as_alone(network: Network, tiny_multimodal: Path) -> None:
    assert network.layers.states == {0: 1}
    scheduler = start_scheduler(network, rows=3, queue=100)
    cases = [(prompt, 4 + 3 * (index % 3)) for index, prompt in enumerate(prompts(network, 6))]
    requests = [
        SubmittedRequest(scheduler, prompt, greedy(count, stop_ids=network.ends(BASE)))
        for prompt, count in cases
    ]
    answers = [request.text() for request in requests]
    scheduler.close(0)
    model, tokenizer = plain(tiny_multimodal), network.tokenizers[BASE]
    assert answers == [generated(model, tokenizer, prompt, count) for prompt, count in cases]


def test_a_long_prompt_is_read_in_chunks_and_answered_several_times(
    network: Network, tiny_multimodal: Path
) -> None:
    long = (prompts(network, 1)[0] * 60)[:600]
    scheduler = start_scheduler(network, rows=6, queue=100)
    three = SubmittedRequest(scheduler, long, *[Sampling(max_tokens=6, seed=5)] * 3).wait()
    greedy_answer = SubmittedRequest(scheduler, long, greedy(6)).text()
    scheduler.close(0)
    assert len({"".join(delta.text for delta in answer) for answer in three}) > 1
    expected = generated(plain(tiny_multimodal), network.tokenizers[BASE], long, 6)
    assert greedy_answer == expected


def test_an_adapter_is_served_on_the_real_class(tiny_multimodal: Path, tmp_path: Path) -> None:
    targets = ["q_proj", "in_proj_qkv", "down_proj"]
    folder = save_adapter(
        plain(tiny_multimodal), tiny_multimodal, tmp_path / "a", target_modules=targets
    )
    network = Network(LoadSettings(tiny_multimodal, "float32", "cpu"))
    scheduler = start_scheduler(network, rows=2, queue=9)
    scheduler.call(lambda: network.add("a", folder)).result(HANG_S)
    prompt = prompts(network, 1)[0]
    answers = [
        SubmittedRequest(scheduler, prompt, greedy(12), adapter=name).text() for name in (BASE, "a")
    ]
    scheduler.close(0)
    tokenizer = network.tokenizers[BASE]
    tuned = PeftModel.from_pretrained(plain(tiny_multimodal), folder)
    assert answers[1] == generated(tuned, tokenizer, prompt, 12)
    assert answers[0] != answers[1]


def test_an_adapter_of_the_text_part_alone_is_refused(
    tiny_multimodal: Path, tmp_path: Path
) -> None:
    torso = AutoModelForCausalLM.from_pretrained(tiny_multimodal, dtype=torch.float32)
    folder = save_adapter(torso, tiny_multimodal, tmp_path / "a", target_modules=["q_proj"])
    network = Network(LoadSettings(tiny_multimodal, "float32", "cpu"))
    with pytest.raises(ConfigError, match="do not fit the model"):
        network.add("a", folder)
    assert network.adapters == []
