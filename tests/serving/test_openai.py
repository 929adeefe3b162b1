"""Every endpoint and parameter, by the official client: it works or is a 400 with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import BadRequestError, NotFoundError, OpenAI
from openai_requests import REFUSED, TALK, TOOL, WORKS
from own_server import Server, serving
from tiny import TEMPLATE
from transformers import AutoModelForCausalLM, AutoTokenizer

TOOLED = "{% for tool in tools or [] %}{{ tool.function | tojson }}\n{% endfor %}" + TEMPLATE
"""The template of the tiny models, with the tools before the conversation."""


@pytest.fixture(scope="module")
def tooled(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("models") / "tooled")
    (folder / "chat_template.jinja").write_text(TOOLED, "utf-8")
    return folder


@pytest.fixture(scope="module")
def server(tooled: Path) -> Iterator[Server]:
    with serving(tooled) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with server.client() as official:
        yield official


@pytest.fixture(scope="module")
def plain(tiny: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)


def chat(client: OpenAI, **keys: Any) -> Any:
    settings = {"model": "tiny", "messages": TALK, "max_tokens": 12, "temperature": 0, **keys}
    return client.chat.completions.create(**settings)


def text(client: OpenAI, **keys: Any) -> Any:
    settings = {"model": "tiny", "prompt": "The json module", "max_tokens": 12, "temperature": 0}
    return client.completions.create(**{**settings, **keys})


def ids_of(tiny: Path, talk: list[Any], tools: list[Any] | None = None) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    rendered = tokenizer.apply_chat_template(
        talk, tools=tools, tokenize=False, add_generation_prompt=True
    )
    return tokenizer(rendered, add_special_tokens=False).input_ids


def generated(plain: Any, tiny: Path, ids: list[int], count: int = 12) -> str:
    prompt = torch.tensor([ids])
    output = plain.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    return tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)


def test_a_greedy_chat_is_what_generate_writes(client: OpenAI, plain: Any, tiny: Path) -> None:
    answer = chat(client)
    expected = generated(plain, tiny, ids_of(tiny, TALK))
    assert answer.choices[0].message.content == expected
    assert answer.choices[0].message.role == "assistant"
    assert answer.object == "chat.completion"


def test_greedy_answers_under_load_are_those_of_generate(
    client: OpenAI, plain: Any, tiny: Path
) -> None:
    talks = [[{"role": "user", "content": "json " * (1 + at % 9)}] for at in range(30)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda talk: chat(client, messages=talk), talks))
    contents = [answer.choices[0].message.content for answer in answers]
    for talk, content in zip(talks[:9], contents[:9], strict=True):
        assert content == generated(plain, tiny, ids_of(tiny, talk))
    assert contents[9:18] == contents[:9]


def test_a_seed_repeats_under_load(client: OpenAI) -> None:
    def hot(seed: int) -> str:
        answer = chat(client, temperature=1.3, top_p=0.95, seed=seed, max_tokens=24)
        return str(answer.choices[0].message.content)

    alone = hot(7)
    with ThreadPoolExecutor(8) as pool:
        company = list(pool.map(hot, [7, 1, 2, 3, 7, 4, 5, 7]))
    assert [company[at] for at in (0, 4, 7)] == [alone] * 3
    assert len(set(company)) == 6


@pytest.mark.parametrize(("kind", "keys"), WORKS, ids=[f"{k} {list(v)}" for k, v in WORKS])
def test_supported_parameters_work(kind: str, keys: dict[str, Any], client: OpenAI) -> None:
    answer = {"chat": chat, "text": text}[kind](client, **keys)
    if keys.get("stream"):
        answer = next(iter(answer))
    expected = keys.get("n", 1) * (2 if keys.get("prompt") in (["a", "b"], [[5, 6], [7]]) else 1)
    assert len(answer.choices) == expected


@pytest.mark.parametrize(
    ("kind", "keys", "why"), REFUSED, ids=[f"{k} {list(v)} {w[:9]}" for k, v, w in REFUSED]
)
def test_unsupported_parameters_are_refused_with_the_reason(
    kind: str, keys: dict[str, Any], why: str, client: OpenAI
) -> None:
    with pytest.raises(BadRequestError) as caught:
        {"chat": chat, "text": text}[kind](client, **keys)
    assert why in caught.value.message
    assert caught.value.type == "invalid_request_error"


def test_several_answers_are_numbered_and_differ(client: OpenAI) -> None:
    answer = chat(client, n=4, temperature=1.5, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_usage_counts_prompt_and_generated_tokens(client: OpenAI, tiny: Path) -> None:
    answer = chat(client, n=2, max_tokens=5, extra_body={"ignore_eos": True})
    assert answer.usage.prompt_tokens == len(ids_of(tiny, TALK))
    assert answer.usage.completion_tokens == 10
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 10
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]


def test_a_stream_has_the_content_of_a_complete_answer(client: OpenAI) -> None:
    keys = {"temperature": 1.4, "seed": 11, "n": 2, "max_tokens": 60, "logprobs": True}
    complete = chat(client, **keys)
    parts = list(chat(client, stream=True, stream_options={"include_usage": True}, **keys))
    for index in (0, 1):
        mine = [
            part.choices[0] for part in parts if part.choices and part.choices[0].index == index
        ]
        assert mine[0].delta.role == "assistant"
        content = "".join(choice.delta.content or "" for choice in mine)
        assert content == complete.choices[index].message.content
        assert [choice.finish_reason for choice in mine if choice.finish_reason] == [
            complete.choices[index].finish_reason
        ]
        logs = [log.token for choice in mine if choice.logprobs for log in choice.logprobs.content]
        assert logs == [log.token for log in complete.choices[index].logprobs.content]
    assert parts[-1].choices == []
    assert parts[-1].usage.completion_tokens == complete.usage.completion_tokens
    assert all(part.usage is None for part in parts[:-1])


def test_answers_with_a_seed_and_a_stop_are_the_same_streamed_and_one_by_one(
    client: OpenAI,
) -> None:
    keys: dict[str, Any] = {"temperature": 1.2, "seed": 5, "max_tokens": 40, "n": 3}
    free = [choice.message.content for choice in chat(client, **keys).choices]
    stop = free[0][8:11]
    expected = [text.partition(stop)[0] for text in free]
    complete = chat(client, stop=[stop], **keys).choices
    streamed = ["", "", ""]
    for part in chat(client, stop=[stop], stream=True, **keys):
        for choice in part.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert [choice.message.content for choice in complete] == expected
    assert streamed == expected
    assert chat(client, stop=[stop], **{**keys, "n": 1}).choices[0].message.content == expected[0]
    assert complete[0].finish_reason == "stop"


def test_without_a_temperature_the_likeliest_tokens_are_chosen_as_by_generate(
    client: OpenAI, plain: Any, tiny: Path
) -> None:
    answer = client.chat.completions.create(model="tiny", messages=TALK, max_tokens=12)
    assert answer.choices[0].message.content == generated(plain, tiny, ids_of(tiny, TALK))


def test_a_stop_string_across_tokens_is_not_shown(client: OpenAI) -> None:
    complete = chat(client, max_tokens=60).choices[0].message.content
    stop = complete[10:15]
    cut = chat(client, max_tokens=60, stop=[stop])
    assert cut.choices[0].message.content == complete[: complete.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    parts = chat(client, max_tokens=60, stop=[stop], stream=True)
    streamed = "".join(part.choices[0].delta.content or "" for part in parts)
    assert streamed == cut.choices[0].message.content


def test_tools_reach_the_template(client: OpenAI) -> None:
    plain = chat(client).usage.prompt_tokens
    assert chat(client, tools=[TOOL]).usage.prompt_tokens > plain
    assert chat(client, tools=[TOOL], tool_choice="none").usage.prompt_tokens == plain


@pytest.fixture(scope="module")
def caller(tooled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned to answer with one call of a tool, whether it is on offer or not."""
    folder = tmp_path_factory.mktemp("models") / "caller"
    tokenizer = AutoTokenizer.from_pretrained(tooled)
    model = AutoModelForCausalLM.from_pretrained(tooled, dtype=torch.float32)
    prompts = [ids_of(tooled, TALK), ids_of(tooled, TALK, [TOOL])]
    call = 'I look. <tool_call>{"name": "look", "arguments": {"at": "sea"}}</tool_call>'
    answer = [*tokenizer(call, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    rows = [torch.tensor([[*prompt, *answer]]) for prompt in prompts]
    labels = [torch.tensor([[-100] * len(prompt) + answer]) for prompt in prompts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = sum(
            model(input_ids=ids, labels=targets).loss
            for ids, targets in zip(rows, labels, strict=True)
        )
        if loss < 0.01:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.01
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_generated_call_is_a_tool_call_complete_and_streamed(caller: Path) -> None:
    keys = {"tools": [TOOL], "max_tokens": 80}
    with serving(caller) as server, server.client() as client:
        choice = chat(client, **keys).choices[0]
        parts = [part.choices[0] for part in chat(client, stream=True, **keys)]
        without_tools = chat(client, tools=[TOOL], tool_choice="none", max_tokens=80).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content.strip() == "I look."
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "look")
    assert json.loads(call.function.arguments) == {"at": "sea"}
    assert "".join(part.delta.content or "" for part in parts).strip() == "I look."
    (piece,) = [call for part in parts for call in part.delta.tool_calls or []]
    assert (piece.index, piece.function.name) == (0, "look")
    assert json.loads(piece.function.arguments) == {"at": "sea"}
    assert parts[-1].finish_reason == "tool_calls"
    assert "<tool_call>" in without_tools.message.content
    assert without_tools.finish_reason == "stop"


def test_a_turn_with_an_invalid_call_is_refused(client: OpenAI) -> None:
    for function in ({"arguments": "{}"}, {"name": "look", "arguments": "{"}):
        turn = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
        with pytest.raises(BadRequestError, match=r"messages\[1\]\.tool_calls"):
            chat(client, messages=[*TALK[1:], turn])


def test_token_ids_are_returned(client: OpenAI, tiny: Path) -> None:
    choice = text(client, prompt=[5, 6, 7], extra_body={"return_token_ids": True}).choices[0]
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert tokenizer.decode(choice.token_ids, skip_special_tokens=True) == choice.text
    parts = text(client, prompt=[5, 6, 7], stream=True, extra_body={"return_token_ids": True})
    assert [token for part in parts for token in part.choices[0].token_ids] == choice.token_ids


def test_chat_without_a_template_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    with serving(folder) as server, server.client() as client:
        with pytest.raises(BadRequestError, match="no chat template; use /v1/completions"):
            chat(client)
        assert text(client).choices[0].text


def test_the_completion_log_probabilities_have_openais_shape(client: OpenAI) -> None:
    choice = text(client, logprobs=2, max_tokens=4).choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    assert len(choice.logprobs.token_logprobs) == len(choice.logprobs.top_logprobs) == 4
    assert choice.logprobs.text_offset[0] == 0
    assert all(value <= 0 for value in choice.logprobs.token_logprobs)


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(NotFoundError, match="available: tiny"):
        client.models.retrieve("gpt")
    with pytest.raises(NotFoundError, match="available: tiny"):
        chat(client, model="gpt")


def test_tokenize_gives_the_prompts_own_tokens(client: OpenAI, tiny: Path, server: Server) -> None:
    answer = client.post(
        f"{server.url}/tokenize", cast_to=object, body={"model": "tiny", "messages": TALK}
    )
    assert dict(answer)["tokens"] == ids_of(tiny, TALK)  # type: ignore[call-overload]


def test_health_and_metrics_describe_the_state(client: OpenAI, server: Server) -> None:
    import urllib.request

    chat(client)
    with urllib.request.urlopen(f"{server.url}/health") as response:
        health = json.load(response)
    assert (health["status"], health["running"], health["slots"]) == ("ok", 0, 16)
    with urllib.request.urlopen(f"{server.url}/metrics") as response:
        lines = response.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values["swiftbox_requests_finished_total"]) >= 1
    assert float(values["swiftbox_requests_failed_total"]) == 0
    assert float(values['swiftbox_responses_total{status="200"}']) >= 1
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == {
        line.split()[0].split("{")[0].removesuffix("_sum").removesuffix("_count")
        for line in lines
        if not line.startswith("#")
    }
