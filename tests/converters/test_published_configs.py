"""The published LoRA SFT and DPO configs of the three tools: imported, loaded, planned, trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from box import losses, state
from foreign import CONFIGS, GOLDEN
from in_process import box
from made_up import made_up
from tiny import write_chats

from swiftbox.converters.conversion import import_config
from swiftbox.converters.report import lines_of, yaml_of
from swiftbox.errors import ConfigError
from swiftbox.plan import plan
from swiftbox.tasks.load import load, loads

SFT = ("llamafactory_sft.yaml", "axolotl_sft.yaml", "msswift_sft.sh")
DPO = ("llamafactory_dpo.yaml", "axolotl_dpo.yaml", "msswift_dpo.sh")


@pytest.mark.parametrize("name", SFT)
def test_the_yaml_is_as_expected(name: str) -> None:
    golden = GOLDEN / f"{Path(name).stem}.yaml"
    assert yaml_of(import_config(CONFIGS / name), "a.yaml") == golden.read_text("utf-8")


@pytest.mark.parametrize("name", [*SFT, *DPO])
def test_the_yaml_loads_to_the_same_config_and_plans(name: str) -> None:
    imported = import_config(CONFIGS / name)
    config = loads(yaml_of(imported, "a.yaml"), source="a.yaml").config
    assert config == imported.loaded.config
    assert plan(config, made_up("h100")).config.model == config.model


@pytest.mark.parametrize("name", SFT)
def test_every_key_is_accounted_for(name: str) -> None:
    imported = import_config(CONFIGS / name)
    reported = {(line.setting.key, line.setting.line) for line in imported.lines}
    assert reported == {(entry.key, entry.line) for entry in imported.document.entries}


def test_the_dpo_configs_ask_for_the_same_preference_training() -> None:
    lf, ax, ms = (ours_of(name) for name in DPO)
    assert (lf["stage"], lf["beta"], lf["loss_type"]) == ("dpo", 0.1, "sigmoid")
    assert (ax["stage"], ax["tuner_type"], ax["quant_bits"]) == ("dpo", "qlora", 8)
    assert (ms["stage"], ms["rpo_alpha"], ms["val_size"]) == ("dpo", 0.1, 0.01)


def ours_of(name: str) -> dict[str, object]:
    from swiftbox.converters.conversion import translate
    from swiftbox.converters.foreign_file import read
    from swiftbox.converters.recognition import recognise

    document = read(CONFIGS / name)
    lines = translate(document, recognise(document).tool)
    return {
        key: value
        for line in lines
        if line.outcome.kind == "adopted"
        for key, value in line.outcome.ours.items()
    }


def test_the_account_is_given_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    imported = import_config(CONFIGS / "msswift_sft.sh")
    report = "\n".join(lines_of(imported))
    assert "msswift_sft.sh 是 ms-swift 的配置（依据：swift sft）" in report
    assert "此处无意义（3）：" in report
    assert yaml_of(imported, "a.yaml").startswith("# 由 ms-swift 的 msswift_sft.sh 导入\n")


def write_config(folder: Path, content: str) -> Path:
    path = folder / "theirs.yaml"
    path.write_text(content, encoding="utf-8")
    return path


LF = "model_name_or_path: m\ncutoff_len: 512\ndataset: d.jsonl\n"


def test_a_value_that_is_not_accepted_is_not_adopted(tmp_path: Path) -> None:
    path = write_config(tmp_path, LF + "optim: lomo\nsave_steps: 2.5\n")
    unsupported = {
        line.setting.key: line.outcome.why
        for line in import_config(path).lines_of_kind("unsupported")
    }
    assert "should be one of auto, adamw_torch" in unsupported["optim"]
    assert "share below 1, or a whole number" in unsupported["save_steps"]


def test_an_unsupported_stage_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, LF + "stage: ppo\n")
    with pytest.raises(ConfigError) as caught:
        import_config(path)
    assert caught.value.message == "theirs.yaml:4 stage: ppo is not supported here"
    assert "stage=grpo" in caught.value.hint


def test_an_override_lifts_a_refusal(tmp_path: Path) -> None:
    imported = import_config(write_config(tmp_path, LF + "stage: ppo\n"), ["stage=sft"])
    assert [line.setting.key for line in imported.lines_of_kind("replaced")] == ["stage"]


def test_a_missing_dataset_is_asked_for(tmp_path: Path) -> None:
    path = write_config(tmp_path, "model_name_or_path: m\ncutoff_len: 512\n")
    with pytest.raises(ConfigError, match="dataset: is required"):
        import_config(path)
    assert import_config(path, ["dataset=x.jsonl"]).loaded.config.dataset == "x.jsonl"


def test_two_keys_that_disagree_are_reported(tmp_path: Path) -> None:
    imported = import_config(write_config(tmp_path, LF + "bf16: true\nfp16: true\n"))
    (line,) = [line for line in imported.lines_of_kind("unsupported") if line.setting.key == "fp16"]
    assert line.outcome.why == "contradicts bf16"
    assert imported.loaded.config.dtype == "bfloat16"


def test_lora_keys_of_a_full_tuning_have_no_effect(tmp_path: Path) -> None:
    imported = import_config(write_config(tmp_path, LF + "finetuning_type: full\nlora_rank: 8\n"))
    (line,) = [
        line for line in imported.lines_of_kind("no_effect") if line.setting.key == "lora_rank"
    ]
    assert "has an effect only with tuner_type: lora" in line.outcome.why


def test_the_other_tools_defaults_are_written_down(tmp_path: Path) -> None:
    config = import_config(write_config(tmp_path, LF + "lora_rank: 16\n")).loaded.config
    assert config.lora_alpha == 32
    assert config.per_device_train_batch_size == 8
    assert config.learning_rate == 5e-5
    assert config.lr_scheduler_type == "linear"


def test_a_length_on_the_command_line_counts_for_the_defaults(tmp_path: Path) -> None:
    path = write_config(tmp_path, "model: m\ntorch_dtype: float32\nattn_impl: sdpa\ndataset: d\n")
    assert import_config(path).loaded.config.truncation == "error"
    assert import_config(path, ["max_length=9"]).loaded.config.truncation == "drop"


def test_axolotl_without_adapter_trains_all_weights(tmp_path: Path) -> None:
    content = "base_model: m\ndatasets: [{path: d, type: completion}]\nadapter:\n"
    config = import_config(write_config(tmp_path, content)).loaded.config
    assert config.tuner_type == "full"
    assert getattr(config, "stage") == "pt"  # noqa: B009 - the discriminator of the union


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    imported = import_config(
        write_config(tmp_path, LF + "hf_hub_token: abc123\nmy_api_key: abc123\n")
    )
    report = "\n".join([*lines_of(imported), yaml_of(imported, "a.yaml")])
    assert "abc123" not in report
    assert "hf_hub_token" in report


def test_the_verb_writes_a_file_once_and_answers_programs(tmp_path: Path) -> None:
    write_config(tmp_path, LF)
    done = box("import", "theirs.yaml", "-o", "a.yaml", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["tool"] == "llamafactory"
    assert answer["taken"][0] == {
        "key": "model_name_or_path",
        "line": 1,
        "value": "m",
        "why": "",
        "ours": {"model": "m"},
    }
    assert load(tmp_path / "a.yaml").config.model_dump(mode="json") == answer["config"]
    again = box("import", "theirs.yaml", "-o", "a.yaml", cwd=tmp_path, code=2)
    assert "a.yaml exists" in again.stderr
    shown = box("import", "theirs.yaml", cwd=tmp_path)
    assert shown.stdout.startswith("# Imported from LLaMA-Factory: theirs.yaml\n")
    assert "theirs.yaml is a config of LLaMA-Factory (recognized by" in shown.stderr


SMALL = (
    "hub=local",
    "dtype=float32",
    "optim=adamw_torch",
    "max_length=128",
    "max_steps=3",
    "gradient_accumulation_steps=1",
    "save_steps=0",
    "logging_steps=1",
    "report_to=none",
    "output_dir=out",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SFT)
def test_the_sft_config_trains(name: str, tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 24)
    overrides = (*SMALL, f"model={tiny}", f"dataset={data}")
    box("import", str(CONFIGS / name), "-o", "a.yaml", *overrides, cwd=tmp_path)
    box("run", "a.yaml", "--plain", cwd=tmp_path)
    assert state(tmp_path / "out")["status"] == "done"
    assert sorted(losses(tmp_path / "out")) == [1, 2, 3]
    assert (tmp_path / "out" / "model" / "adapter_model.safetensors").is_file()


def write_pairs(path: Path, count: int) -> Path:
    """Write preference rows whose better answers all differ."""
    rows = [
        {"prompt": f"name {index}", "chosen": f"good {index} yes", "rejected": f"bad {index}"}
        for index in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", DPO)
def test_the_dpo_config_trains(name: str, tmp_path: Path, tiny: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 24)
    overrides = (*SMALL, f"model={tiny}", f"dataset={data}", "tuner_type=lora")
    box("import", str(CONFIGS / name), "-o", "a.yaml", *overrides, cwd=tmp_path)
    box("run", "a.yaml", "--plain", cwd=tmp_path)
    assert state(tmp_path / "out")["status"] == "done"


def test_new_tokens_that_a_tuner_cannot_train_are_not_supported(tmp_path: Path) -> None:
    content = LF + "finetuning_type: oft\nadd_special_tokens: <call>\n"
    lines = import_config(write_config(tmp_path, content)).lines_of_kind("unsupported")
    assert "add_special_tokens" in [line.setting.key for line in lines]
