"""Reading YAML, JSON and scripts with lines, and telling whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreign import BASE, CONFIGS, ours, outcomes

from swiftbox.converters.conversion import import_config
from swiftbox.converters.foreign_file import read
from swiftbox.converters.recognition import recognise
from swiftbox.errors import ConfigError


def saved(folder: Path, content: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        recognise(read(path))
    return caught.value


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("llamafactory_sft.yaml", "llamafactory"),
        ("llamafactory_dpo.yaml", "llamafactory"),
        ("axolotl_sft.yaml", "axolotl"),
        ("axolotl_dpo.yaml", "axolotl"),
        ("msswift_sft.sh", "ms-swift"),
        ("msswift_dpo.sh", "ms-swift"),
    ],
)
def test_a_published_config_is_recognised(name: str, tool: str) -> None:
    recognised = recognise(read(CONFIGS / name))
    assert recognised.tool.name == tool
    assert recognised.by


def test_a_file_of_an_unknown_tool_is_refused_with_the_evidence(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path, "colour: red\nsize: 3\nbase_model: m\n"))
    assert "its keys: colour, size, base_model" in error.message
    assert "LLaMA-Factory: -" in error.message
    assert "axolotl: base_model" in error.message
    assert "--from" in error.hint


def test_a_swiftbox_yaml_is_referred_to_check(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path, "version: 1\ntask: train\nmodel: m\n"))
    assert "a.yaml is a YAML of swiftbox already" in error.message
    assert "swiftbox check" in error.hint


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert "a.yaml sets nothing" in refusal(saved(tmp_path, "# nothing\n")).message


def test_broken_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path, "base_model: m\ndatasets: [a\nseed: 1\n"))
    assert error.message.startswith("a.yaml:3 is not YAML")


def test_broken_json_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path, '{"model": "m",\n "train_type" "lora"}', "a.json"))
    assert error.message.startswith("a.json:2 is not JSON")


def test_json_is_read_with_lines(tmp_path: Path) -> None:
    document = read(saved(tmp_path, '{\n"model": "m",\n"train_type": "lora"\n}', "a.json"))
    assert [(entry.key, entry.value, entry.line) for entry in document.entries] == [
        ("model", "m", 2),
        ("train_type", "lora", 3),
    ]


def test_a_missing_file_is_refused_with_a_fix(tmp_path: Path) -> None:
    error = refusal(tmp_path / "nowhere.yaml")
    assert "no such file" in error.message
    assert ".sh script" in error.hint


def entries(folder: Path, script: str) -> dict[str, Any]:
    return read(saved(folder, script, "a.sh")).foreign.values


def test_a_script_gives_values_lists_and_switches(tmp_path: Path) -> None:
    settings = entries(
        tmp_path,
        "# swift sft --model no\n"
        "CUDA_VISIBLE_DEVICES=0,1 NPROC_PER_NODE=2 \\\n"
        "swift rlhf \\\n"
        "    --rlhf_type dpo --dataset a#5 'b c' \"d\" \\\n"
        "    --learning_rate=1e-4 --packing \\\n"
        '    --max-length 9 --columns \'{"a": "query"}\'\n'
        "swift infer --model other\n",
    )
    assert settings == {
        "CUDA_VISIBLE_DEVICES": "0,1",
        "NPROC_PER_NODE": 2,
        "command": "swift rlhf",
        "rlhf_type": "dpo",
        "dataset": ["a#5", "b c", "d"],
        "learning_rate": "1e-4",
        "packing": True,
        "max_length": 9,
        "columns": {"a": "query"},
    }


def test_variables_and_sums_of_a_script_are_expanded(tmp_path: Path) -> None:
    settings = entries(
        tmp_path,
        "#!/bin/bash\nexport N=2\nMODEL=a/b; OUT=out\n"
        "swift sft --model ${MODEL} --output_dir \"$OUT/x\" --system '$5' "
        "--gradient_accumulation_steps $(expr 16 / $N) --save_steps $((3 * 2)) "
        "--seed ${SEED:-7} --max_length $LENGTH\n",
    )
    assert settings["model"] == "a/b"
    assert settings["output_dir"] == "out/x"
    assert settings["system"] == "$5"
    assert settings["gradient_accumulation_steps"] == 8
    assert settings["save_steps"] == 6
    assert settings["seed"] == 7
    assert settings["max_length"] == "$LENGTH"


def test_values_that_only_a_shell_can_compute_are_not_adopted(tmp_path: Path) -> None:
    script = "#!/bin/sh\nswift sft --model m --output_dir $(date +%s) --max_length $LENGTH\n"
    settings = ours(tmp_path, script)
    assert "output_dir" not in settings
    assert "max_length" not in settings


def test_a_script_of_llamafactory_is_read(tmp_path: Path) -> None:
    script = (
        "#!/bin/bash\nMODEL_PATH=Qwen/Qwen3-8B\nllamafactory-cli train \\\n"
        "  --model_name_or_path ${MODEL_PATH} \\\n  --stage sft --do_train \\\n"
        "  --lora_target all --bf16 --template qwen3\n"
    )
    document = read(saved(tmp_path, script, "a.sh"))
    assert recognise(document).tool.name == "llamafactory"
    settings = ours(tmp_path, script)
    assert settings["model"] == "Qwen/Qwen3-8B"
    assert settings["dtype"] == "bfloat16"


def test_a_script_that_names_a_config_points_to_it(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path, "llamafactory-cli train examples/x.yaml\n", "a.sh"))
    assert error.hint == "swiftbox import examples/x.yaml"


def test_a_script_without_training_is_refused(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path, "swift infer --model m\n", "a.sh"))
    assert "no known training command" in error.message


def test_the_tool_can_be_named(tmp_path: Path) -> None:
    document = read(saved(tmp_path, "model: m\n"))
    assert recognise(document, "ms-swift").tool.name == "ms-swift"


def test_base_configs_are_recognised_as_they_are(tmp_path: Path) -> None:
    for tool, content in BASE.items():
        assert recognise(read(saved(tmp_path, content))).tool.name == tool


def test_a_script_leads_to_the_config_beside_it(tmp_path: Path) -> None:
    (tmp_path / "examples" / "lora").mkdir(parents=True)
    saved(tmp_path, "model_name_or_path: m\ncutoff_len: 9\n", "examples/x.yaml")
    for name in ("examples/x.yaml", "$(dirname $0)/../x.yaml"):
        command = f"#!/bin/bash\nllamafactory-cli train {name}\n"
        script = saved(tmp_path, command, "examples/lora/run.sh")
        if name.startswith("$"):
            assert "takes the settings from" in refusal(script).message
            continue
        document = read(script)
        assert [entry.key for entry in document.entries] == ["model_name_or_path", "cutoff_len"]
        assert recognise(document).tool.name == "llamafactory"


@pytest.mark.parametrize("name", ["../x.yaml", "/etc/x.yaml", "~/x.yaml"])
def test_a_script_does_not_lead_out_of_its_folders(name: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    saved(tmp_path, "model_name_or_path: m\n", "x.yaml")
    script = saved(tmp_path, f"#!/bin/bash\nswift sft --config {name}\n", "inner/run.sh")
    assert "takes the settings from" in refusal(script).message


def test_a_script_of_megatron_is_read(tmp_path: Path) -> None:
    script = saved(
        tmp_path,
        "NPROC_PER_NODE=2 \\\nmegatron rlhf --rlhf_type dpo \\\n  --model a/b --dataset c/d "
        "\\\n  --global_batch_size 8 --micro_batch_size 2 --lr 1e-5\n",
        "run.sh",
    )
    recognised = recognise(read(script))
    assert (recognised.tool.name, recognised.by) == ("megatron-swift", ("megatron rlhf",))
    settings = ours(tmp_path, "#!/bin/bash\n" + script.read_text("utf-8"))
    assert (settings["stage"], settings["gradient_accumulation_steps"]) == ("dpo", 2)


def test_the_new_format_of_llamafactory_is_recognised(tmp_path: Path) -> None:
    content = "model: m\nmodel_class: llm\npeft_config: {name: lora}\ntrain_dataset: a/b\n"
    assert recognise(read(saved(tmp_path, content))).tool.name == "llamafactory-v1"


def test_options_of_a_launcher_are_accounted_for(tmp_path: Path) -> None:
    command = "#!/bin/bash\naccelerate launch --config_file x.json swift/cli/sft.py --model a/b\n"
    (outcome,) = outcomes(tmp_path, command)["launcher"]
    assert (outcome.kind, "set distributed" in outcome.why) == ("unsupported", True)
    plain = "#!/bin/bash\npython swift/cli/sft.py --model a/b\n"
    assert "launcher" not in outcomes(tmp_path, plain)


def test_a_file_of_tokens_is_found_above_the_config(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    saved(tmp_path, "<a>\n<b>\n", "tokens.txt")
    content = BASE["ms-swift"] + "new_special_tokens: tokens.txt\n"
    assert ours(tmp_path / "examples", content)["new_special_tokens"] == ["<a>", "<b>"]


def test_settings_in_the_group_of_the_trainer_are_read(tmp_path: Path) -> None:
    content = (
        "rlhf_type: dpo\nmodel: m\ndataset: d\nlr: 1.0e-4\nglobal_batch_size: 8\n"
        "train:\n  gpus: 4\n  tuner_type: lora\n  lora_rank: 4\n"
    )
    imported = import_config(saved(tmp_path, content))
    assert imported.recognised.tool.name == "megatron-swift"
    values = imported.loaded.config.model_dump()
    assert (values["tuner_type"], values["lora_rank"], values["num_devices"]) == ("lora", 4, 4)
