"""Sequences that decode in slots, by recorded steps, get the answers of plain generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter
from box import HANG_S, until
from recorded_steps import Recorder, path_with
from submitting import SubmittedRequest, generated, greedy, prompts, start_scheduler
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.generation.decode_paths import DecodePath, try_slots
from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.sampling import Sampling
from swiftbox.core.generation.slot_cache import bucket
from swiftbox.core.generation.step_graphs import CapturedStep, StepGraphs


def plain_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def network(tiny: Path) -> Network:
    return Network(LoadSettings(tiny, "float32", "cpu"))


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_recorded_steps_answer_as_generate(name: str, tiny_models: dict[str, Path]) -> None:
    network = Network(LoadSettings(tiny_models[name], "float32", "cpu"))
    recorder = Recorder()
    path = path_with(network, recorder)
    scheduler = start_scheduler(network, rows=3, queue=100, path=path)
    cases = [(prompt, 12 + index) for index, prompt in enumerate(prompts(network, 5))]
    ends = network.ends(BASE)
    requests = [
        SubmittedRequest(scheduler, prompt, greedy(count, stop_ids=ends)) for prompt, count in cases
    ]
    answers = [request.text() for request in requests]
    scheduler.close(0)
    plain, tokenizer = plain_model(tiny_models[name]), network.tokenizers[BASE]
    assert answers == [generated(plain, tokenizer, prompt, count) for prompt, count in cases]
    assert recorder.replays > 2 * recorder.captures > 0


def test_slots_that_grow_and_preempt_answer_as_those_that_do_not(network: Network) -> None:
    hot = Sampling(max_tokens=250, seed=3, temperature=0.8)
    answers, counters = [], []
    for cells in (100_000, 1_400):
        path = path_with(network, None)
        scheduler = start_scheduler(network, rows=4, queue=9, length=512, cells=cells, path=path)
        requests = [SubmittedRequest(scheduler, prompt, hot) for prompt in prompts(network, 4)]
        answers.append([request.text() for request in requests])
        scheduler.close(0)
        counters.append(scheduler.counters.sent_back)
    assert answers[0] == answers[1]
    assert counters[0] == 0
    assert counters[1] > 0


def test_slots_give_a_seed_the_answer_of_the_growing_cache(network: Network) -> None:
    cases = [
        Sampling(max_tokens=20, seed=index, temperature=0.7 + 0.2 * index, **keys)  # type: ignore[arg-type]
        for index, keys in enumerate(
            [{}, {"top_p": 0.9}, {"top_k": 20}, {"repetition_penalty": 1.3}, {"logprobs": 2}]
        )
    ]
    answers = []
    for path in (DecodePath(), path_with(network, None)):
        scheduler = start_scheduler(network, rows=3, queue=9, path=path)
        requests = [
            SubmittedRequest(scheduler, prompt, sampling)
            for prompt, sampling in zip(prompts(network, 5), cases, strict=True)
        ]
        answers.append([request.text() for request in requests])
        scheduler.close(0)
    assert answers[0] == answers[1]


def test_slots_answer_with_adapters_after_one_was_replaced(tiny: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    network, recorder = Network(LoadSettings(tiny, "float32", "cpu")), Recorder()
    scheduler = start_scheduler(network, rows=4, queue=9, path=path_with(network, recorder))
    prompt, tokenizer = prompts(network, 1)[0], AutoTokenizer.from_pretrained(tiny)
    answers = []
    for seed in (1, 2):
        folder = make_adapter(tiny, tmp_path / str(seed), seed=seed)
        scheduler.call(lambda folder=folder: network.add("a", folder)).result(HANG_S)  # type: ignore[misc]
        requests = [
            SubmittedRequest(scheduler, prompt, greedy(9), adapter=name) for name in (BASE, "a")
        ]
        answers.append([request.text() for request in requests])
        tuned = PeftModel.from_pretrained(plain_model(tiny), folder)
        assert answers[-1][1] == generated(tuned, tokenizer, prompt, 9)
        scheduler.call(lambda: scheduler.forget("a")).result(HANG_S)
    scheduler.close(0)
    assert answers[0][0] == answers[1][0] == generated(plain_model(tiny), tokenizer, prompt, 9)
    assert recorder.captures >= 3  # the base, and each of the two adapters


def test_a_cache_that_grows_does_not_replay_steps_of_its_old_tensors(
    network: Network, tiny: Path
) -> None:
    recorder = Recorder()
    path = path_with(network, recorder)
    scheduler = start_scheduler(network, rows=1, queue=9, length=512, cells=900, path=path)
    prompt = (prompts(network, 1)[0] * 20)[:250]  # six tokens before the first bucket ends
    answer = SubmittedRequest(scheduler, prompt, greedy(20)).text()
    scheduler.close(0)
    assert answer == generated(plain_model(tiny), network.tokenizers[BASE], prompt, 20)
    assert recorder.captures == 2


def test_the_next_batch_replays_the_steps_of_the_last_one(network: Network) -> None:
    recorder = Recorder()
    scheduler = start_scheduler(network, rows=2, queue=9, path=path_with(network, recorder))
    prompt = prompts(network, 1)[0]
    first = SubmittedRequest(scheduler, prompt, greedy(8)).text()
    until(lambda: scheduler.running == 0, what="an empty batch")
    captures = recorder.captures
    assert SubmittedRequest(scheduler, prompt, greedy(8)).text() == first
    scheduler.close(0)
    assert recorder.captures == captures == 1
    assert recorder.replays >= 1 + 5 + 7  # once to compare, five of the first, all of the second


def test_a_model_with_a_sliding_window_keeps_the_growing_cache(tmp_path: Path) -> None:
    import transformers
    from tiny import SIZES, train_tokenizer

    config = transformers.MistralConfig(**SIZES, sliding_window=8, eos_token_id=2)
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    train_tokenizer().save_pretrained(tmp_path)
    reasons: list[str] = []
    network = Network(LoadSettings(tmp_path, "float32", "cpu"))
    path = try_slots(network, StepGraphs(Recorder(), reasons.append), reasons.append)
    assert not path.is_static
    assert "does not cache keys and values of all tokens" in reasons[0]


def test_a_trial_that_gives_other_logits_keeps_the_growing_cache(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swiftbox.core.generation.slot_cache import SlotCache

    reasons: list[str] = []
    compute = SlotCache._compute

    def shifted(self: SlotCache, model: Any) -> torch.Tensor:
        self.positions += 1
        try:
            return compute(self, model)
        finally:
            self.positions -= 1

    monkeypatch.setattr(SlotCache, "_compute", shifted)
    path = try_slots(network, StepGraphs(None, reasons.append), reasons.append)
    assert not path.is_static
    assert "the logits of the trial differ" in reasons[0]


@pytest.mark.parametrize("fault", ["raises", "differs"])
def test_a_capture_that_fails_is_reported_and_answers_stay_right(
    network: Network, tiny: Path, fault: str
) -> None:
    def capture(step: Any) -> CapturedStep:
        if fault == "raises":
            raise RuntimeError("operation not permitted when stream is capturing")
        output = torch.zeros_like(step())
        return CapturedStep(lambda: None, output)

    reasons: list[str] = []
    graphs = StepGraphs(capture, reasons.append)
    path = try_slots(network, graphs, reasons.append)
    scheduler = start_scheduler(network, rows=3, queue=9, path=path)
    prompt = prompts(network, 1)[0]
    answer = SubmittedRequest(scheduler, prompt, greedy(12)).text()
    scheduler.close(0)
    assert answer == generated(plain_model(tiny), network.tokenizers[BASE], prompt, 12)
    assert len(reasons) == 1
    assert not graphs.enabled


def test_without_memory_for_graphs_steps_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from swiftbox.core.generation import step_graphs

    monkeypatch.setattr(step_graphs, "has_graphs", lambda _: True)
    monkeypatch.setattr(step_graphs, "free_bytes", lambda _: 2**20)
    reasons: list[str] = []
    graphs = StepGraphs(Recorder(), reasons.append)
    assert graphs.capture(lambda: torch.zeros(1), torch.zeros(1)) is None
    assert not graphs.enabled
    assert "of memory are free" in reasons[0]


def test_buckets_are_few_and_waste_less_than_half() -> None:
    buckets = [bucket(count, 256) for count in range(1, 40_000)]
    assert len(set(buckets)) <= 17
    assert all(count <= size < 1.5 * count + 256 for count, size in enumerate(buckets, 1))
    assert [bucket(count) for count in (1, 2, 3, 5, 9, 33)] == [1, 2, 3, 6, 12, 48]
