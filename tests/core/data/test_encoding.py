"""Examples become rows of tokens; what cannot be rendered is a bad row with its place."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import preferences
import pytest
from template_rows import wheel_source
from tiny import train_tokenizer

from swiftbox.core.data import cache as token_cache
from swiftbox.core.data.cache import ExampleEncoder, encoded_samples
from swiftbox.core.data.encode import (
    encode_conversations,
    encode_pairs,
    encode_prompts,
    labeled_row,
)
from swiftbox.core.data.prepare import prepare_rows
from swiftbox.core.data.samples import (
    IGNORED,
    PromptSample,
    TokenRow,
    TurnRows,
    computed_tokens,
)
from swiftbox.data.check import check_rows
from swiftbox.data.example import Example, RowError, Turn
from swiftbox.data.source import RowSource
from swiftbox.errors import DataError
from swiftbox.methods import METHODS
from swiftbox.runs import events
from swiftbox.templates.account import Account
from swiftbox.templates.renderings import LearnedSpan
from swiftbox.templates.tokens import TokenizedText

PICKY = (
    "{% for message in messages %}"
    "{% if message.content == 'no' %}{{ raise_exception('not that') }}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Refuses a message."""


def picky_encoder(stage: str = "sft", **settings: Any) -> ExampleEncoder:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = PICKY
    method = METHODS[stage]
    return ExampleEncoder.of(method, tokenizer, preferences.config(stage, **settings))


def write_rows(path: Path, questions: list[str]) -> Path:
    lines = [json.dumps({"query": question, "response": "fine"}) for question in questions]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def quiet(*_: Any, **__: Any) -> None:
    pass


def check(path: Path, encoder: ExampleEncoder, source: RowSource | None = None) -> list[str]:
    """Return the bad rows that a check finds."""
    checked = check_rows(
        [source or RowSource(str(path))],
        stage=encoder.method,
        max_bad_rows=100,
        renderer=encoder.renderer(),
    )
    return [str(row) for row in checked.bad]


def run_refusal(source: RowSource, encoder: ExampleEncoder) -> list[str]:
    """Return the bad rows that a run finds."""
    with pytest.raises(DataError) as caught:
        encoded_samples([source], encoder, quiet)
    return str(caught.value).splitlines()[:-1]


def test_a_run_finds_the_bad_rows_of_a_check_in_the_same_words(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ["q", "no", "q", "no", "q"])
    with path.open("a", encoding="utf-8") as file:
        file.write('{"query": "q"}\n{"query": "no", "response": "x"}\n')
    refused = run_refusal(RowSource(str(path)), picky_encoder())
    assert refused == check(path, picky_encoder())
    assert [line.split()[0].rpartition(":")[2] for line in refused] == ["2", "4", "6", "7"]
    assert "not that" in refused[0]


def test_rows_refused_by_the_template_count_against_max_bad_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ["q", "no", "q"])
    samples, report = encoded_samples([RowSource(str(path))], picky_encoder(max_bad_rows=1), quiet)
    assert (len(samples), report["bad"]) == (2, 1)


def test_a_run_reports_the_columns_that_nobody_read_and_what_was_cut(tmp_path: Path) -> None:
    turns = [{"role": role, "content": "q"} for role in ("user", "assistant", "user")]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": turns, "license": "cc"}) + "\n", "utf-8")
    report = encoded_samples([RowSource(str(path))], picky_encoder(), quiet)[1]
    assert (report["unused"], report["cut_rows"]) == ({"license": 1}, 1)


def test_a_sampled_dataset_samples_the_rows_that_the_template_accepts(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ["no"] * 3 + [f"q{number}" for number in range(5)])
    source = RowSource(str(path), num_samples=8)
    assert run_refusal(source, picky_encoder()) == check(path, picky_encoder(), source)
    samples, report = encoded_samples([source], picky_encoder(max_bad_rows=3), quiet)
    assert report["bad"] == 3
    assert report["account"]["counts"]["rows: all"] == 5
    assert len(samples) == 5


def test_the_tokens_of_turns_that_are_rendered_apart_are_counted() -> None:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = wheel_source("qwen3")
    turns = [Turn("user", "q"), Turn("assistant", "a")] * 2
    settings = preferences.config("sft")
    (encoded,) = encode_conversations([Example(tuple(turns))], tokenizer, settings)
    (sample,) = encoded.samples
    tokens = sum(len(row) for row in sample.rows)
    assert f"(2 answers, {tokens} tokens)" in encoded.account.lines()[0]


