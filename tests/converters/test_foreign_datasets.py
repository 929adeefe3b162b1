"""Datasets of other tools: dataset_info.json, nested lists, row formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from foreign import BASE, ours, outcomes

ENTRIES: dict[str, Any] = {
    "mine": {"file_name": "mine.json"},
    "deep": {"file_name": "sub/deep.json", "columns": {"prompt": "q", "response": "a"}},
    "pairs": {
        "hf_hub_url": "owner/pairs",
        "ms_hub_url": "other/pairs",
        "ranking": True,
        "split": "train",
        "subset": "en",
        "columns": {"prompt": "question", "chosen": "good", "rejected": "rejected"},
    },
    "pictures": {"file_name": "p.json", "columns": {"images": "images"}},
}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A folder with data/dataset_info.json."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset_info.json").write_text(json.dumps(ENTRIES), "utf-8")
    return tmp_path


def lf(folder: Path, dataset: str) -> Any:
    return ours(folder, BASE["llamafactory"] + dataset + "\n").get("dataset")


def test_a_name_becomes_the_path_of_its_file(registry: Path) -> None:
    assert lf(registry, "dataset: mine") == str(registry / "data" / "mine.json")


def test_max_samples_takes_the_first_rows_of_each_set(registry: Path) -> None:
    first = {"path": str(registry / "data" / "mine.json"), "split": "[:9]"}
    assert lf(registry, "dataset: mine,mine\nmax_samples: 9") == [first, first]


def test_a_file_in_a_subfolder_brings_its_columns(registry: Path) -> None:
    assert lf(registry, "dataset: deep,deep")[0] == {
        "path": str(registry / "data" / "sub/deep.json"),
        "columns": {"q": "instruction", "a": "output"},
    }


def test_an_entry_of_the_hub_becomes_its_id(registry: Path) -> None:
    source = lf(registry, "dataset: pairs,mine")[0]
    assert source["path"] == "owner/pairs"
    assert source["subset"] == "en"
    assert source["columns"]["good"] == "chosen"
    assert "split" not in source


def test_a_name_without_entry_is_kept_and_reported(registry: Path) -> None:
    by_source = outcomes(registry, BASE["llamafactory"] + "dataset: alpaca_en_demo\n")["dataset"]
    assert [outcome.kind for outcome in by_source] == ["adopted", "unsupported"]
    assert by_source[0].ours == {"dataset": "alpaca_en_demo"}
    assert "has no such entry; set dataset=PATH" in by_source[1].why


def test_a_dataset_of_images_is_refused(registry: Path) -> None:
    (outcome,) = outcomes(registry, BASE["llamafactory"] + "dataset: pictures\n")["dataset"]
    assert outcome.kind == "refused"
    assert "images, video and audio are not supported here" in outcome.why


def axolotl(folder: Path, *lines: str) -> tuple[Any, list[str]]:
    entry = "\n".join(["datasets:", f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])])
    by_source = outcomes(folder, BASE["axolotl"] + entry + "\n")["datasets"]
    others = [f"{outcome.kind} {outcome.within}" for outcome in by_source[1:]]
    value = by_source[0].ours.get("dataset")
    return value[0] if isinstance(value, list) else value, others


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["path: a/b", "type: alpaca"], "a/b"),
        (["path: a/b", "name: en", "type: alpaca"], {"path": "a/b", "subset": "en"}),
        (["path: a/b", "split: test", "type: alpaca"], {"path": "a/b", "split": "test"}),
        (
            ["path: a/b", "split: 'train[:50]'", "type: alpaca"],
            {"path": "a/b", "split": "train[:50]"},
        ),
        (["path: a/b", "split: 'train[10%:]'"], {"path": "a/b", "split": "train[10%:]"}),
        (
            ["path: a/b", "type: alpaca_w_system.load_open_orca"],
            {
                "path": "a/b",
                "columns": {
                    "system_prompt": "system",
                    "question": "instruction",
                    "response": "output",
                },
            },
        ),
        (["path: json", "data_files: x.jsonl", "ds_type: json", "type: alpaca"], "x.jsonl"),
        (["path: a/b", "type: chat_template", "field_messages: conversations"], "a/b"),
        (
            ["path: a/b", "type: chat_template", "field_messages: talk"],
            {"path": "a/b", "columns": {"talk": "messages"}},
        ),
        (
            ["path: a/b", "type: completion", "field: body"],
            {"path": "a/b", "columns": {"body": "text"}},
        ),
        (
            ["path: a/b", "type: chatml.intel"],
            {"path": "a/b", "columns": {"question": "prompt"}},
        ),
        (
            ["path: a/b", "type: {field_instruction: q, field_output: a}"],
            {"path": "a/b", "columns": {"q": "instruction", "a": "output"}},
        ),
    ],
)
def test_a_nested_dataset_becomes_a_source(lines: list[str], expected: Any, tmp_path: Path) -> None:
    assert axolotl(tmp_path, *lines)[0] == expected


def test_usual_speakers_and_names_of_turns_need_nothing(tmp_path: Path) -> None:
    _, others = axolotl(
        tmp_path,
        "path: a/b",
        "type: chat_template",
        "message_property_mappings: {role: from, content: value}",
        "roles: {user: [human, user], assistant: [gpt]}",
        "roles_to_train: [assistant]",
        "train_on_eos: turn",
    )
    assert others == [
        "no_effect [0].roles",
        "no_effect [0].roles_to_train",
        "no_effect [0].train_on_eos",
    ]


def test_unusual_names_of_turns_are_not_adopted(tmp_path: Path) -> None:
    _, others = axolotl(
        tmp_path,
        "path: a/b",
        "type: chat_template",
        "message_property_mappings: {role: who, content: what}",
        "roles: {user: [customer]}",
        "split: train[:20%]",
        "drop_system_message: true",
    )
    assert sorted(others) == [
        "unsupported [0].drop_system_message",
        "unsupported [0].message_property_mappings",
        "unsupported [0].roles",
    ]


def test_an_unknown_format_is_reported(tmp_path: Path) -> None:
    assert axolotl(tmp_path, "path: a/b", "type: oasst")[1] == ["unsupported [0].type"]


def test_slices_of_a_split_are_refused(tmp_path: Path) -> None:
    content = BASE["axolotl"] + "datasets:\n  - {path: a/b, type: input_output}\n"
    assert outcomes(tmp_path, content)["datasets"][0].kind == "refused"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("message_field_training: training", "no_effect"),
        ("message_field_training: learned", "unsupported"),
        ("message_field_training_detail: detail", "unsupported"),
        ("field_thinking: thinking", "no_effect"),
        ("field_thinking: thoughts", "unsupported"),
        ("train_on_eot: turn", "no_effect"),
        ("train_on_eot: last", "unsupported"),
        ("split: train+test", "unsupported"),
        ("roles_to_train: [user]", "unsupported"),
    ],
)
def test_what_is_read_of_a_turn_is_reported(line: str, kind: str, tmp_path: Path) -> None:
    _, others = axolotl(tmp_path, "path: a/b", "type: chat_template", line)
    assert others == [f"{kind} [0].{line.partition(':')[0]}"]


def test_a_dataset_of_held_out_rows_becomes_val_dataset(tmp_path: Path) -> None:
    content = BASE["axolotl"] + "test_datasets:\n  - {path: a/b, split: test, type: alpaca}\n"
    assert ours(tmp_path, content)["val_dataset"] == [{"path": "a/b", "split": "test"}]


def test_the_datasets_of_a_yaml_are_listed(tmp_path: Path) -> None:
    (tmp_path / "sets.yaml").write_text(
        "one: {path: a.json, source: local, converter: alpaca, size: 500}\n"
        "two: {path: a/b, split: test, weight: 2.0}\n",
        "utf-8",
    )
    content = BASE["llamafactory-v1"] + "train_dataset: sets.yaml\n"
    assert ours(tmp_path, content)["dataset"] == [
        {"path": "a.json", "num_samples": 500},
        {"path": "a/b", "split": "test", "weight": 2.0},
    ]


def test_rows_that_are_tokens_already_are_reported(tmp_path: Path) -> None:
    assert axolotl(tmp_path, "path: a/b", "type:")[1] == ["unsupported [0].type"]
    assert axolotl(tmp_path, "path: a/b", "split: train")[1] == []
