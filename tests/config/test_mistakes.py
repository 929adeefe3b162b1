"""All mistakes of a file at once: a wrong choice does not hide what is wrong beside it."""

from __future__ import annotations

import pytest

from swiftbox.config.mistakes import nearest_key
from swiftbox.errors import ConfigError
from swiftbox.tasks.load import loads


def failure(content: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loads(content, source="a.yaml")
    return caught.value


def mistakes(content: str) -> list[str]:
    return failure(content).message.splitlines()


def keys(content: str) -> list[str]:
    """Return the key of each mistake, with the line before it."""
    return [
        line.removeprefix("a.yaml").partition(": ")[0].strip(": ") for line in mistakes(content)
    ]


def test_a_wrong_tuner_does_not_hide_a_wrong_rank() -> None:
    lines = mistakes("model: m\ndataset: d\ntuner_type: loraa\nlora_rank: many\n")
    assert lines[0].startswith("a.yaml:3 tuner_type: should be one of lora, full")
    assert lines[0].endswith("(got loraa); did you mean lora?")
    assert lines[1:] == ["a.yaml:4 lora_rank: should be a whole number (got many)"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("tuner_type: galor\ngalore_rank: 1\noptim: galor\ngalore_scale: x", ["3", "5", "6"]),
        ("distributed: fs\nsharding_strategy: half", ["3", "4"]),
        ("stage: dppo\nbeta: many\nlearning_rate: -1", ["3", "4", "5"]),
        ("stage: dppo\nbeta: 0.1\nloss_type: apo_zero_unpaired\nsimpo_gamma: 1", ["3"]),
        ("stage: dppo\ntuner_type: lorra\nlora_rank: 0\nlora_rnk: 1", ["3", "4", "5", "6"]),
        ("stage: dppo\nport: 8000", ["3"]),
    ],
)
def test_a_wrong_choice_of_a_training_leaves_the_other_keys_checked(
    content: str, expected: list[str]
) -> None:
    lines = keys(f"model: m\ndataset: d\n{content}\n")
    assert [line.partition(" ")[0] for line in lines] == expected


def test_keys_of_other_choices_are_accepted_while_the_choice_is_wrong() -> None:
    assert keys("model: m\ndataset: d\ntuner_type: full_\nvera_rank: 8\n") == ["3 tuner_type"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("task: quantize\nmodel: m\nmethod: gptqq\nbits: many\nbnb_4bit_quant_type: x", [3, 4, 5]),
        ("task: evaluate\nmodel: m\nbackend: x\nmax_tokens: -1", [3, 4]),
        ("task: mrge\nadapter: a\nmax_shard_size: huge\nfoo: 1", [1, 3, 4]),
        ("task: zzz\nlearning_rate: -1\nport: many\nfoo: 1", [1, 2, 3, 4]),
    ],
)
def test_a_wrong_choice_of_any_task_leaves_the_other_keys_checked(
    content: str, expected: list[int]
) -> None:
    assert [int(key.partition(" ")[0]) for key in keys(content + "\n")] == expected


def test_keys_that_every_stage_requires_are_reported_even_with_a_wrong_stage() -> None:
    assert keys("stage: dppo\nlearning_rate: 1\n") == ["model", "dataset", "1 stage"]


def test_a_misspelt_task_is_proposed_and_its_schema_named() -> None:
    error = failure("task: mrge\nadapter: a\nfoo: 1\n")
    assert error.message.splitlines()[0].endswith("(got mrge); did you mean merge?")
    assert "`swiftbox schema merge`" in error.hint
    assert "`swiftbox schema TASK`" in failure("task: zzz\n").hint


def test_steps_of_a_pipeline_are_checked_whatever_their_task() -> None:
    content = (
        "task: pipeline\n"
        "steps:\n"
        "- name: a\n  task: trn\n  learning_rate: -1\n  foo: 1\n"
        "- name: b\n  learning_rate: -1\n"
        "- name: c\n  task: merge\n  adapter: x\n  merge_base: halff\n  max_shard_size: huge\n"
    )
    assert keys(content) == [
        "4 a.task",
        "5 a.learning_rate",
        "6 a.foo",
        "7 b.task",
        "8 b.learning_rate",
        "12 c.merge_base",
        "13 c.max_shard_size",
    ]
    assert keys(content.replace("pipeline", "pipelin"))[1:] == keys(content)


def test_settings_that_exclude_each_other_are_all_reported() -> None:
    lines = keys("task: quantize\nmodel: m\nbits: 3\ngroup_size: 7\n")
    assert lines == ["3 bits", "4 group_size"]


def test_a_mistake_inside_a_list_names_its_item() -> None:
    content = "model: m\ndataset: [{path: 1, weight: -1}, {foo: 2}]\nrank_pattern: {q: x}\n"
    assert mistakes(content) == [
        "a.yaml:2 dataset: item 1, path: should be text (got 1)",
        "a.yaml:2 dataset: item 1, weight: should be greater than 0 (got -1)",
        "a.yaml:2 dataset: item 2, path: is required",
        "a.yaml:2 dataset: item 2, foo: is not a known key",
        "a.yaml:3 rank_pattern: q: should be a whole number (got x)",
    ]


def test_a_value_that_no_member_of_a_union_accepts_is_reported_once() -> None:
    lines = keys("model: m\ndataset: d\nstage: dpo\nloss_type: foo\n")
    assert lines == ["4 loss_type"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("autom", "should be auto or a whole number (got autom)"),
        ("2.5", "should be auto or a whole number (got 2.5)"),
        ("0", "should be at least 1 (got 0)"),
        ("010", "should be auto or a whole number (got 010, which YAML reads as 8)"),
    ],
)
def test_a_number_or_a_word_is_asked_for_in_one_sentence(value: str, problem: str) -> None:
    lines = mistakes(f"model: m\ndataset: d\nper_device_train_batch_size: {value}\n")
    assert lines == [f"a.yaml:3 per_device_train_batch_size: {problem}"]


def test_one_error_is_counted_in_the_singular() -> None:
    assert failure("model: m\ndataset: d\nseed: x\n").hint.startswith("1 error to fix")
    assert failure("model: m\ndataset: d\nseed: x\ndtype: y\n").hint.startswith("2 errors to fix")


def test_an_abbreviation_leads_to_its_key() -> None:
    assert nearest_key("lr", ["lora_rank", "learning_rate"]) == "learning_rate"
    assert nearest_key("epochs", ["num_train_epochs", "seed"]) == "num_train_epochs"
    assert nearest_key("zzz", ["seed"]) == ""
