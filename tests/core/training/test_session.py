"""A training in this process: every option that changes the way trains, saves, and loads again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from recorded_training import Recorded, of_kind, train_config
from tiny import write_chats, write_config
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.data.batches import PADDED
from swiftbox.core.data.rows import UnitDataset
from swiftbox.core.training import classifier, session
from swiftbox.core.training.parallel import for_one_device
from swiftbox.errors import ConfigError, MachineError

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")


def train(tmp_path: Path, model: Path, data: Path, **keys: object) -> tuple[Path, Recorded]:
    keys = {"max_steps": 3, "save_steps": 0, **keys}
    path = write_config(tmp_path / "a.yaml", model, data, **keys)
    folder = tmp_path / "run"
    folder.mkdir()
    return train_config(path, folder)


def logits(model: Any, folder: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer("hello there", return_tensors="pt")).logits


OPTIONS: dict[str, dict[str, object]] = {
    "plain": {},
    "bfloat16": {"dtype": "bfloat16"},
    "packing": {"packing": True, "max_length": 256},
    "padded": {"padding_free": "false"},
    "checkpointing": {"gradient_checkpointing": "true"},
    "eager": {"attn_implementation": "eager"},
    "held out": {"val_size": 5, "eval_steps": 2},
    "by shares": {"val_size": 5, "eval_steps": 0.5, "save_steps": 0.5},
    "chatml": {"template": "chatml"},
    "all tokens": {"train_on_prompt": True},
    "named layers": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "adafactor": {"optim": "adafactor"},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("tuner_type", ["lora", "full"])
def test_every_option_trains_and_leaves_a_model_that_loads(
    name: str, tuner_type: str, tmp_path: Path, tiny: Path
) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 24)
    saved, recorded = train(tmp_path, tiny, data, tuner_type=tuner_type, **OPTIONS[name])
    assert [step["step"] for step in of_kind(recorded, "step")] == [1, 2, 3]
    if "val_size" in OPTIONS[name]:
        assert of_kind(recorded, "eval")[0]["loss"] > 0
        assert [event["step"] for event in of_kind(recorded, "eval")][:1] == [2]
    base_model = AutoModelForCausalLM.from_pretrained(tiny if tuner_type == "lora" else saved)
    tuned = PeftModel.from_pretrained(base_model, saved) if tuner_type == "lora" else base_model
    assert torch.isfinite(logits(tuned, saved).float()).all()
    assert not list(saved.glob("*.bin"))


@pytest.mark.parametrize(("tuner_type", "learning_rate"), [("lora", 1e-2), ("full", 3e-3)])
def test_the_loss_falls(tuner_type: str, learning_rate: float, tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 24)
    keys = {"learning_rate": learning_rate, "max_steps": 30, "per_device_train_batch_size": 8}
    _, recorded = train(tmp_path, tiny, data, tuner_type=tuner_type, **keys)
    losses = [step["loss"] for step in of_kind(recorded, "step")]
    assert losses[-1] < losses[0] - 0.5


def test_raw_text_trains_and_long_documents_lose_no_token(tmp_path: Path, tiny: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("\n\n".join(" ".join(["word", str(n)] * 200) for n in range(4)), "utf-8")
    _, recorded = train(tmp_path, tiny, text, stage="pt", max_length=64, packing=True)
    (data,) = of_kind(recorded, "data")
    assert (data["cut"], data["dropped"]) == (0, 0)
    assert data["tokens"] > 4 * 64


def test_a_full_model_is_saved_in_the_requested_dtype(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 8)
    saved, _ = train(tmp_path, tiny, data, tuner_type="full", dtype="bfloat16")
    assert AutoModelForCausalLM.from_pretrained(saved).dtype == torch.bfloat16


def test_the_load_is_reported_with_its_time_and_place(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 8)
    _, emitted = train(tmp_path, tiny, data, max_steps=1)
    (loaded,) = of_kind(emitted, "loaded")
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert loaded["bytes"] == 4 * sum(weight.numel() for weight in model.parameters())
    assert (loaded["device"], loaded["seconds"] >= 0) == ("cpu", True)


def test_an_adapter_is_continued(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 24)
    (tmp_path / "first").mkdir()
    first, _ = train(tmp_path / "first", tiny, data, learning_rate=1e-2, max_steps=20)
    (tmp_path / "second").mkdir()
    _, recorded = train(tmp_path / "second", tiny, data, adapter=str(first), max_steps=1)
    (tmp_path / "fresh").mkdir()
    _, fresh = train(tmp_path / "fresh", tiny, data, max_steps=1)
    continued = of_kind(recorded, "step")[0]["loss"]
    assert any("adapter with rank 8" in note["message"] for note in of_kind(recorded, "note"))
    assert continued < of_kind(fresh, "step")[0]["loss"] - 0.3


def test_a_continued_adapter_names_its_base_without_asking_a_hub(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """peft looks for the base's config.json at every checkpoint, on Hugging Face if not here."""
    data = write_chats(tmp_path / "chat.jsonl", 8)
    (tmp_path / "first").mkdir()
    first, _ = train(tmp_path / "first", tiny, data, max_steps=1)
    config = json.loads((first / "adapter_config.json").read_text("utf-8"))
    elsewhere = json.dumps({**config, "base_model_name_or_path": "owner/base"})
    (first / "adapter_config.json").write_text(elsewhere, "utf-8")
    lookups: list[str] = []
    monkeypatch.setattr(
        "peft.utils.save_and_load.check_file_exists_on_hf_hub",
        lambda name, *_arguments, **_keys: lookups.append(name),
    )
    (tmp_path / "second").mkdir()
    second, _ = train(tmp_path / "second", tiny, data, adapter=str(first), max_steps=1)
    assert lookups == []
    saved = json.loads((second / "adapter_config.json").read_text("utf-8"))
    assert saved["base_model_name_or_path"] == str(tiny)


