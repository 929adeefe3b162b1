"""Files that a YAML names are checked before anything starts; each problem has a hint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folder import write_model
from tiny import write_chats

from swiftbox.config.train import TrainConfig
from swiftbox.config.writing import write
from swiftbox.errors import RunError, UserError
from swiftbox.launch.prepare import check_config, require_same_settings, with_absolute_paths
from swiftbox.models.requirements import Remark
from swiftbox.runs.folder import SETTLED, Run
from swiftbox.tasks.load import loads


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def config(model: Path | str, tmp_path: Path, **keys: object) -> TrainConfig:
    data = write_chats(tmp_path / "chat.jsonl", 3)
    settings = {"model": str(model), "dataset": str(data), **keys}
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return loads("", source="x", overrides=overrides).config


def refusal(model: Path | str, tmp_path: Path, **keys: object) -> UserError:
    with pytest.raises(UserError) as caught:
        check_config(config(model, tmp_path, **keys))
    return caught.value


def test_a_complete_model_passes_and_the_rows_are_counted(model: Path, tmp_path: Path) -> None:
    checked = check_config(config(model, tmp_path))
    assert checked is not None
    assert checked.rows == 3


def test_an_id_on_the_hub_is_left_for_the_run(tmp_path: Path) -> None:
    keys = {"dataset": "AI-ModelScope/alpaca-v1.0"}
    assert check_config(config("Qwen/Qwen3-0.6B", tmp_path, **keys)) is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no safetensors weights"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "one.safetensors", "b": "model.safetensors"}}'
            ),
            "lacks 1 of 2 weight files (one.safetensors",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{"),
            "cannot be read",
        ),
    ],
)
def test_a_broken_model_folder_is_refused(
    spoil: object, message: str, model: Path, tmp_path: Path
) -> None:
    spoil(model)
    error = refusal(model, tmp_path)
    assert message in error.message
    assert error.hint or "config.json cannot be read" in error.message


def test_pickled_weights_are_refused_with_the_reason(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "can run code" in refusal(model, tmp_path).hint


def test_another_family_than_expected_is_refused(model: Path, tmp_path: Path) -> None:
    assert "llama requested" in refusal(model, tmp_path, model_type="llama").message
    assert check_config(config(model, tmp_path, model_type="qwen")) is not None


def test_remote_code_is_refused_unless_trusted(model: Path, tmp_path: Path) -> None:
    (model / "config.json").write_text('{"auto_map": {"AutoModelForCausalLM": "x.Y"}}', "utf-8")
    assert "trust_remote_code" in refusal(model, tmp_path).hint
    assert check_config(config(model, tmp_path, trust_remote_code=True)) is not None


def test_an_adapter_given_as_the_model_is_recognized(model: Path, tmp_path: Path) -> None:
    (model / "config.json").rename(model / "adapter_config.json")
    error = refusal(model, tmp_path)
    assert "is an adapter" in error.message
    assert f"adapter={model}" in (error.hint or "")


def test_an_adapter_excludes_full_tuning(model: Path, tmp_path: Path) -> None:
    (model / "adapter_config.json").write_text("{}", "utf-8")
    error = refusal(model, tmp_path, adapter=str(model), tuner_type="full")
    assert "cannot continue an adapter" in error.message


def test_a_tokenizer_without_chat_template_is_refused_for_chats(
    model: Path, tmp_path: Path
) -> None:
    (model / "chat_template.jinja").unlink()
    error = refusal(model, tmp_path)
    assert "has no chat template" in error.message
    assert "template: chatml" in error.hint
    assert check_config(config(model, tmp_path, template="chatml")) is not None


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    error = refusal("./nowhere", tmp_path, dataset="./nix.jsonl", template="./no.jinja")
    assert len(error.message.splitlines()) == 3


def test_remarks_go_to_the_callback(model: Path, tmp_path: Path) -> None:
    stored = json.loads((model / "config.json").read_text("utf-8"))
    stored["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Own"}
    (model / "config.json").write_text(json.dumps(stored), "utf-8")
    heard: list[Remark] = []
    assert check_config(config(model, tmp_path), heard.append) is not None
    assert any("modeling_own.py" in remark.message for remark in heard)
    assert all(remark.level != "error" for remark in heard)


def test_remote_code_of_a_catalogued_model_is_refused_before_the_fetch(tmp_path: Path) -> None:
    keys = {"dataset": "AI-ModelScope/alpaca-v1.0"}
    error = refusal("ZhipuAI/chatglm3-6b", tmp_path, **keys)
    assert "contains Python code" in error.message
    heard: list[Remark] = []
    check_config(
        config("ZhipuAI/chatglm3-6b", tmp_path, trust_remote_code=True, **keys), heard.append
    )
    assert any("<4.42" in str(remark) for remark in heard)


def test_existing_paths_become_absolute_and_ids_are_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    placed = with_absolute_paths(config("model", tmp_path, dataset=["chat.jsonl#2", "a/b#3"]))
    assert placed.model == str(model)
    assert placed.dataset == [f"{tmp_path}/chat.jsonl#2", "a/b#3"]


def remarks_on(settings: TrainConfig, topic: str) -> list[str]:
    remarks: list[Remark] = []
    check_config(settings, remarks.append)
    return [str(remark) for remark in remarks if remark.topic == topic]


def test_a_variable_that_the_template_does_not_read_is_remarked_on(
    model: Path, tmp_path: Path
) -> None:
    template = tmp_path / "thinking.jinja"
    reads = "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
    template.write_text(
        f"{reads}{{% for m in messages %}}{{{{ m.role + m.content }}}}{{% endfor %}}"
    )

    def remarks(**variables: bool) -> list[str]:
        keys = {"template": str(template), "chat_template_kwargs": variables}
        return remarks_on(config(model, tmp_path, **keys), "chat_template_kwargs")

    assert remarks(enable_thinking=False) == []
    assert remarks(enable_thinkng=False, x=True) == [
        "note: chat_template_kwargs: the chat template does not read enable_thinkng; "
        "did you mean enable_thinking?",
        "note: chat_template_kwargs: the chat template does not read x; "
        "remove it: it changes nothing",
    ]


def test_held_out_rows_that_are_learned_too_are_remarked_on(model: Path, tmp_path: Path) -> None:
    other = write_chats(tmp_path / "other.jsonl", 5)
    assert remarks_on(config(model, tmp_path, val_dataset=str(other)), "val_dataset") == [
        "warning: val_dataset: 3 of 5 different rows are in dataset too; the loss on rows that "
        "are learned does not show when a model learns them by heart"
    ]
    new = tmp_path / "new.jsonl"
    new.write_text('{"query": "something else", "response": "a"}')
    assert remarks_on(config(model, tmp_path, val_dataset=str(new)), "val_dataset") == []


def test_a_template_whose_answers_the_model_does_not_stop_at_is_remarked_on(
    model: Path, tmp_path: Path
) -> None:
    """As base models with <|im_end|> in their template and <|endoftext|> as their end."""
    names = {"0": {"content": "<|endoftext|>"}, "1": {"content": "<|im_end|>"}}
    settings = {"eos_token": "<|endoftext|>", "added_tokens_decoder": names}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))

    def remarks(ends: int | list[int]) -> list[str]:
        (model / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        return remarks_on(config(model, tmp_path, template="chatml"), "template")

    assert remarks([0, 1]) == []
    assert remarks(7) == []
    (remark,) = remarks(0)
    assert "ends answers with <|im_end|>" in remark
    assert "stops at <|endoftext|>" in remark
    assert remark.startswith("note: ")
    assert "the training adds it to eos_token_id of the result" in remark
    del names["1"]
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    (remark,) = remarks(0)
    assert remark.startswith("warning: ")
    assert "<|im_end|> is not a token of the tokenizer" in remark
    added = config(model, tmp_path, template="chatml", new_special_tokens=["<|im_end|>"])
    (remark,) = remarks_on(added, "template")
    assert remark.startswith("note: ")


def test_settings_of_the_best_checkpoint_are_remarked_on_where_none_is_chosen(
    model: Path, tmp_path: Path
) -> None:
    keys = {"metric_for_best_model": "rewards/margins", "val_size": 1}
    (remark,) = remarks_on(config(model, tmp_path, **keys), "metric_for_best_model")
    assert "metric_for_best_model: it changes nothing" in remark
    assert "load_best_model_at_end: true" in remark
    chosen = config(model, tmp_path, load_best_model_at_end=True, val_size=1)
    assert remarks_on(chosen, "metric_for_best_model") == []


@pytest.mark.parametrize("judges", [False, True])
def test_a_resumed_run_keeps_the_interval_of_evaluations_that_decide_its_result(
    judges: bool, model: Path, tmp_path: Path
) -> None:
    def evaluated(interval: int) -> TrainConfig:
        keys = {"val_size": 1, "load_best_model_at_end": judges, "eval_steps": interval}
        return config(model, tmp_path, **keys)

    (tmp_path / SETTLED).write_text(write(evaluated(2)), encoding="utf-8")
    run = Run(tmp_path, {})
    require_same_settings(run, evaluated(2))
    if not judges:
        require_same_settings(run, evaluated(3))
        return
    with pytest.raises(RunError, match=r"eval_steps: .* was made with 2, now 3 is requested"):
        require_same_settings(run, evaluated(3))


def test_a_warm_up_that_lasts_as_long_as_the_training_is_remarked_on(
    model: Path, tmp_path: Path
) -> None:
    def remarks(**keys: object) -> list[str]:
        return remarks_on(config(model, tmp_path, max_steps=6, **keys), "warmup_steps")

    assert remarks(warmup_steps=3) == []
    assert remarks(warmup_steps=8) == [
        "warning: warmup_steps: 8 with max_steps: 6: learning_rate is never reached; lower it"
    ]
    assert remarks(lr_scheduler_type="constant") == []


@pytest.mark.parametrize(
    ("keys", "evaluations"),
    [
        ({"max_steps": 6, "eval_steps": 2}, 3),
        ({"max_steps": 6, "eval_steps": 5}, 2),
        ({"max_steps": 6, "eval_steps": 0.5}, 2),
        ({"eval_steps": 0.3}, 4),
    ],
)
def test_a_patience_that_cannot_run_out_is_remarked_on(
    keys: dict[str, object], evaluations: int, model: Path, tmp_path: Path
) -> None:
    def remarks(patience: int) -> list[str]:
        stops = {"val_size": 1, "early_stopping_patience": patience}
        return remarks_on(config(model, tmp_path, **stops, **keys), "early_stopping_patience")

    assert remarks(evaluations - 1) == []
    assert remarks(evaluations) == [
        f"warning: early_stopping_patience: {evaluations} cannot run out in {evaluations} "
        "evaluations; lower eval_steps"
    ]
