"""Joined rows equal padded rows; packing loses nothing; only learned places get logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import preferences
import pytest
import torch
from tiny import ARCHITECTURES, train_tokenizer, write_chats
from transformers import AutoModelForCausalLM

from swiftbox.core.data.batches import LINES, collate_rows, joined_batch, padded_batch
from swiftbox.core.data.encode import encode_conversations, encode_texts
from swiftbox.core.data.rows import EpochSampler, fit, hold_out, pack
from swiftbox.core.data.samples import IGNORED, TokenRow
from swiftbox.core.data.storage import MemorySamples, SampleSubset
from swiftbox.core.losses.cross_entropy import next_token_losses, with_targets
from swiftbox.core.losses.log_prob_reader import LogProbReader, reader_for
from swiftbox.core.training.model_checks import isolates_rows
from swiftbox.data.example import Example, Turn
from swiftbox.errors import DataError

TOLERANCE = 1e-5
"""Models are float64. RMSNorm and transformers' own loss round to float32 (6e-8, of losses up to
7 nats): 20 times below this on any processor."""


def encode_chats(examples: list[Example], tokenizer, *, train_on_prompt: bool) -> list[TokenRow]:
    config = preferences.config("sft", train_on_prompt=train_on_prompt)
    return preferences.samples_of(encode_conversations(examples, tokenizer, config))


def losses_of(model: torch.nn.Module, batch: dict) -> torch.Tensor:
    return next_token_losses(model, with_targets(batch), reader_for(model))


def next_token_loss(model: torch.nn.Module, batch: dict) -> tuple[torch.Tensor, int]:
    losses = next_token_losses(model, with_targets(batch), reader_for(model), uniform=True)
    return losses.sum(), losses.numel()


def examples(path: Path) -> list[Example]:
    conversations = []
    for line in path.read_text("utf-8").splitlines():
        messages = [Turn(**message) for message in json.loads(line)["messages"]]
        conversations.append(Example(messages=tuple(messages)))
    return conversations


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[TokenRow]:
    path = write_chats(tmp_path_factory.mktemp("rows") / "chat.jsonl", 12)
    return encode_chats(examples(path), train_tokenizer(), train_on_prompt=False)


def load(folder: Path, attention: str) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation=attention, dtype=torch.float64
    )


def by_row(losses: torch.Tensor, rows: list[TokenRow]) -> torch.Tensor:
    return torch.stack([part.mean() for part in losses.split([row.trained for row in rows])])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_free_equals_padded_row_by_row(
    name: str, attention: str, tiny_models: dict[str, Path], rows: list[TokenRow]
) -> None:
    model = load(tiny_models[name], attention)
    joined = by_row(losses_of(model, joined_batch([rows])), rows)
    lines = [rows[:5], rows[5:6], rows[6:]]
    in_lines = by_row(losses_of(model, joined_batch(lines)), rows)
    padded = by_row(losses_of(model, padded_batch(rows)), rows)
    alone = torch.stack([losses_of(model, joined_batch([[row]])).mean() for row in rows])
    assert torch.allclose(joined, padded, rtol=0, atol=TOLERANCE)
    assert torch.allclose(in_lines, padded, rtol=0, atol=TOLERANCE)
    assert torch.allclose(joined, alone, rtol=0, atol=TOLERANCE)


def test_gradients_of_both_layouts_agree(tiny: Path, rows: list[TokenRow]) -> None:
    gradients = []
    for batch in (joined_batch([rows]), padded_batch(rows)):
        model = load(tiny, "sdpa")
        total, count = next_token_loss(model, batch)
        (total / count).backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert (gradients[0] - gradients[1]).norm() <= TOLERANCE * gradients[1].norm()


def test_our_loss_is_the_models_own(tiny: Path, rows: list[TokenRow]) -> None:
    model = load(tiny, "sdpa")
    with torch.no_grad():
        expected = model(**padded_batch(rows), use_cache=False).loss
        total, count = next_token_loss(model, joined_batch([rows]))
    assert float(total / count) == pytest.approx(float(expected), abs=TOLERANCE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_that_keeps_rows_apart_is_recognised(
    name: str, tiny_models: dict[str, Path]
) -> None:
    assert isolates_rows(load(tiny_models[name], "sdpa"))


def test_a_model_that_lets_rows_see_each_other_is_caught(tiny: Path) -> None:
    model = load(tiny, "sdpa")
    inner = model.forward

    def forgetful(input_ids: torch.Tensor, **kwargs: object) -> object:
        counted = torch.arange(input_ids.shape[1])[None]
        return inner(**{**kwargs, "input_ids": input_ids, "position_ids": counted})

    model.forward = forgetful
    assert not isolates_rows(model)


def test_the_first_token_of_a_joined_row_is_not_predicted_by_the_row_before() -> None:
    row = TokenRow(np.array([5, 6, 7], np.int32), np.array([5, 6, 7], np.int32))
    batch = joined_batch([[row, row]])
    assert batch["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 6, 7]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2]]


def test_only_the_assistant_is_learned(rows: list[TokenRow], tmp_path: Path) -> None:
    tokenizer = train_tokenizer()
    chats = examples(write_chats(tmp_path / "chat.jsonl", 12))
    for example, row in zip(chats, rows, strict=True):
        learned = tokenizer.decode(row.input_ids[row.labels != IGNORED])
        assert learned == example.messages[1].content + "<|im_end|>\n"


def conversation(*contents: str) -> Example:
    roles = ("user", "assistant") * len(contents)
    return Example(messages=tuple(map(Turn, roles, contents)))


def test_a_tokenizer_without_template_is_refused_with_a_fix() -> None:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(DataError) as caught:
        encode_chats([conversation("q", "a")], tokenizer, train_on_prompt=False)
    assert "template: chatml" in caught.value.hint


def test_chinese_answers_are_learned_completely() -> None:
    tokenizer = train_tokenizer()
    example = conversation("你是谁？", "我是小快。")
    (row,) = encode_chats([example], tokenizer, train_on_prompt=False)
    learned = tokenizer.decode(row.input_ids[row.labels != IGNORED])
    assert learned.endswith("我是小快。<|im_end|>\n")


def test_a_long_document_becomes_several_rows_and_loses_no_token() -> None:
    tokenizer = train_tokenizer()
    document = " ".join(["word"] * 100)
    (encoded,) = encode_texts([document], tokenizer, max_length=16)
    pieces = encoded.samples
    tokens = tokenizer(document)["input_ids"] + [tokenizer.eos_token_id]
    assert np.concatenate([piece.input_ids for piece in pieces]).tolist() == tokens
    assert max(map(len, pieces)) == 16


def test_packing_puts_every_row_in_one_bin_within_the_limit(rows: list[TokenRow]) -> None:
    bins = pack(rows, 256)
    assert all(sum(map(len, unit)) <= 256 for unit in bins)
    assert sorted(id(row) for unit in bins for row in unit) == sorted(map(id, rows))
    assert len(bins) < len(rows)


def test_rows_too_long_are_cut_and_counted(rows: list[TokenRow]) -> None:
    fitted = fit(MemorySamples(rows), max_length=60, truncation="right")
    longer = [row for row in rows if len(row) > 60]
    assert fitted.cut == len(longer) > 0
    assert max(map(len, fitted.rows)) == 60
    assert len(fitted.rows) + fitted.nothing_to_learn == len(rows)


def test_rows_too_long_are_dropped_and_counted(rows: list[TokenRow]) -> None:
    fitted = fit(MemorySamples(rows), max_length=60, truncation="drop")
    assert fitted.dropped == len([row for row in rows if len(row) > 60])
    assert len(fitted.rows) == len(rows) - fitted.dropped


def test_rows_too_long_can_be_refused(rows: list[TokenRow]) -> None:
    with pytest.raises(DataError, match="longer than max_length 60"):
        fit(MemorySamples(rows), max_length=60, truncation="error")


@pytest.mark.parametrize(("val_size", "count"), [(0.25, 3), (2, 2), (0.001, 1), (0, 0)])
def test_rows_are_held_out_once(rows: list[TokenRow], val_size: float, count: int) -> None:
    subset = SampleSubset(MemorySamples(rows), np.arange(len(rows)), 10_000)
    training, held_out = hold_out(subset, val_size, seed=1)
    assert len(held_out) == count
    assert sorted(map(id, [*training, *held_out])) == sorted(map(id, rows))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first, second = EpochSampler(50, seed=3), EpochSampler(50, seed=3)
    assert list(first) == list(second)
    second.epoch = 1
    assert list(first) != list(second)
    assert sorted(second) == list(range(50))


def test_a_batch_counts_every_learned_token(tiny: Path, rows: list[TokenRow]) -> None:
    _, count = next_token_loss(load(tiny, "sdpa"), joined_batch([rows]))
    assert int(count) == sum(row.trained for row in rows)


def test_only_learned_places_reach_the_head(tiny: Path, rows: list[TokenRow]) -> None:
    model = load(tiny, "sdpa")
    seen = []
    model.get_output_embeddings().register_forward_hook(
        lambda _head, _inputs, logits: seen.append(tuple(logits.shape))
    )
    batch = collate_rows([[row] for row in rows], LINES)
    next_token_losses(model, with_targets(batch), LogProbReader(linear_head=False))
    assert seen == [(1, sum(row.trained for row in rows), 600)]
    next_token_losses(model, with_targets(batch), LogProbReader(linear_head=True))
    assert seen[1:] == [(1, 0, 600)]  # its product is taken in chunks, outside


def test_lines_are_short_and_hold_every_row_once(rows: list[TokenRow]) -> None:
    batch = collate_rows([[row] for row in rows], LINES)
    filled = sum(len(row) for row in rows)
    assert batch["input_ids"].shape[1] <= 768
    assert filled > 0.9 * batch["input_ids"].numel()
    assert int((batch["labels"] != IGNORED).sum()) == sum(row.trained for row in rows)


def test_the_padding_of_a_line_is_invisible_to_its_rows(tiny: Path, rows: list[TokenRow]) -> None:
    model = load(tiny, "sdpa")
    batch = joined_batch([[rows[0]], list(rows[1:4])])
    before = losses_of(model, batch)
    batch["input_ids"][0, len(rows[0]) :] = 7
    assert torch.equal(losses_of(model, batch), before)
