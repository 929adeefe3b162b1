"""Trainings that learn each turn as the server renders it, whole: from rows to a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from recorded_training import Recorded, notes, of_kind, train_config
from safetensors.torch import load_file
from tiny import write_config

from swiftbox.core.generation import parity
from swiftbox.templates.variables import trained_variables

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

REWRITING = (
    "{% if style is defined %}{{ style }}\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last and message.reasoning_content %}"
    "<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Leaves out the reasoning of earlier turns, as Qwen3's does."""


def write_talks(path: Path, count: int) -> Path:
    """Write conversations of two turns with reasoning; every third has one turn, of weight 2."""
    rows = []
    for number in range(count):
        turns = []
        for turn in range(1 if number % 3 == 2 else 2):
            answer = {"role": "assistant", "content": f"it is {number + turn}"}
            answer |= {"reasoning_content": f"count on from {number} by {turn}"}
            turns += [{"role": "user", "content": f"{number} plus {turn}?"}, answer]
        if number % 3 == 2:
            turns[-1]["weight"] = 2
        rows.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    return write_talks(tmp_path / "talks.jsonl", 12)


def train(folder: Path, model: Path, data: Path, **keys: object) -> tuple[Path, Recorded]:
    folder.mkdir(parents=True)
    template = folder / "template.jinja"
    template.write_text(REWRITING, "utf-8")
    settings = {
        "stage": "sft",
        "template": str(template),
        "max_steps": 3,
        "save_steps": 0,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "optim": "sgd",
        "learning_rate": 1e-2,
        "tuner_type": "full",
        "max_length": 512,
        **keys,
    }
    path = write_config(folder / "a.yaml", model, data, **settings)
    return train_config(path, folder)


def same_weights(first: Path, second: Path) -> bool:
    left, right = (load_file(folder / "model.safetensors") for folder in (first, second))
    # SGD: the rate times the rounding of gradients is 1e-8.
    return all(torch.allclose(value, right[name], atol=1e-5) for name, value in left.items())


@pytest.mark.parametrize("attention", ["sdpa", "varlen"])
def test_turns_that_share_their_beginning_train_what_padded_rows_train(
    attention: str, tmp_path: Path, tiny: Path, talks: Path
) -> None:
    shared, recorded = train(tmp_path / "a", tiny, talks, attn_implementation=attention)
    padded, other = train(tmp_path / "b", tiny, talks, padding_free="false")
    assert "is computed once" in notes(recorded, "prefix_sharing")[0]
    assert "every turn computes the conversation before it" in notes(other, "prefix_sharing")[0]
    assert same_weights(shared, padded)
    (data,) = of_kind(recorded, "data")
    assert data["turns"]["conversations"] == 8
    assert data["turns"]["rows"] == 16
    assert data["turns"]["computed"] < data["turns"]["tokens"]


def test_a_conversation_counts_as_a_row_of_an_update(
    tmp_path: Path, tiny: Path, talks: Path
) -> None:
    _, recorded = train(tmp_path / "a", tiny, talks, max_steps=None, num_train_epochs=1)
    (start,) = of_kind(recorded, "start")
    assert (start["rows"], start["total_steps"]) == (12, 3)


def test_long_conversations_count_as_several_rows_which_is_reported(
    tmp_path: Path, tiny: Path, talks: Path
) -> None:
    keys = {"padding_free": "false", "max_length": 64, "max_steps": None, "num_train_epochs": 1}
    _, recorded = train(tmp_path / "a", tiny, talks, **keys)
    (note,) = notes(recorded, "turns")
    rows = int(note.split("count as ")[1].split()[0])
    (start,) = of_kind(recorded, "start")
    assert 12 < rows == start["rows"]


def test_turns_are_packed_and_held_out_by_conversation(
    tmp_path: Path, tiny: Path, talks: Path
) -> None:
    keys = {"packing": True, "val_size": 3, "eval_steps": 3, "max_length": 256}
    _, recorded = train(tmp_path / "a", tiny, talks, **keys)
    (data,) = of_kind(recorded, "data")
    assert (data["rows"], data["held_out"]) == (9, 3)
    assert of_kind(recorded, "eval")


def test_the_variables_of_the_template_stay_with_the_model(
    tmp_path: Path, tiny: Path, talks: Path
) -> None:
    variables = {"style": "Plainly:"}
    saved, recorded = train(
        tmp_path / "a", tiny, talks, chat_template_kwargs=variables, max_steps=1
    )
    assert trained_variables(saved) == variables
    record = parity.read_record(saved)
    assert record is not None
    assert record.prompts[0].request["chat_template_kwargs"] == variables
    (data,) = of_kind(recorded, "data")
    assert any("Plainly:" in part["text"] for part in data["preview"][0])
