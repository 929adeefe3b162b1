"""Hostile texts in every field of every config: nothing outside of the run's folder changes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from file_trees import home_with_sentinels, tree
from hostile_texts import KINDS
from made_up import made_up
from model_folder import write_model

from swiftbox.config.fields import Card, cards
from swiftbox.errors import UserError
from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import record
from swiftbox.tasks import TASKS

COUNT = int(os.environ.get("SWIFTBOX_HOSTILE_TEXTS", "1"))
"""Texts of each kind that are tried; 0 tries all."""

FOLDER_FIELDS = ("output_dir", "local_dir")
"""What a config names to be written into; it is checked only, and a check writes nothing."""

WAITING_FIELDS = ("endpoint", "judge_endpoint", "host")
"""Addresses, which a check may look up on the network."""

SHARED = frozenset(field.name for field in cards(TASKS["train"].config_classes["sft"]))
"""The fields that every method has; they are tried with sft."""


def fields_of(choice: str, config: Any) -> list[Card]:
    """Return the fields of a config that take any text."""
    is_method = choice in TASKS["train"].config_classes
    done = {*WAITING_FIELDS, *(SHARED if is_method and choice != "sft" else ())}
    return [
        field
        for field in cards(config)
        if field.kind in ("text", "list") and field.name not in done
    ]


CLASSES = [
    (task, choice, fields)
    for task in TASKS
    for choice, config in TASKS[task].config_classes.items()
    if (fields := fields_of(choice, config))
]


def files_of(work: Path) -> None:
    """Write a model, an adapter and rows that a config can name."""
    for name in ("model", "teacher"):
        write_model(work / name)
    (work / "adapter").mkdir()
    write_lora(work / "adapter" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": str(work / "model"), "r": 8}
    config["target_modules"] = ["q_proj"]
    (work / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = {"chats": {"messages": turns}, "pairs": {"prompt": "a", "chosen": "b", "rejected": "c"}}
    rows |= {"texts": {"text": "a"}, "prompts": {"prompt": "a"}}
    labels = [json.dumps({"text": "a", "label": label}) for label in ("good", "bad") * 2]
    (work / "labels.jsonl").write_text("\n".join(labels) + "\n")
    for name, row in rows.items():
        (work / f"{name}.jsonl").write_text((json.dumps(row) + "\n") * 4)


def write_lora(path: Path) -> None:
    """Write the two tensors of a LoRA of rank 8 on one layer."""
    name = "base_model.model.model.layers.0.q_proj"
    header = {
        f"{name}.lora_A.weight": {"dtype": "F32", "shape": [8, 4], "data_offsets": [0, 128]},
        f"{name}.lora_B.weight": {"dtype": "F32", "shape": [4, 8], "data_offsets": [128, 256]},
    }
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(256))


ROWS = {
    **{"sft": "chats", "gkd": "chats", "pt": "texts", "grpo": "prompts"},
    "classification": "labels",
}
"""The rows above that a stage reads, if not pairs."""


def settings_of(task: str, choice: str, work: Path) -> dict[str, Any]:
    """Return the settings of a config that names the files above."""
    model = {"model": str(work / "model")}
    if task == "train":
        rows = ROWS.get(choice, "pairs")
        data = {"stage": choice, "dataset": str(work / f"{rows}.jsonl"), "tuner_type": "lora"}
        extra = {
            "grpo": {"reward_funcs": "length"},
            "kto": {"per_device_train_batch_size": 2},
            "gkd": {"teacher_model": str(work / "teacher")},
        }
        return {"task": task, "hub": "local", **model, **data, **extra.get(choice, {})}
    settings: dict[str, dict[str, Any]] = {
        "download": {"model": "o/n"},
        "starter": {"model_name": "Ada"},
        "merge": {"model": "o/n", "adapter": str(work / "adapter")},
        "mix": {"tuned_model": [str(work / "model"), str(work / "teacher")]},
        "extract": {**model, "tuned_model": str(work / "teacher")},
        "quantize": model,
        "evaluate": {**model, "benchmarks": "sample_mmlu"},
        "deploy": model,
        "chat": {**model, "prompt": "a"},
        "pipeline": {"steps": [{"name": "a", "task": "download", "model": "o/n"}]},
    }
    return {"task": task, **settings[task]}


MIXED = {"adapter": "tuned_model", "tuned_model": "adapter"}
"""What a mix names several of, and what it names none of then."""


def changed(settings: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return settings with a value, which is not refused for another setting."""
    left_out = MIXED.get(name) if settings["task"] == "mix" else None
    return {key: item for key, item in settings.items() if key != left_out} | {name: value}


def values_of(field: Card, hostile: str, work: Path) -> Iterator[Any]:
    """Yield a text as a field takes it: alone, in a list, as a name and as a value."""
    if field.name == "steps":
        step = {"name": "a", "task": "download", "model": "o/n"}
        yield from ([{**step, key: hostile}] for key in ("name", "model", "revision", "local_dir"))
        return
    if field.kind == "text":
        yield hostile
    yield [hostile]
    if field.name in MIXED:
        yield [hostile, str(work / "model")]
    yield {hostile: str(work / "model"), "b": hostile}


def attempt(settings: dict[str, Any], *, writes: bool) -> str:
    """Check a config and make its run folder; return how that ended."""
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    try:
        prepared = prepare(None, overrides, machine=made_up("cpu"))
    except UserError as error:
        return "refused" if error.hint else "without hint"
    if writes:
        try:
            record(prepared)
        except UserError:
            return "refused late"
    return "taken"


@pytest.mark.slow
@pytest.mark.parametrize(("task", "choice", "fields"), CLASSES, ids=[row[1] for row in CLASSES])
def test_no_text_of_a_config_changes_a_file_outside_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, choice: str, fields: list[Card]
) -> None:
    work = home_with_sentinels(tmp_path)
    files_of(work)
    monkeypatch.chdir(work)
    for name, folder in (("HOME", ""), ("HF_HOME", "hf"), ("MODELSCOPE_CACHE", "ms")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "state"))
    assert attempt(settings_of(task, choice, work), writes=True) == "taken"
    before = tree(tmp_path, {"work/runs", "state"})
    outcomes: Counter[str] = Counter()
    for field in fields:
        for kind, texts in KINDS.items():
            for hostile in texts[: COUNT or None]:
                for value in values_of(field, hostile, work):
                    settings = changed(settings_of(task, choice, work), field.name, value)
                    writes = field.name not in FOLDER_FIELDS
                    outcomes[f"{kind:12} {attempt(settings, writes=writes)}"] += 1
        assert tree(tmp_path, {"work/runs", "state"}) == before, field.name
    runs = work / "runs"
    assert all(path.is_relative_to(runs) for path in map(Path.resolve, runs.rglob("*")))
    assert (runs / "earlier/state.json").read_text().startswith("mine")
    assert not any("without hint" in outcome for outcome in outcomes)
    for outcome, count in sorted(outcomes.items()):
        print(f"{choice:10} {outcome:28} {count}")