@pytest.mark.parametrize(("keys", "count"), [({"num_samples": 2}, 2), ({"weight": 2.0}, 8)])
def test_the_account_of_a_sampled_dataset_has_the_tokens_of_the_rows_it_takes(
    keys: dict[str, Any], count: int, tmp_path: Path
) -> None:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = wheel_source("qwen3")
    turns = [{"role": role, "content": "q"} for role in ("user", "assistant") * 2]
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps({"messages": turns}) + "\n") * 4, "utf-8")
    encoder = ExampleEncoder.of(METHODS["sft"], tokenizer, preferences.config("sft"))
    samples, report = encoded_samples([RowSource(str(path), **keys)], encoder, quiet)
    tokens = sum(len(row) for sample in samples for row in sample.rows)
    (line,) = Account.of(report["account"]).lines()
    assert line.startswith(f"turns: each for 4 rows (8 answers, {tokens} tokens as sampled)")
    assert len(samples) == count


def test_a_pair_judged_as_two_answers_is_one_bad_row(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps(row) + "\n" + json.dumps(row | {"rejected": "maybe"}) + "\n", "utf-8"
    )
    samples, report = encoded_samples(
        [RowSource(str(path))], picky_encoder("kto", max_bad_rows=1), quiet
    )
    assert (len(samples), report["bad"]) == (2, 1)


@pytest.mark.slow
def test_processes_find_the_same_bad_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = ["no" if number % 700 == 699 else f"q{number}" for number in range(2600)]
    path = write_rows(tmp_path / "a.jsonl", questions)
    monkeypatch.setattr(token_cache, "PARALLEL_FROM_EXAMPLES", 500)
    refused = run_refusal(RowSource(str(path)), picky_encoder(dataset_num_proc=2))
    assert refused == check(path, picky_encoder())
    assert len(refused) == 3


def test_what_happened_to_the_rows_stands_in_the_record_of_the_data(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ["q", "r"])
    recorded: list[dict[str, Any]] = []

    def emit(event: str, **fields: Any) -> None:
        if event == events.DATA:
            recorded.append(fields)

    for _ in range(2):  # encoded, then from the cache
        prepare_rows(picky_encoder(), [RowSource(str(path))], emit)
    assert recorded[0]["account"] == recorded[1]["account"]
    assert recorded[0]["account"]["counts"]
    assert recorded[0]["turns"] is None


def test_an_error_of_a_row_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(RowError("kind", "english", "中文")))
    assert (error.kind, error.en, error.zh) == ("kind", "english", "中文")


def test_tokens_get_the_label_and_weight_of_the_part_that_they_start_in() -> None:
    tokens = TokenizedText([5, 6, 7, 8], [(0, 2), (2, 4), (4, 6), (6, 8)])
    row = labeled_row(tokens, [LearnedSpan(2, 4, 1, 0.5), LearnedSpan(6, 8, 3)])
    assert row.labels.tolist() == [IGNORED, 6, IGNORED, 8]
    assert row.weights is not None
    assert row.weights.tolist() == [1.0, 0.5, 1.0, 1.0]
    assert labeled_row(tokens, [LearnedSpan(2, 8, 1)]).weights is None


def test_the_weight_of_a_turn_becomes_that_of_its_tokens() -> None:
    turns = (Turn("user", "q"), Turn("assistant", "a", weight=2.0))
    (encoded,) = encode_conversations(
        [Example(turns)], train_tokenizer(), preferences.config("sft")
    )
    (row,) = encoded.samples
    assert isinstance(row, TokenRow)
    assert row.weights is not None
    learned = row.labels != IGNORED
    assert np.array_equal(row.weights, np.where(learned, 2.0, 1.0))


def test_answers_that_are_compared_have_no_weights() -> None:
    prompt = Turn("user", "q")
    chosen = (prompt, Turn("assistant", "yes", weight=0.5))
    example = Example(chosen, rejected=(prompt, Turn("assistant", "no")))
    (encoded,) = encode_pairs([example], train_tokenizer(), preferences.config("dpo"))
    assert encoded.error is not None
    assert encoded.error.kind == "weight"


