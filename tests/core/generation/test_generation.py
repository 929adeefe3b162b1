"""Generation: requests that share a batch get what they would get alone."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter
from box import until
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.generation.network import BASE, Loading, Network
from swiftbox.core.generation.sampling import Sampling
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.core.generation.tickets import Delta, Limits, QueueFull, Request

WORDS = "The json module encodes and decodes what others wrote and it is lightweight too".split()
LONGEST_S = 60


@pytest.fixture(scope="module")
def network(tiny: Path) -> Network:
    return Network(Loading(tiny, "float32", "cpu"))


@pytest.fixture
def scheduler(network: Network) -> Iterator[Scheduler]:
    made = Scheduler(network, Limits(rows=6, queue=100, length=1024, cells=100_000))
    made.start()
    yield made
    made.close(0)
    assert not made.alive


class Heard:
    """Everything that was delivered of one request."""

    def __init__(self, scheduler: Scheduler, prompt: list[int], *samplings: Sampling, **keys: str):
        self.deltas: queue.Queue[Delta] = queue.Queue()
        self.count = len(samplings)
        request = Request(prompt, samplings, keys.get("adapter", BASE), self.deltas.put)
        self.ticket = scheduler.submit(request)

    def wait(self) -> list[list[Delta]]:
        found: list[list[Delta]] = [[] for _ in range(self.count)]
        while not all(one and one[-1].finish for one in found):
            delta = self.deltas.get(timeout=LONGEST_S)
            found[delta.index].append(delta)
        return found

    def text(self, index: int = 0) -> str:
        self.said = "".join(one.text for one in self.wait()[index])
        return self.said


def prompts(network: Network, count: int) -> list[list[int]]:
    tokenizer = network.tokenizers[BASE]
    return [tokenizer(" ".join(WORDS[at % 7 :]) * (1 + at % 3)).input_ids for at in range(count)]


def greedy(count: int = 24, **keys: Any) -> Sampling:
    return Sampling(max_tokens=count, temperature=0.0, **keys)


def generated(model: Any, tokenizer: Any, prompt: list[int], count: int = 24) -> str:
    ids = torch.tensor([prompt])
    said = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False
    )
    return tokenizer.decode(said[0, len(prompt) :], skip_special_tokens=True)


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama"])
def test_greedy_answers_are_those_of_generate(name: str, tiny_models: dict[str, Path]) -> None:
    network = Network(Loading(tiny_models[name], "float32", "cpu"))
    scheduler = Scheduler(network, Limits(rows=5, queue=100, length=1024, cells=100_000))
    scheduler.start()
    plain = AutoModelForCausalLM.from_pretrained(tiny_models[name], dtype=torch.float32)
    asked = prompts(network, 14)
    ends = network.ends(BASE)
    heard = [
        Heard(scheduler, one, greedy(8 + 3 * at, stop_ids=ends)) for at, one in enumerate(asked)
    ]
    said = [one.text() for one in heard]
    scheduler.close(0)
    tokenizer = network.tokenizers[BASE]
    wanted = [generated(plain, tokenizer, one, 8 + 3 * at) for at, one in enumerate(asked)]
    assert said == wanted


def test_a_seed_gives_the_same_answer_alone_and_in_company(scheduler: Scheduler) -> None:
    asked = prompts(scheduler.network, 12)
    hot = Sampling(max_tokens=30, temperature=1.2, top_p=0.9, seed=7)
    alone = Heard(scheduler, asked[0], hot).text()
    company = [
        Heard(scheduler, one, Sampling(max_tokens=3 * at + 1, seed=at))
        for at, one in enumerate(asked)
    ]
    again = Heard(scheduler, asked[0], hot).text()
    assert again == alone
    other = Heard(scheduler, asked[0], Sampling(max_tokens=30, temperature=1.2, seed=8)).text()
    assert other != alone
    for one in company:
        one.wait()


def test_rows_are_sent_back_and_end_as_they_would_have(network: Network) -> None:
    asked = prompts(network, 6)
    roomy = Scheduler(network, Limits(rows=6, queue=9, length=512, cells=100_000))
    tight = Scheduler(network, Limits(rows=6, queue=9, length=512, cells=700))
    hot = Sampling(max_tokens=120, seed=3)
    said = []
    for one in (roomy, tight):
        one.start()
        said.append([heard.text() for heard in [Heard(one, prompt, hot) for prompt in asked]])
        one.close(0)
    assert said[0] == said[1]
    assert (roomy.counters.sent_back, tight.counters.sent_back > 0) == (0, True)


def test_long_prompts_are_read_in_chunks(scheduler: Scheduler, tiny: Path) -> None:
    long = (prompts(scheduler.network, 1)[0] * 40)[:900]
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    other = Heard(scheduler, prompts(scheduler.network, 1)[0], greedy(60))
    assert Heard(scheduler, long, greedy(16)).text() == generated(
        plain, scheduler.network.tokenizers[BASE], long, 16
    )
    other.wait()


def test_several_answers_to_one_prompt_differ_and_repeat(scheduler: Scheduler) -> None:
    prompt = prompts(scheduler.network, 1)[0]
    three = [Sampling(max_tokens=20, seed=5)] * 3
    heard = Heard(scheduler, prompt, *three).wait()
    texts = ["".join(delta.text for delta in one) for one in heard]
    assert len(set(texts)) == 3
    again = Heard(scheduler, prompt, *three).wait()
    assert texts == ["".join(delta.text for delta in one) for one in again]


def test_a_stop_string_ends_the_answer_before_it(scheduler: Scheduler) -> None:
    prompt = prompts(scheduler.network, 1)[0]
    whole = Heard(scheduler, prompt, greedy(40)).text()
    stop = whole[9:14]  # over the borders of tokens: most have two or three letters here
    heard = Heard(scheduler, prompt, greedy(40, stop=(stop,))).wait()[0]
    assert "".join(one.text for one in heard) == whole[: whole.index(stop)]
    assert heard[-1].finish == "stop"


def test_the_pieces_make_the_whole_and_hold_whole_characters(scheduler: Scheduler) -> None:
    tokenizer = scheduler.network.tokenizers[BASE]
    ids = tokenizer("ħé 世界 🙂 naïve", add_special_tokens=False).input_ids
    from swiftbox.core.generation.transcript import Transcript

    transcript, pieces = Transcript(tokenizer, ()), []
    for one in ids:
        transcript.add(one)
        pieces.append(transcript.release())
    pieces.append(transcript.finish())
    assert "".join(pieces) == "ħé 世界 🙂 naïve"
    assert not any("\ufffd" in one for one in pieces)
    assert len([one for one in pieces if one]) > 8


def test_log_probabilities_are_the_models_own(scheduler: Scheduler, tiny: Path) -> None:
    prompt = prompts(scheduler.network, 1)[0]
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    heard = Heard(scheduler, prompt, greedy(5, logprobs=3)).wait()[0]
    logs = [log for delta in heard for log in delta.logs]
    tokens = [one.token for one in logs]
    with torch.no_grad():
        logits = plain(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    wanted = torch.log_softmax(logits, -1)
    assert len(logs) == 5
    for row, one in zip(wanted, logs, strict=True):
        assert one.logprob == pytest.approx(float(row[one.token]), abs=1e-4)
        assert [token for token, _ in one.top] == row.topk(3).indices.tolist()


def test_a_cancelled_request_frees_its_slot(scheduler: Scheduler) -> None:
    asked = prompts(scheduler.network, 8)
    heard = [Heard(scheduler, one, greedy(900)) for one in asked]
    for one in heard:
        scheduler.cancel(one.ticket)
    assert {one.wait()[0][-1].finish for one in heard} == {"cancelled"}
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    assert scheduler.counters.cancelled == 8


def test_a_full_queue_refuses(network: Network) -> None:
    made = Scheduler(network, Limits(rows=1, queue=2, length=1024, cells=100_000))
    made.start()
    prompt = prompts(network, 1)[0]
    for _ in range(3):  # one has the slot, or will have it at once; two wait
        Heard(made, prompt, greedy(800))
        until(lambda: made.running == 1, what="a slot in use")
    with pytest.raises(QueueFull):
        Heard(made, prompt, greedy(800))
    assert made.counters.refused == 1
    made.close(0)


def test_adapters_answer_side_by_side_as_each_would_alone(tiny: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    folders = {name: make_adapter(tiny, tmp_path / name, seed=at) for at, name in enumerate("ab")}
    network = Network(Loading(tiny, "float32", "cpu"))
    scheduler = Scheduler(network, Limits(rows=8, queue=100, length=1024, cells=100_000))
    scheduler.start()
    for name, folder in folders.items():
        scheduler.call(lambda name=name, folder=folder: network.add(name, folder)).result(60)
    prompt = prompts(network, 1)[0]
    heard = {name: Heard(scheduler, prompt, greedy(), adapter=name) for name in (BASE, "a", "b")}
    said = {name: one.text() for name, one in heard.items()}
    scheduler.call(lambda: network.remove("a")).result(60)
    scheduler.call(lambda: network.remove("b")).result(60)
    left = Heard(scheduler, prompt, greedy()).text()
    scheduler.close(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for name, folder in folders.items():
        base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        assert said[name] == generated(PeftModel.from_pretrained(base, folder), tokenizer, prompt)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert said[BASE] == left == generated(base, tokenizer, prompt)
    assert len(set(said.values())) == 3


def test_an_adapter_of_another_base_is_refused_and_leaves_the_others(
    tiny: Path, tmp_path: Path
) -> None:
    from swiftbox.errors import ConfigError

    network = Network(Loading(tiny, "float32", "cpu"))
    odd = make_adapter(tiny, tmp_path / "odd", target_modules=["nowhere_proj", "q_proj"])
    said = (odd / "adapter_config.json").read_text("utf-8")
    (odd / "adapter_config.json").write_text(
        said.replace("q_proj", "x_proj").replace("nowhere_proj", "y_proj"), "utf-8"
    )
    with pytest.raises(ConfigError, match="does not fit"):
        network.add("odd", odd)
    assert network.adapters == []
    good = make_adapter(tiny, tmp_path / "good")
    network.add("good", good)
    assert network.adapters == ["good"]


def test_sampling_follows_the_distribution() -> None:
    from swiftbox.core.generation.sampling import Chooser, choose

    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05] + [1e-9] * 596]))
    chooser = Chooser(Sampling(max_tokens=1, seed=1), [], 0)
    counts = torch.bincount(
        torch.tensor([choose(logits, [chooser])[0].token for _ in range(4000)]), minlength=4
    )
    assert (counts[:4] / 4000).tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    kept = Chooser(Sampling(max_tokens=1, seed=1, top_p=0.7), [], 0)
    assert {choose(logits, [kept])[0].token for _ in range(200)} == {0, 1}
    kept = Chooser(Sampling(max_tokens=1, seed=1, top_k=3), [], 0)
    assert {choose(logits, [kept])[0].token for _ in range(400)} == {0, 1, 2}
    kept = Chooser(Sampling(max_tokens=1, seed=1, min_p=0.2), [], 0)
    assert {choose(logits, [kept])[0].token for _ in range(400)} == {0, 1, 2}


def test_requests_from_many_threads_all_end(scheduler: Scheduler) -> None:
    asked = prompts(scheduler.network, 40)
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda one: Heard(scheduler, one, greedy(10)).text(), asked))
    by_prompt = {tuple(one): said[at] for at, one in enumerate(asked)}
    assert [by_prompt[tuple(one)] for one in asked] == said
    assert scheduler.running == 0


def test_a_repetition_penalty_is_that_of_generate(scheduler: Scheduler, tiny: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    asked = prompts(scheduler.network, 6)
    ends = scheduler.network.ends(BASE)
    one = greedy(repetition_penalty=5.0, stop_ids=ends)
    heard = [Heard(scheduler, prompt, one) for prompt in asked]
    plain.generation_config.repetition_penalty = 5.0
    tokenizer = scheduler.network.tokenizers[BASE]
    assert [one.text() for one in heard] == [generated(plain, tokenizer, one) for one in asked]
    plain.generation_config.repetition_penalty = 1.0
    assert [one.said for one in heard] != [generated(plain, tokenizer, one) for one in asked]


def test_a_sliding_window_is_that_of_generate(tmp_path: Path) -> None:
    import transformers
    from tiny import SIZES, train_tokenizer

    torch.manual_seed(3)
    tokenizer = train_tokenizer()
    config = transformers.MistralConfig(**SIZES, sliding_window=8, eos_token_id=2)
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    network = Network(Loading(tmp_path, "float32", "cpu"))
    scheduler = Scheduler(network, Limits(rows=5, queue=100, length=1024, cells=100_000))
    scheduler.start()
    asked = prompts(network, 5)
    heard = [
        Heard(scheduler, one, greedy(10 + at, stop_ids=frozenset([2])))
        for at, one in enumerate(asked)
    ]
    said = [one.text() for one in heard]
    scheduler.close(0)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert max(map(len, asked)) > 16  # far more than the window
    assert said == [generated(plain, tokenizer, one, 10 + at) for at, one in enumerate(asked)]


def test_a_model_with_another_memory_is_refused(tmp_path: Path) -> None:
    import transformers
    from tiny import train_tokenizer

    from swiftbox.errors import MachineError

    config = transformers.MambaConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, state_size=4
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    train_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(MachineError, match="keeps more than keys and values"):
        Network(Loading(tmp_path, "float32", "cpu"))
