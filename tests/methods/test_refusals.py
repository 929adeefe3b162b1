"""What cannot be right is refused before weights move, with the cure."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import made_up
from tiny import write_chats, write_config, write_labels, write_pairs

from swiftbox.config.combinations import require_compatible
from swiftbox.devices.machine import Machine
from swiftbox.errors import UserError
from swiftbox.launch.prepare import check_config
from swiftbox.plan import plan
from swiftbox.tasks.load import load
from swiftbox.tasks.teacher_check import check_teacher
from swiftbox.tasks.train import TRAIN

WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "a negative beta": ("dpo", {"beta": -1}, "beta: should be greater than 0 (got -1)"),
    "an unknown loss": ("dpo", {"loss_type": "foo"}, "loss_type: should be one of sigmoid, hinge"),
    "weights that are too few": (
        "dpo",
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]},
        "a.yaml:17 loss_weights: 1 weight for 2 loss types",
    ),
    "robust without wrong labels": (
        "dpo",
        {"loss_type": "robust"},
        "loss_type: robust needs label_smoothing above 0",
    ),
    "a key of another stage": ("sft", {"beta": 0.1}, "beta: belongs to stage: dpo"),
    "packed pairs": ("dpo", {"packing": True}, "packing: not available for stage: dpo"),
    "kto of one": (
        "kto",
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
        "per_device_train_batch_size: KTO compares",
    ),
    "groups that do not fill": (
        "grpo",
        {"reward_funcs": "length", "num_generations": 3, "gradient_accumulation_steps": 1},
        "cannot be divided into groups of 3",
    ),
    "an optimizer that the engine does not have": (
        "grpo",
        {"reward_funcs": "length", "num_generations": 4, "optim": "lora_fa"},
        "optim: lora_fa is not available for stage: grpo",
    ),
    "packed rows that get generated answers": (
        "gkd",
        {"teacher_model": "t", "packing": True},
        "packing: true is for rows of known length",
    ),
    "no prompt to answer": (
        "gkd",
        {"teacher_model": "t", "train_on_prompt": True},
        "train_on_prompt: true leaves no prompt",
    ),
    "new tokens that no teacher has": (
        "gkd",
        {"teacher_model": "t", "new_tokens": ["<a>"]},
        "new_tokens: has not been verified with stage: gkd",
    ),
    "no such reward": (
        "grpo",
        {"reward_funcs": "beauty", "num_generations": 4},
        "reward_funcs: unknown reward function beauty",
    ),
    "no such file of rewards": (
        "grpo",
        {"reward_funcs": "none.py:good", "num_generations": 4},
        "reward_funcs: none.py does not exist",
    ),
}


def refusal(path: Path, backend: str = "cpu") -> str:
    try:
        config = load(path).config
        plan(config, made_up(backend))
        check_config(config)
    except UserError as error:
        return f"{error.message} {error.hint}"
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused(name: str, tmp_path: Path, tiny: Path) -> None:
    stage, keys, expected = WRONG[name]
    data = write_pairs(tmp_path / "rows.jsonl", 3)
    keys = {"per_device_train_batch_size": 4, **keys}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage=stage, **keys)
    assert expected in refusal(path)


@pytest.mark.parametrize(
    ("stage", "write", "expected"),
    [
        ("dpo", write_chats, "messages rows are for stage: sft or gkd, not dpo"),
        ("kto", write_chats, "messages rows are for stage: sft or gkd, not kto"),
        ("dpo", write_labels, "are for stage: kto, not dpo"),
        ("sft", write_pairs, "are for stage: dpo"),
    ],
)
def test_rows_of_another_stage_are_refused_with_the_one_they_train(
    stage: str, write: Any, expected: str, tmp_path: Path, tiny: Path
) -> None:
    data = write(tmp_path / "rows.jsonl", 3)
    keys = {"per_device_train_batch_size": 4}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage=stage, **keys)
    message = refusal(path)
    assert "rows.jsonl:1 " in message
    assert expected in message


def test_qlora_is_refused_where_nothing_quantizes(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 3)
    path = write_config(tmp_path / "a.yaml", tiny, data, tuner_type="qlora")
    message = refusal(path, "npu")
    assert "bitsandbytes has no Ascend kernels" in message
    assert "tuner_type: lora" in message


@pytest.mark.parametrize(
    ("missing", "rewards", "named"),
    [
        ("trl", "length", "TRL is not installed"),
        ("math_verify", ["length", "accuracy"], "math-verify, which is not installed"),
    ],
)
def test_a_missing_package_of_online_methods_is_named_with_its_install_line(
    missing: str, rewards: Any, named: str, tmp_path: Path, tiny: Path
) -> None:
    data = write_pairs(tmp_path / "rows.jsonl", 3)
    keys = {"reward_funcs": rewards, "per_device_train_batch_size": 8}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="grpo", **keys)
    with pytest.raises(UserError, match=named) as caught:
        plan(load(path).config, without(made_up("cpu"), missing))
    assert caught.value.hint == "pip install 'swiftbox[rl]'"


def test_other_rewards_do_not_need_math_verify(tmp_path: Path, tiny: Path) -> None:
    data = write_pairs(tmp_path / "rows.jsonl", 3)
    keys = {"reward_funcs": ["length", "format"], "per_device_train_batch_size": 8}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="grpo", **keys)
    assert plan(load(path).config, without(made_up("cpu"), "math_verify"))


def without(machine: Machine, package: str) -> Machine:
    versions = {name: version for name, version in machine.versions.items() if name != package}
    return replace(machine, versions=versions)


@pytest.mark.parametrize("strategy", ["fsdp", "zero3"])
def test_a_teacher_beside_weights_in_parts_is_refused(
    strategy: str, tmp_path: Path, tiny: Path
) -> None:
    keys = {"stage": "gkd", "teacher_model": "t", "distributed": strategy}
    config = load(write_config(tmp_path / "a.yaml", tiny, tiny, **keys)).config
    with pytest.raises(UserError, match=f"{strategy} with a teacher has not been verified"):
        require_compatible(config)


def with_tokens(model: Path, folder: Path, *more: str) -> Path:
    """Copy a model, and give its tokenizer further tokens."""
    copied = shutil.copytree(model, folder)
    content = json.loads((copied / "tokenizer.json").read_text("utf-8"))
    size = len(content["model"]["vocab"])
    for number, token in enumerate(more):
        content["added_tokens"].append(
            {**content["added_tokens"][0], "id": size + number, "content": token}
        )
    (copied / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    return copied


def test_a_teacher_without_a_token_of_the_student_is_refused(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    student = with_tokens(tiny, tmp_path / "student", "<think>")
    path = write_config(tmp_path / "a.yaml", student, data, stage="gkd", teacher_model=str(tiny))
    assert "teacher_model: it does not have the student's vocabulary: '<think>'" in refusal(path)
    assert "(1 token in all)" in refusal(path)


def test_an_adapter_as_the_teacher_is_to_be_merged(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}", "utf-8")
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="gkd", teacher_model=str(adapter))
    reason = refusal(path)
    assert f"teacher_model: {adapter} is an adapter" in reason
    assert f"merge it first (task: merge, adapter: {adapter})" in reason


def test_tokens_that_only_the_student_s_settings_name_are_those_of_the_student(
    tmp_path: Path, tiny: Path
) -> None:
    """As transformers adds them to the tokenizer that a run loads."""
    data = write_chats(tmp_path / "rows.jsonl", 8)
    student, teacher = (shutil.copytree(tiny, tmp_path / name) for name in ("student", "teacher"))
    path = write_config(tmp_path / "a.yaml", student, data, stage="gkd", teacher_model=str(teacher))
    settings = student / "tokenizer_config.json"
    content = json.loads(settings.read_text("utf-8")) | {"pad_token": "<pad>"}
    settings.write_text(json.dumps(content), "utf-8")
    by_check = refusal(path)
    assert "'<pad>', number 600 of the student, is not one of its tokens" in by_check
    config = plan(load(path).config, made_up("cpu")).config
    with pytest.raises(UserError) as by_child:
        TRAIN.run(config, tmp_path, lambda *_arguments, **_fields: None)
    assert by_check.startswith(by_child.value.message)
    shutil.copy(settings, teacher)
    check_config(config)


def test_a_teacher_with_further_tokens_is_accepted(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    teacher = with_tokens(tiny, tmp_path / "teacher", "<think>")
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="gkd", teacher_model=str(teacher))
    check_config(plan(load(path).config, made_up("cpu")).config)


def test_settings_that_no_update_of_a_distillation_reads_are_remarked_on(
    tmp_path: Path, tiny: Path
) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    keys = {"stage": "gkd", "teacher_model": "owner/t", "hub": "modelscope", "lmbda": 1}
    path = write_config(tmp_path / "a.yaml", tiny, data, **keys, seq_kd=True, sft_alpha=0.1)
    remarks: list[Any] = []
    check_teacher(load(path).config, None, remarks.append)
    assert [remark.topic for remark in remarks][:2] == ["seq_kd", "sft_alpha"]


def test_a_teacher_that_is_the_student_is_refused(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="gkd", teacher_model=str(tiny))
    assert "is the model itself" in refusal(path)


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_teacher_that_cannot_be_loaded_is_refused_under_its_own_key(
    broken: str, tmp_path: Path, tiny: Path
) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    teacher = shutil.copytree(tiny, tmp_path / "teacher")
    (teacher / broken).write_bytes(b"{")
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="gkd", teacher_model=str(teacher))
    assert refusal(path).startswith("teacher_model: ")
