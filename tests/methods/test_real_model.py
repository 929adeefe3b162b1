"""A real model (SmolLM2-135M-Instruct) learns: held-out loss, TRL's result, the served answers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from box import events
from in_process import box
from own_server import serving
from template_rows import wheel_folder
from tiny import write_config

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # TRL's and its imports' own
    pytest.mark.slow,
]

TRAINED, HELD_OUT = 60, 6
BATCH, RATE, SEED = 10, 2.0e-3, 42

SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": BATCH,
    "learning_rate": RATE,
    "lr_scheduler_type": "constant",
    "warmup_ratio": 0,
    "weight_decay": 0,
    "max_grad_norm": 1.0,
    "max_steps": TRAINED // BATCH,
    "seed": SEED,
}


def conversation(number: int) -> list[dict[str, str]]:
    """A question in few tokens, and the answer of a pirate."""
    first, second = 2 + number % 9, 1 + number // 9
    return [
        {"role": "system", "content": "Add."},  # shorter than the one that the template inserts
        {"role": "user", "content": f"{first} and {second}?"},
        {"role": "assistant", "content": f"Arr, {first + second} doubloons!"},
    ]


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def train(folder: Path, model: Path, rows: Sequence[Any], **keys: Any) -> list[dict[str, Any]]:
    """Run a training; return its events."""
    data = write_rows(folder / "rows.jsonl", rows)
    write_config(folder / "a.yaml", model, data, **{**SETTINGS, "output_dir": "out", **keys})
    box("run", "a.yaml", cwd=folder)
    return events(folder / "out")


def losses(recorded: Sequence[dict[str, Any]]) -> list[float]:
    return [event["loss"] for event in recorded if event["event"] == "step"]


@pytest.fixture(scope="module")
def start(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes nothing yet: both trainings start from it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("start") / "adapter"
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    adapter = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, adapter).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(smollm2: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter that swiftbox trains on sixty rows, once."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [{"messages": conversation(number)} for number in range(TRAINED)]
    train(folder, smollm2, rows, adapter=str(start))
    return folder / "out" / "model"


def order_of_rows() -> list[int]:
    """The order in which the training takes its rows."""
    from swiftbox.core.data.rows import EpochSampler

    return list(EpochSampler(TRAINED, SEED))


def trained_by_trl(smollm2: Path, start: Path, folder: Path) -> Any:
    """Return the network that TRL trains on the same rows in the same order."""
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    turns = [conversation(number) for number in order_of_rows()]
    rows = [{"prompt": messages[:-1], "completion": messages[-1:]} for messages in turns]
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    network = PeftModel.from_pretrained(model, str(start), is_trainable=True)
    settings = {key: value for key, value in SETTINGS.items() if key != "warmup_ratio"}
    arguments = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        train_sampling_strategy="sequential",
        disable_tqdm=True,
        **settings,
    )
    trainer = SFTTrainer(
        model=network,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(smollm2),
    )
    trainer.train()
    return trainer.model


def held_out_loss(network: Any, model: Path) -> float:
    """The mean loss of the answers' tokens of the rows that nobody trained on."""
    from transformers import AutoTokenizer

    tokenizer, total, count = AutoTokenizer.from_pretrained(model), 0.0, 0
    network.eval()
    for number in range(TRAINED, TRAINED + HELD_OUT):
        messages = conversation(number)
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        prompt = tokenizer.apply_chat_template(
            messages[:-1], tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(text, return_tensors="pt")["input_ids"]  # (1, T)
        learned = ids.shape[1] - len(tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            logits = network(ids).logits[0, -learned - 1 : -1]  # (L, V)
        total += float(
            torch.nn.functional.cross_entropy(logits, ids[0, -learned:], reduction="sum")
        )
        count += learned
    return total / count


def with_adapter(model: Path, adapter: Path) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return PeftModel.from_pretrained(network, str(adapter))


def test_lora_lowers_the_held_out_loss_as_trl_does(
    smollm2: Path, start: Path, trained: Path, tmp_path: Path
) -> None:
    before = held_out_loss(with_adapter(smollm2, start), smollm2)
    ours = held_out_loss(with_adapter(smollm2, trained), smollm2)
    theirs = held_out_loss(trained_by_trl(smollm2, start, tmp_path), smollm2)
    assert ours < 0.3 * before  # measured: 4.06 -> 0.28
    assert ours == pytest.approx(theirs, rel=0.02)  # measured: 3e-6


def test_the_served_adapter_gives_the_trained_answers(smollm2: Path, trained: Path) -> None:
    messages = conversation(TRAINED)[:-1]
    with serving(smollm2, adapters={"pirate": trained}) as server:
        answers = {
            name: server.client()
            .chat.completions.create(model=name, messages=messages, max_tokens=12, temperature=0)
            .choices[0]
            .message.content
            for name in ("tiny", "pirate")
        }
    assert "doubloons!" in answers["pirate"]
    assert "doubloons" not in answers["tiny"]


def test_both_thoughts_of_a_conversation_are_learned(smollm2: Path, tmp_path: Path) -> None:
    template = wheel_folder() / "qwen3.jinja"
    turns = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "<think>two twos</think>4"},
        {"role": "user", "content": "3+3?"},
        {"role": "assistant", "content": "<think>two threes</think>6"},
    ]
    recorded = train(tmp_path, smollm2, [{"messages": turns}], template=str(template), max_steps=3)
    data = next(event for event in recorded if event["event"] == "data")
    learned = "".join(part["text"] for row in data["preview"] for part in row if part["learned"])
    assert all(answer in learned for answer in ("two twos", "4", "two threes", "6"))
    steps = losses(recorded)
    assert steps[-1] < 0.7 * steps[0]


def test_qlora_learns_on_weights_of_4_bits(smollm2: Path, tmp_path: Path) -> None:
    rows = [{"messages": conversation(number)} for number in range(2)]
    keys = {"tuner_type": "qlora", "per_device_train_batch_size": 2, "max_steps": 3}
    steps = losses(train(tmp_path, smollm2, rows, **keys))
    assert steps[-1] < 0.7 * steps[0]


def test_dpo_prefers_the_chosen_answers(smollm2: Path, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": conversation(number)[:-1],
            "chosen": "Arr!",
            "rejected": "I am sorry.",
        }
        for number in range(2)
    ]
    keys = {"stage": "dpo", "per_device_train_batch_size": 2, "max_steps": 3, "learning_rate": 1e-3}
    recorded = train(tmp_path, smollm2, rows, **keys)
    margins = [
        event["metrics"]["rewards/margins"] for event in recorded if event["event"] == "step"
    ]
    assert margins[0] == pytest.approx(0, abs=1e-3)
    assert margins[-1] > 0.3