def test_trained_modules_are_reported_by_name_and_count(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 8)
    _, recorded = train(tmp_path, tiny, data, target_modules=["q_proj", "v_proj"])
    assert any("q_proj x2, v_proj x2" in note["message"] for note in of_kind(recorded, "note"))


def test_packing_with_padding_is_refused(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 8)
    with pytest.raises(ConfigError, match="packing"):
        train(tmp_path, tiny, data, packing=True, padding_free="false")


def test_rows_that_cannot_be_joined_are_not_packed(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units: list[int] = []

    class Counted(UnitDataset):
        def __init__(self, rows: Any) -> None:
            units.extend(len(unit) for unit in rows)
            super().__init__(rows)

    monkeypatch.setattr(classifier, "choose_layout", lambda *_, **__: PADDED)
    monkeypatch.setattr(session, "UnitDataset", Counted)
    data = write_chats(tmp_path / "chat.jsonl", 12)
    train(tmp_path, tiny, data, packing=True, max_length=256, max_steps=1)
    assert units == [1] * 12


def test_the_first_loss_is_that_of_plain_transformers(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 4)
    keys = {"per_device_train_batch_size": 4, "max_steps": 1, "max_length": 1024}
    _, recorded = train(tmp_path, tiny, data, **keys)
    import json

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    total, count = 0.0, 0
    for line in data.read_text("utf-8").splitlines():
        messages = json.loads(line)["messages"]
        prompt = tokenizer.apply_chat_template(
            messages[:1], add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"]
        labels = torch.tensor([ids])
        start = len(tokenizer(prompt)["input_ids"])
        labels[0, :start] = -100
        learned = len(ids) - start
        with torch.no_grad():
            total += float(model(torch.tensor([ids]), labels=labels).loss) * learned
        count += learned
    assert of_kind(recorded, "step")[0]["loss"] == pytest.approx(
        total / count, rel=1e-4
    )  # float32 sums


def test_one_process_that_sees_several_devices_is_refused() -> None:
    with pytest.raises(MachineError, match="one process sees 8 devices"):
        for_one_device(SimpleNamespace(n_gpu=8))
    arguments = SimpleNamespace(n_gpu=1)
    assert for_one_device(arguments) is arguments
