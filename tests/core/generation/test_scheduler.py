"""Requests that share a batch get the answers that they would get alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from adapters import make_adapter
from box import HANG_S, until
from submitting import SubmittedRequest, generated, greedy, prompts, start_scheduler
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.generation.network import BASE, LoadSettings, Network
from swiftbox.core.generation.requests import QueueFull
from swiftbox.core.generation.sampling import Sampling
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.core.generation.transcript import Transcript


@pytest.fixture(scope="module")
def network(tiny: Path) -> Network:
    return Network(LoadSettings(tiny, "float32", "cpu"))


@pytest.fixture
def scheduler(network: Network) -> Iterator[Scheduler]:
    running = start_scheduler(network, rows=6, queue=100)
    yield running
    running.close(0)
    assert not running.alive


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama"])
def test_greedy_answers_equal_those_of_generate(name: str, tiny_models: dict[str, Path]) -> None:
    network = Network(LoadSettings(tiny_models[name], "float32", "cpu"))
    scheduler = start_scheduler(network, rows=5, queue=100)
    plain = AutoModelForCausalLM.from_pretrained(tiny_models[name], dtype=torch.float32)
    cases = [(prompt, 8 + 3 * index) for index, prompt in enumerate(prompts(network, 14))]
    ends = network.ends(BASE)
    requests = [
        SubmittedRequest(scheduler, prompt, greedy(count, stop_ids=ends)) for prompt, count in cases
    ]
    answers = [request.text() for request in requests]
    scheduler.close(0)
    tokenizer = network.tokenizers[BASE]
    assert answers == [generated(plain, tokenizer, prompt, count) for prompt, count in cases]


def test_a_seed_gives_the_same_answer_alone_and_under_load(scheduler: Scheduler) -> None:
    all_prompts = prompts(scheduler.network, 12)
    hot = Sampling(max_tokens=30, temperature=1.2, top_p=0.9, seed=7)
    alone = SubmittedRequest(scheduler, all_prompts[0], hot).text()
    others = [
        SubmittedRequest(scheduler, prompt, Sampling(max_tokens=3 * index + 1, seed=index))
        for index, prompt in enumerate(all_prompts)
    ]
    again = SubmittedRequest(scheduler, all_prompts[0], hot).text()
    assert again == alone
    other_seed = Sampling(max_tokens=30, temperature=1.2, seed=8)
    assert SubmittedRequest(scheduler, all_prompts[0], other_seed).text() != alone
    for request in others:
        request.wait()


def test_each_answer_keeps_its_own_bias_while_others_come_and_go(scheduler: Scheduler) -> None:
    requests = {
        token: SubmittedRequest(
            scheduler, prompt, greedy(1 + token % 13, logit_bias={token: 100.0}, logprobs=0)
        )
        for token, prompt in enumerate(prompts(scheduler.network, 24), start=100)
    }
    for token, request in requests.items():
        sampled = [each.token for delta in request.wait()[0] for each in delta.logs]
        assert sampled == [token] * (1 + token % 13)


def test_preempted_answers_end_as_they_would_have(network: Network) -> None:
    hot = Sampling(max_tokens=120, seed=3)
    answers, preemptions = [], []
    for cells in (100_000, 700):
        scheduler = start_scheduler(network, rows=6, queue=9, length=512, cells=cells)
        requests = [SubmittedRequest(scheduler, prompt, hot) for prompt in prompts(network, 6)]
        answers.append([request.text() for request in requests])
        scheduler.close(0)
        preemptions.append(scheduler.counters.sent_back)
    assert answers[0] == answers[1]
    assert preemptions[0] == 0
    assert preemptions[1] > 0


def test_long_prompts_are_read_in_chunks(scheduler: Scheduler, tiny: Path) -> None:
    long = (prompts(scheduler.network, 1)[0] * 40)[:900]
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    other = SubmittedRequest(scheduler, prompts(scheduler.network, 1)[0], greedy(60))
    assert SubmittedRequest(scheduler, long, greedy(16)).text() == generated(
        plain, scheduler.network.tokenizers[BASE], long, 16
    )
    other.wait()


def test_several_answers_to_one_prompt_differ_and_repeat(scheduler: Scheduler) -> None:
    prompt = prompts(scheduler.network, 1)[0]
    three = [Sampling(max_tokens=20, seed=5)] * 3
    answers = SubmittedRequest(scheduler, prompt, *three).wait()
    texts = ["".join(delta.text for delta in answer) for answer in answers]
    assert len(set(texts)) == 3
    again = SubmittedRequest(scheduler, prompt, *three).wait()
    assert texts == ["".join(delta.text for delta in answer) for answer in again]


def test_a_stop_string_ends_the_answer_before_it(scheduler: Scheduler) -> None:
    prompt = prompts(scheduler.network, 1)[0]
    full = SubmittedRequest(scheduler, prompt, greedy(40)).text()
    stop = full[9:14]  # across tokens: most have two or three letters here
    deltas = SubmittedRequest(scheduler, prompt, greedy(40, stop=(stop,))).wait()[0]
    assert "".join(delta.text for delta in deltas) == full[: full.index(stop)]
    assert deltas[-1].finish == "stop"


def test_pieces_join_to_the_text_and_hold_complete_characters(
    scheduler: Scheduler,
) -> None:
    tokenizer = scheduler.network.tokenizers[BASE]
    ids = tokenizer("ħé 世界 🙂 naïve", add_special_tokens=False).input_ids
    transcript, pieces = Transcript(tokenizer, ()), []
    for token in ids:
        transcript.add(token)
        pieces.append(transcript.release())
    pieces.append(transcript.finish())
    assert "".join(pieces) == "ħé 世界 🙂 naïve"
    assert not any("\ufffd" in piece for piece in pieces)
    assert len([piece for piece in pieces if piece]) > 8


def test_log_probabilities_are_the_models_own(scheduler: Scheduler, tiny: Path) -> None:
    prompt = prompts(scheduler.network, 1)[0]
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    deltas = SubmittedRequest(scheduler, prompt, greedy(5, logprobs=3)).wait()[0]
    logs = [log for delta in deltas for log in delta.logs]
    tokens = [log.token for log in logs]
    with torch.no_grad():
        logits = plain(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1)
    assert len(logs) == 5
    for row, log in zip(expected, logs, strict=True):
        # Float32 rounds logits of about 10 by 1e-6; the cache adds them in another order.
        assert log.logprob == pytest.approx(float(row[log.token]), abs=1e-4)
        assert [token for token, _ in log.top] == row.topk(3).indices.tolist()


def test_a_cancelled_request_frees_its_slot(scheduler: Scheduler) -> None:
    requests = [
        SubmittedRequest(scheduler, prompt, greedy(900)) for prompt in prompts(scheduler.network, 8)
    ]
    for request in requests:
        scheduler.cancel(request.ticket)
    assert {request.wait()[0][-1].finish for request in requests} == {"cancelled"}
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    assert scheduler.counters.cancelled == 8


def test_a_full_queue_refuses(network: Network) -> None:
    scheduler = start_scheduler(network, rows=1, queue=2)
    prompt = prompts(network, 1)[0]
    for _ in range(3):  # the first one gets the slot; two wait
        SubmittedRequest(scheduler, prompt, greedy(800))
        until(lambda: scheduler.running == 1, what="a slot in use")
    with pytest.raises(QueueFull):
        SubmittedRequest(scheduler, prompt, greedy(800))
    assert scheduler.counters.refused == 1
    scheduler.close(0)


def test_adapters_answer_together_as_each_would_alone(tiny: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    folders = {
        name: make_adapter(tiny, tmp_path / name, seed=seed) for seed, name in enumerate("ab")
    }
    network = Network(LoadSettings(tiny, "float32", "cpu"))
    scheduler = start_scheduler(network, rows=8, queue=100)
    for name, folder in folders.items():
        scheduler.call(lambda name=name, folder=folder: network.add(name, folder)).result(HANG_S)
    prompt = prompts(network, 1)[0]
    requests = {
        name: SubmittedRequest(scheduler, prompt, greedy(), adapter=name)
        for name in (BASE, "a", "b")
    }
    answers = {name: request.text() for name, request in requests.items()}
    scheduler.call(lambda: network.remove("a")).result(HANG_S)
    scheduler.call(lambda: network.remove("b")).result(HANG_S)
    after_removal = SubmittedRequest(scheduler, prompt, greedy()).text()
    scheduler.close(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for name, folder in folders.items():
        plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        tuned = PeftModel.from_pretrained(plain, folder)
        assert answers[name] == generated(tuned, tokenizer, prompt)
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert answers[BASE] == after_removal == generated(plain, tokenizer, prompt)
    assert len(set(answers.values())) == 3


def test_an_adapter_of_another_base_is_refused_and_the_next_one_loads(
    tiny: Path, tmp_path: Path
) -> None:
    from swiftbox.errors import ConfigError

    network = Network(LoadSettings(tiny, "float32", "cpu"))
    odd = make_adapter(tiny, tmp_path / "odd", target_modules=["nowhere_proj", "q_proj"])
    config = (odd / "adapter_config.json").read_text("utf-8")
    (odd / "adapter_config.json").write_text(
        config.replace("q_proj", "x_proj").replace("nowhere_proj", "y_proj"), "utf-8"
    )
    with pytest.raises(ConfigError, match="does not fit"):
        network.add("odd", odd)
    assert network.adapters == []
    good = make_adapter(tiny, tmp_path / "good")
    network.add("good", good)
    assert network.adapters == ["good"]


def test_requests_from_many_threads_all_end(scheduler: Scheduler) -> None:
    all_prompts = prompts(scheduler.network, 40)
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda p: SubmittedRequest(scheduler, p, greedy(10)).text(), all_prompts)
        )
    by_prompt = {tuple(prompt): answers[index] for index, prompt in enumerate(all_prompts)}
    assert [by_prompt[tuple(prompt)] for prompt in all_prompts] == answers
    assert scheduler.running == 0


def test_a_repetition_penalty_equals_that_of_generate(scheduler: Scheduler, tiny: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    all_prompts = prompts(scheduler.network, 6)
    ends = scheduler.network.ends(BASE)
    penalized = greedy(repetition_penalty=5.0, stop_ids=ends)
    requests = [SubmittedRequest(scheduler, prompt, penalized) for prompt in all_prompts]
    plain.generation_config.repetition_penalty = 5.0
    tokenizer = scheduler.network.tokenizers[BASE]
    answers = [request.text() for request in requests]
    assert answers == [generated(plain, tokenizer, prompt) for prompt in all_prompts]
    plain.generation_config.repetition_penalty = 1.0
    assert answers != [generated(plain, tokenizer, prompt) for prompt in all_prompts]


def test_a_sliding_window_equals_that_of_generate(tmp_path: Path) -> None:
    import transformers
    from tiny import SIZES, train_tokenizer

    torch.manual_seed(3)
    tokenizer = train_tokenizer()
    config = transformers.MistralConfig(**SIZES, sliding_window=8, eos_token_id=2)
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    network = Network(LoadSettings(tmp_path, "float32", "cpu"))
    scheduler = start_scheduler(network, rows=5, queue=100)
    cases = [(prompt, 10 + index) for index, prompt in enumerate(prompts(network, 5))]
    requests = [
        SubmittedRequest(scheduler, prompt, greedy(count, stop_ids=frozenset([2])))
        for prompt, count in cases
    ]
    answers = [request.text() for request in requests]
    scheduler.close(0)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert max(len(prompt) for prompt, _ in cases) > 16  # far more than the window
    assert answers == [generated(plain, tokenizer, prompt, count) for prompt, count in cases]


def test_a_model_with_another_kind_of_cache_is_refused(tmp_path: Path) -> None:
    import transformers
    from tiny import train_tokenizer

    from swiftbox.errors import MachineError

    config = transformers.MambaConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, state_size=4
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    train_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(MachineError, match="caches more than keys and values"):
        Network(LoadSettings(tmp_path, "float32", "cpu"))


def test_adapters_have_the_number_type_of_the_model(tiny: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    from swiftbox.core.generation.parity import TIES

    network = Network(LoadSettings(tiny, "bfloat16", "cpu"))
    ids = torch.tensor([prompts(network, 1)[0]])
    for seed in (1, 2):
        folder = make_adapter(tiny, tmp_path / str(seed), seed=seed)
        network.add(str(seed), folder)
        with torch.no_grad():
            served = network.use(str(seed))(ids).logits.float()
            plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
            merged = PeftModel.from_pretrained(plain, folder).merge_and_unload()(ids).logits.float()
        assert float((served - merged).abs().max()) <= TIES["bfloat16"] * float(merged.abs().max())
    names = [name for name, _ in network.model.named_parameters() if "lora_" in name]
    types = {network.model.get_parameter(name).dtype for name in names}
    assert len(names) > 4
    assert types == {torch.bfloat16}
