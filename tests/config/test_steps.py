"""Reading a pipeline: each step is read like a file; all mistakes are reported at once."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml
from made_up import made_up

from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.writing import write
from swiftbox.errors import ConfigError
from swiftbox.plan import plan
from swiftbox.tasks.load import Loaded, loads
from swiftbox.tasks.schema import schema_of

CHAIN = """\
version: 1
task: pipeline
steps:
- name: train
  task: train
  model: m
  dataset: d.jsonl
- name: merge
  task: merge
  adapter: ${train.adapter}
- name: serve
  task: deploy
  model: ${merge.model}
"""


def read(content: str, *overrides: str) -> Loaded:
    return loads(content, source="p.yaml", overrides=overrides)


def pipeline(content: str, *overrides: str) -> PipelineConfig:
    config = read(content, *overrides).config
    assert isinstance(config, PipelineConfig)
    return config


def config_of(content: str, name: str, *overrides: str) -> Any:
    return next(step.config for step in pipeline(content, *overrides).steps if step.name == name)


def mistakes(content: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(content, *overrides)
    return caught.value.message.splitlines()


def test_steps_are_typed_like_files() -> None:
    names = [(step.name, step.config.task) for step in pipeline(CHAIN).steps]
    assert names == [("train", "train"), ("merge", "merge"), ("serve", "deploy")]
    assert config_of(CHAIN, "merge").adapter == "${train.adapter}"


def test_every_mistake_of_every_step_is_one_line_with_its_place_and_a_fix() -> None:
    lines = mistakes(
        "task: pipeline\n"
        "stepss: 1\n"
        "steps:\n"
        "- name: train\n"
        "  task: train\n"
        "  model: m\n"
        "  learning_rte: 1\n"
        "  lora_rank: -1\n"
        "- name: merge\n"
        "  task: mrge\n"
        "- name: serve\n"
        "  task: deploy\n"
        "  model: m\n"
        "  port: many\n"
    )
    assert [line.partition(": ")[0] for line in lines] == [
        "p.yaml:2 stepss",
        "p.yaml:4 train.dataset",
        "p.yaml:7 train.learning_rte",
        "p.yaml:8 train.lora_rank",
        "p.yaml:10 merge.task",
        "p.yaml:14 serve.port",
    ]
    assert lines[0].endswith("did you mean steps?")
    assert lines[2].endswith("did you mean learning_rate?")
    assert "should be one of train, download, starter, merge" in lines[4]


def test_names_of_other_tools_in_a_step_are_noted_with_their_line() -> None:
    content = CHAIN.replace(
        "  dataset: d.jsonl\n", "  dataset: d.jsonl\n  lora_r: 4\n  bf16: true\n"
    )
    config = config_of(content, "train")
    assert (config.lora_rank, config.dtype) == (4, "bfloat16")
    assert read(content).notes[0] == "p.yaml:8 lora_r is read as lora_rank: 4"


def test_a_key_of_another_task_is_noted_in_a_step_too() -> None:
    (note,) = read(CHAIN + "  lora_rank: 3\n").notes
    owners = "task: train, task: extract, task: mix"
    assert note == f"p.yaml:14 lora_rank is not used: it belongs to {owners}"


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ("${trian.adapter}", "no step is named trian; did you mean train?"),
        ("${merge.model}", "refers to this step itself"),
        ("${serve.url}", "serve is a later step (p.yaml:11)"),
        ("${train.model}", "has no output model; it has ${train.adapter}"),
        ("${train}", "a reference has the form ${step.output}"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_mistake(adapter: str, message: str) -> None:
    (line,) = mistakes(CHAIN.replace("${train.adapter}", adapter))
    assert line.startswith("p.yaml:10 merge.adapter: ")
    assert message in line


def test_the_outputs_of_a_training_follow_from_its_tuner() -> None:
    content = CHAIN.replace("  dataset: d.jsonl\n", "  dataset: d.jsonl\n  tuner_type: full\n")
    (line,) = mistakes(content)
    assert "train (task: train) has no output adapter; it has ${train.model}" in line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- name: merge\n  task", "- task", "p.yaml:8 steps[2]: name: is required"),
        ("name: merge", "name: train", "p.yaml:8 name: train names two steps (the first at p.y"),
        ("name: merge", "name: a b", "p.yaml:8 name: should be up to 40 letters"),
        ("  task: merge\n", "", "p.yaml:8 merge.task: is required: one of train"),
        ("task: merge", "task: pipeline", "p.yaml:9 merge.task: a pipeline cannot be"),
        ("  task: merge\n", "  task: merge\n  output_dir: x\n", "p.yaml:10 merge.output_dir: the"),
    ],
)
def test_names_tasks_and_folders_of_steps_are_checked(old: str, new: str, message: str) -> None:
    lines = mistakes(CHAIN.replace(old, new, 1))
    assert any(line.startswith(message) for line in lines), lines


@pytest.mark.parametrize("steps", ["steps: 3", "steps: []", "steps:\n- a\n- b", "steps: {a: 1}"])
def test_steps_are_a_list_of_blocks(steps: str) -> None:
    assert "should be a list of blocks" in mistakes(f"task: pipeline\n{steps}\n")[0]


def test_steps_are_required() -> None:
    assert mistakes("task: pipeline\n")[0].startswith("p.yaml steps: is required")


def test_the_command_line_addresses_a_step() -> None:
    assert config_of(CHAIN, "train", "train.learning_rate=1e-5").learning_rate == 1e-5
    assert config_of(CHAIN, "train", "train.lora_r=3").lora_rank == 3
    assert pipeline(CHAIN, "output_dir=here").output_dir == "here"


def test_a_wrong_address_or_value_names_itself() -> None:
    assert mistakes(CHAIN, "trian.seed=1", "train.seed=-1") == [
        "trian.seed=1 no step is named trian; did you mean train?",
        "train.seed=-1 should be at least 0 (got -1)",
    ]


def test_blocks_may_share_settings() -> None:
    content = (
        "task: pipeline\nsteps:\n- &shared\n  name: a\n  task: train\n  model: m\n  dataset: d\n"
        "  seed: 5\n- <<: *shared\n  name: b\n  model: n\n"
    )
    config = config_of(content, "b")
    assert (config.model, config.dataset, config.seed) == ("n", "d", 5)


@pytest.mark.parametrize("settled", [False, True])
def test_writing_and_reading_gives_the_same_pipeline(settled: bool) -> None:
    config: Any = pipeline(CHAIN, "train.dataset=[{path: b, num_samples: 3}]", "train.revision='1'")
    if settled:
        config = plan(config, made_up("cpu")).config
    assert read(write(config)).config == config
    assert read(write(config, header=["a"], reasons={"train.seed": "so"})).config == config


def test_only_the_settings_of_the_user_are_written() -> None:
    loaded = read(CHAIN, "train.seed=3")
    again = yaml.safe_load(write(loaded.config, keys=loaded.keys))
    assert again["steps"][0] == {
        "name": "train", "task": "train", "model": "m", "dataset": "d.jsonl", "seed": 3,
    }  # fmt: skip


def test_the_schema_agrees_with_the_reader() -> None:
    valid = jsonschema.Draft202012Validator(schema_of("pipeline")).is_valid
    good = yaml.safe_load(CHAIN)
    good["steps"][0]["stage"] = "sft"
    assert valid(good)
    for wrong in ({"lora_rank": 0}, {"unknown": 1}, {"name": 3}, {"task": "mrge"}):
        assert not valid({**good, "steps": [{**good["steps"][0], **wrong}]})
    del good["steps"][0]["name"]
    assert not valid(good)