def test_weights_of_earlier_turns_do_not_forbid_to_compare_answers(tmp_path: Path) -> None:
    earlier = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 2}]
    row = {"messages": [*earlier, earlier[0], {"role": "assistant", "content": "b"}], "label": True}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n", "utf-8")
    encoder = picky_encoder("kto", turns="each", train_on_prompt=True)
    samples, report = encoded_samples([RowSource(str(path))], encoder, quiet)
    assert (len(samples), report["bad"]) == (1, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"turns": "last"},
        {"lost_words": "warn"},
        {"merge_consecutive": True},
        {"system_into_user": True},
        {"system": "Be brief."},
        {"model_name": "Mia"},
        {"model_author": "Us"},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_a_setting_of_the_conversations_encodes_again(changed: dict[str, Any]) -> None:
    before = token_cache.content_key([], picky_encoder())
    assert token_cache.content_key([], picky_encoder(**changed)) != before


STRICT = (
    "{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if style is defined %}{{ style }}{% endif %}{% endif %}"
)
"""Refuses a system text, and has a variable."""


def test_the_messages_of_a_prompt_render_to_its_tokens() -> None:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = STRICT
    variables = {"style": "Briefly:"}
    config = preferences.config(
        "grpo", reward_funcs="length", system_into_user=True, chat_template_kwargs=variables
    )
    example = Example((Turn("system", "Be kind."), Turn("user", "q")))
    (encoded,) = encode_prompts([example], tokenizer, config)
    (sample,) = encoded.samples
    assert isinstance(sample, PromptSample)
    again = tokenizer.apply_chat_template(
        list(sample.messages), add_generation_prompt=True, return_dict=True, **variables
    )
    assert sample.row.input_ids.tolist() == again["input_ids"]
    assert "Be kind." in sample.messages[0]["content"]


def test_a_prompt_with_tools_is_a_bad_row() -> None:
    config = preferences.config("grpo", reward_funcs="length")
    tool = {"type": "function", "function": {"name": "weather"}}
    example = Example((Turn("user", "q"),), (tool,))
    (encoded,) = encode_prompts([example], train_tokenizer(), config)
    assert encoded.error is not None
    assert encoded.error.kind == "tools"


REWRITING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last and message.reasoning_content %}"
    "<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Leaves out the reasoning of earlier turns, as Qwen3's does."""

TALK = Example(
    (
        Turn("user", "2+2?"),
        Turn("assistant", "4", extra=(("reasoning_content", "two and two"),)),
        Turn("user", "3+3?"),
        Turn("assistant", "6", extra=(("reasoning_content", "three twice"),)),
    )
)


def rewriting_tokenizer() -> Any:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = REWRITING
    return tokenizer


def test_a_template_that_rewrites_turns_gives_a_row_for_each() -> None:
    tokenizer = rewriting_tokenizer()
    (encoded,) = encode_conversations([TALK], tokenizer, preferences.config("sft"))
    (sample,) = encoded.samples
    assert isinstance(sample, TurnRows)
    learned = [tokenizer.decode(row.input_ids[row.labels != IGNORED]) for row in sample.rows]
    assert learned == [
        "<think>two and two</think>4<|im_end|>\n",
        "<think>three twice</think>6<|im_end|>\n",
    ]
    texts = [tokenizer.decode(row.input_ids) for row in sample.rows]
    assert "two and two" not in texts[1]
    assert computed_tokens(sample, shares=True) < computed_tokens(sample, shares=False)


def test_with_train_on_prompt_each_token_is_learned_once() -> None:
    tokenizer = rewriting_tokenizer()
    config = preferences.config("sft", train_on_prompt=True)
    (encoded,) = encode_conversations([TALK], tokenizer, config)
    (sample,) = encoded.samples
    assert isinstance(sample, TurnRows)
    assert sample.trained == computed_tokens(sample, shares=True) - 1  # nothing predicts the first


def test_a_check_counts_the_answers_that_are_rendered_twice(tmp_path: Path) -> None:
    row = {"messages": [turn.to_dict() for turn in TALK.messages]}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n", "utf-8")
    method, config = METHODS["sft"], preferences.config("sft")
    encoder = ExampleEncoder.of(method, rewriting_tokenizer(), config)
    source = [RowSource(str(path))]
    alone = check_rows(source, stage="sft", max_bad_rows=0).lengths.longest
    rendered = check_rows(source, stage="sft", max_bad_rows=0, renderer=encoder.renderer())
    assert rendered.lengths.longest > alone
