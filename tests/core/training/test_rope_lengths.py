"""With frequencies that depend on a length, no row depends on the rows beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from made_up import made_up
from tiny import SIZES, train_tokenizer, write_chats, write_config, write_pairs

from swiftbox.core.attention.varlen import use_varlen
from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, collate_rows
from swiftbox.core.data.samples import LabeledAnswer, TokenRow
from swiftbox.core.training.rope_lengths import (
    chosen_by_length,
    fix_rope_lengths,
    fixed_settings,
    longest_row,
)
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

# The libraries' expected warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

LIMIT = 16
"""The original length of the models whose logits are compared."""

LIMIT_OF_CHATS = 64
"""Some rows of the files are longer than this, others shorter."""

Recorded = list[tuple[str, dict[str, Any]]]


def longrope(limit: int = LIMIT) -> Any:
    parameters = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
        "original_max_position_embeddings": limit,
        "factor": 64.0,
    }
    config = transformers.Phi3Config(
        **SIZES,
        rope_parameters=parameters,
        original_max_position_embeddings=limit,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    return transformers.Phi3ForCausalLM(config).eval()


def dynamic() -> Any:
    parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    sizes = {**SIZES, "max_position_embeddings": LIMIT}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**sizes, rope_parameters=parameters)
    return transformers.LlamaForCausalLM(config).eval()


MODELS = {"longrope": longrope, "dynamic": dynamic}


def row(length: int, start: int = 3) -> TokenRow:
    ids = (np.arange(length, dtype=np.int32) * 7 + start) % 500
    return TokenRow(ids, ids)


@torch.no_grad()
def logits(model: Any, rows: list[TokenRow], layout: str) -> torch.Tensor:
    """Return the logits of the first row."""
    batch = collate_rows([[each] for each in rows], layout)
    del batch["labels"]
    output = model(**batch, use_cache=False).logits.flatten(0, 1)  # (N, V)
    start = batch["input_ids"].flatten().tolist().index(rows[0].input_ids[0])  # lines are sorted
    return output[start : start + len(rows[0])]


def ignore(event: str, **fields: object) -> None:
    """Report nothing."""


@pytest.mark.parametrize("layout", [PADDED, LINES, ONE_LINE])
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_row_is_the_same_beside_a_longer_one(kind: str, layout: str) -> None:
    model, short, long = MODELS[kind](), row(10), row(40, 5)
    if layout == ONE_LINE:
        assert use_varlen(model, torch.float32, torch.device("cpu")) == ""
    apart = logits(model, [short], layout)
    assert not torch.allclose(logits(model, [short, long], layout), apart, atol=1e-3)
    fix_rope_lengths(model, [[short, long]], None, ignore)
    fixed = logits(model, [short], layout)
    torch.testing.assert_close(logits(model, [short, long], layout), fixed, rtol=0, atol=1e-4)
    assert not torch.allclose(fixed, apart, atol=1e-3)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_longest_row_is_computed_as_transformers_computes_it(kind: str) -> None:
    model, long = MODELS[kind](), row(40)
    expected = logits(model, [long], PADDED)
    logits(model, [row(8)], PADDED)  # dynamic frequencies return to the original ones
    fix_rope_lengths(model, [[row(8)], [long]], None, ignore)
    assert torch.equal(logits(model, [long], PADDED), expected)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_rows_within_the_original_length_keep_its_frequencies(kind: str) -> None:
    model, short = MODELS[kind](), row(LIMIT)
    expected = logits(model, [short], PADDED)
    fix_rope_lengths(model, [[short]], None, ignore)
    assert torch.equal(logits(model, [short], PADDED), expected)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_answers_for_servers_are_chosen_by_length(kind: str) -> None:
    model, short = MODELS[kind](), row(10)
    expected = logits(model, [short], PADDED)
    fix_rope_lengths(model, [[row(40)]], None, ignore)
    fixed, settings = logits(model, [short], PADDED), fixed_settings(model)
    with chosen_by_length(model):
        assert torch.equal(logits(model, [short], PADDED), expected)
        assert fixed_settings(model) == ()
    assert torch.equal(logits(model, [short], PADDED), fixed)
    assert fixed_settings(model) == settings != ()


def test_a_type_for_each_kind_of_layer_is_fixed_too() -> None:
    layers = ["sliding_attention", "full_attention"]
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    }
    sizes = {**SIZES, "max_position_embeddings": LIMIT, "head_dim": 16}
    config = transformers.Gemma3TextConfig(**sizes, layer_types=layers, rope_parameters=rope)
    torch.manual_seed(0)
    model, short, long = transformers.Gemma3ForCausalLM(config).eval(), row(10), row(40, 5)
    fix_rope_lengths(model, [[short, long]], None, ignore)
    apart = logits(model, [short], PADDED)
    torch.testing.assert_close(logits(model, [short, long], PADDED), apart, rtol=0, atol=1e-4)


def test_other_models_are_left_alone(tiny: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    fix_rope_lengths(model, [[row(40)]], None, lambda *_, **__: pytest.fail("reported"))
    assert fixed_settings(model) == ()


def test_kto_may_join_the_longest_prompt_and_answer() -> None:
    ids = np.arange(30, dtype=np.int32)
    samples = []
    for prompt, length in ((20, 22), (4, 30)):
        labels = np.where(np.arange(length) < prompt, -100, ids[:length]).astype(np.int32)
        samples.append(LabeledAnswer(TokenRow(ids[:length], labels), label=True))
    assert longest_row([samples], None) == 20 + 26


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("longrope") / "model"
    model, tokenizer = longrope(LIMIT_OF_CHATS), train_tokenizer()
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(folder: Path, model: Path, data: Path, **keys: object) -> Recorded:
    folder.mkdir()
    path = write_config(folder / "a.yaml", model, data, logging_steps=1, save_steps=0, **keys)
    recorded: Recorded = []
    (folder / "settled.yaml").write_text(path.read_text("utf-8"), "utf-8")
    config = plan(load(path).config, made_up("cpu")).config
    TASKS["train"].run(config, folder, lambda event, **fields: recorded.append((event, fields)))
    return recorded


def first(recorded: Recorded, key: str) -> float:
    return next(fields[key] for event, fields in recorded if event == "step" and key in fields)


def test_the_split_into_passes_does_not_change_the_loss(saved_model: Path, tmp_path: Path) -> None:
    data, losses = write_chats(tmp_path / "chats.jsonl", 8), []
    for rows in (1, 4):
        recorded = train(
            tmp_path / str(rows),
            saved_model,
            data,
            max_steps=1,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=4 // rows,
        )
        losses.append(first(recorded, "loss"))
        notes = [fields for event, fields in recorded if event == "note"]
        [note] = [each["message"] for each in notes if each["key"] == "rope_type"]
        assert re.search(r"longrope.*longest row", note)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_precomputed_reference_equals_the_policy_at_the_start(
    saved_model: Path, tmp_path: Path
) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 6)
    lines = data.read_text("utf-8").splitlines()
    longer = json.loads(lines[0])
    longer["prompt"] += " and so on" * 40
    data.write_text("\n".join([*lines, json.dumps(longer)]), "utf-8")
    recorded = train(
        tmp_path / "run",
        saved_model,
        data,
        stage="dpo",
        max_steps=7,
        learning_rate=1e-12,
        max_length=512,
        per_device_train_batch_size=1,
        precompute_ref_log_probs="true",
    )
    steps = [fields for event, fields in recorded if event == "step"]
    assert len(steps) == 7
    assert [step["loss"] for step in steps] == pytest.approx([np.log(2)] * 7, rel=1e-3)
