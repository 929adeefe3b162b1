"""Reading a YAML: types, aliases, every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftbox.config.groups import DatasetSource
from swiftbox.config.reading import ConfigProblem, read_file, read_text
from swiftbox.config.train import TrainConfig
from swiftbox.config.writing import write
from swiftbox.errors import ConfigError
from swiftbox.tasks.load import load, loads

BASE = "model: m\ndataset: d.jsonl\n"


def mistakes(content: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(content, source="a.yaml", overrides=overrides)
    return caught.value.message.splitlines()


def test_five_mistakes_are_five_lines_with_numbers_and_fixes() -> None:
    lines = mistakes(
        "model: m\n"
        "dataset: d.jsonl\n"
        "learning_rte: 1.0e-4\n"
        "learning_rate: -1\n"
        "dtype: bfloat\n"
        "lora_rank: many\n"
        "stage: stf\n"
    )
    assert lines == [
        "a.yaml:3 learning_rte: is not a known key; did you mean learning_rate?",
        "a.yaml:4 learning_rate: should be greater than 0 (got -1)",
        "a.yaml:5 dtype: should be one of auto, bfloat16, float16, float32 (got bfloat); "
        "did you mean bfloat16?",
        "a.yaml:6 lora_rank: should be a whole number (got many)",
        "a.yaml:7 stage: should be one of pt, sft, dpo, orpo, simpo, cpo, kto, gkd, reward, "
        "classification, grpo (got stf); did you mean sft?",
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "learning_rate"),
        ("epochs", "num_train_epochs"),
        ("rank", "lora_rank"),
        ("lora_ranks", "lora_rank"),
        ("zzz", ""),
    ],
)
def test_an_unknown_key_leads_to_the_key_that_was_meant(typed: str, meant: str) -> None:
    (line,) = mistakes(BASE + f"{typed}: 1\n")
    assert line.endswith(f"did you mean {meant}?" if meant else "is not a known key")


def test_mistakes_are_reported_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert mistakes(BASE + "learning_rate: -1\n") == [
        "a.yaml:3 learning_rate: 应大于 0（当前为 -1）"
    ]


def test_a_missing_required_key_is_named_with_its_meaning() -> None:
    assert mistakes("model: m\n")[0].startswith("a.yaml dataset: is required (file, folder or id")


def test_broken_yaml_is_reported_with_its_line() -> None:
    lines = mistakes("model: m\ndataset: [a\nseed: 1\n")
    assert len(lines) == 1
    assert lines[0].startswith("a.yaml:3 is not YAML")


def test_a_key_given_twice_is_reported() -> None:
    lines = mistakes(BASE + "seed: 1\nseed: 2\n")
    assert lines == ["a.yaml:4 seed: given twice (first at a.yaml:3)"]


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("learning_rate: 1e-4", "learning_rate", 1e-4),
        ("learning_rate: '3e-5'", "learning_rate", 3e-5),
        ("lora_rank: '16'", "lora_rank", 16),
        ("packing: on", "packing", True),
        ("gradient_checkpointing: yes", "gradient_checkpointing", "true"),
        ("revision: 1.0", "revision", "1.0"),
        ("dtype: bf16", "dtype", "bfloat16"),
        ("target_modules: all", "target_modules", "all-linear"),
        ("target_modules: [q_proj]", "target_modules", ["q_proj"]),
        ("warmup_ratio: 0.1", "warmup_steps", 0.1),
    ],
)
def test_quirks_of_yaml_are_undone(written: str, key: str, value: object) -> None:
    config = loads(BASE + written + "\n", source="a.yaml").config
    assert getattr(config, key) == value


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("model_name_or_path: x", "model", "x"),
        ("base_model: x", "model", "x"),
        ("use_hf: true", "hub", "huggingface"),
        ("use_hf: false", "hub", "modelscope"),
        ("adapters: a", "adapter", "a"),
        ("adapter: lora", "tuner_type", "lora"),
        ("train_type: full", "tuner_type", "full"),
        ("train_type: pt", "stage", "pt"),
        ("train_type: fsdp", "distributed", "fsdp"),
        ("finetuning_type: full", "tuner_type", "full"),
        ("lora_r: 4", "lora_rank", 4),
        ("r: 4", "lora_rank", 4),
        ("lora_target: all", "target_modules", "all-linear"),
        ("lora_target_linear: true", "target_modules", "all-linear"),
        ("val_set_size: 0.1", "val_size", 0.1),
        ("chat_template: chatml", "template", "chatml"),
        ("cutoff_len: 512", "max_length", 512),
        ("sequence_len: 512", "max_length", 512),
        ("train_on_inputs: true", "train_on_prompt", True),
        ("assistant_only_loss: true", "train_on_prompt", False),
        ("train_on_completions: false", "train_on_prompt", True),
        ("micro_batch_size: 3", "per_device_train_batch_size", 3),
        ("num_epochs: 2", "num_train_epochs", 2),
        ("optimizer: adamw_torch", "optim", "adamw_torch"),
        ("lr_scheduler: linear", "lr_scheduler_type", "linear"),
        ("bf16: true", "dtype", "bfloat16"),
        ("fp16: true", "dtype", "float16"),
        ("bf16: false", "dtype", "auto"),
        ("torch_dtype: bfloat16", "dtype", "bfloat16"),
        ("flash_attn: fa2", "attn_implementation", "flash_attention_2"),
        ("activation_checkpointing: true", "gradient_checkpointing", "true"),
        ("sample_packing: true", "packing", True),
        ("deepspeed: examples/ds_z3_config.json", "distributed", "zero3"),
        ("fsdp: full_shard auto_wrap", "distributed", "fsdp"),
        ("fsdp_sharding_strategy: SHARD_GRAD_OP", "sharding_strategy", "SHARD_GRAD_OP"),
    ],
)
def test_names_of_other_tools_are_read_and_noted(written: str, key: str, value: object) -> None:
    beginning = BASE if not written.startswith(("model_name", "base_model")) else "dataset: d\n"
    loaded = loads(beginning + written + "\n", source="a.yaml")
    assert getattr(loaded.config, key) == value
    assert len(loaded.notes) == 1
    assert written.partition(":")[0] in loaded.notes[0]


def test_two_names_that_disagree_are_a_mistake() -> None:
    lines = mistakes(BASE + "lora_rank: 8\nlora_r: 16\n")
    assert lines == [
        "a.yaml:4 lora_r: sets lora_rank: 16, but lora_rank (a.yaml:3) sets 8",
    ]


def test_two_names_that_agree_are_fine() -> None:
    config = loads(BASE + "lora_rank: 8\nlora_r: 8\n", source="a.yaml").config
    assert config.lora_rank == 8


def test_an_override_wins_over_the_file() -> None:
    config = loads(BASE + "seed: 1\n", source="a.yaml", overrides=["seed=7"]).config
    assert config.seed == 7


def test_a_wrong_override_names_itself() -> None:
    assert mistakes(BASE, "seed=-1")[0].startswith("seed=-1 should be at least 0")


def test_a_setting_of_another_tuner_is_left_out_and_noted() -> None:
    loaded = loads(BASE + "tuner_type: full\nlora_rank: 64\n", source="a.yaml")
    assert "lora_rank is not used" in loaded.notes[0]
    assert loaded.config.lora_rank == 8


@pytest.mark.parametrize("written", ["false", "False", "true"])
def test_a_boolean_for_the_template_is_a_boolean(written: str) -> None:
    content = BASE + f"chat_template_kwargs: {{enable_thinking: {written}, effort: 3}}\n"
    config = loads(content, source="a.yaml").config
    expected = {"enable_thinking": written == "true", "effort": 3}
    assert config.model_dump()["chat_template_kwargs"] == expected


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("off", "off, which YAML reads as false"),
        ("010", "010, which YAML reads as 8"),
        ('"false"', "false is a text here"),
        ("[no]", "no, which YAML reads as false"),
    ],
)
def test_a_variable_of_the_template_that_may_mislead_is_refused(written: str, says: str) -> None:
    (line,) = mistakes(BASE + f"chat_template_kwargs: {{enable_thinking: {written}}}\n")
    assert line.startswith("a.yaml:3 chat_template_kwargs: enable_thinking: ")
    assert says in line


def test_writing_and_reading_gives_the_same_config() -> None:
    config = loads(
        BASE
        + "val_size: 0\npacking: false\nrevision: null\nmodules_to_save: []\nreport_to: [none]\n"
        + "columns: {query: question}\nsave_steps: 0\nlearning_rate: 1e-5\n"
        + "padding_free: false\ntarget_modules: 'no'\n",
        source="a.yaml",
    ).config
    assert loads(write(config), source="b.yaml").config == config


def test_a_list_of_datasets_survives_writing(tmp_path: Path) -> None:
    content = "model: m\ndataset:\n- a.jsonl#5\n- {path: b, num_samples: 3, columns: {q: query}}\n"
    config = loads(content, source="a.yaml").config
    path = tmp_path / "b.yaml"
    path.write_text(write(config, header=["a header"]), encoding="utf-8")
    assert load(path).config == config


def test_a_secret_never_has_a_key() -> None:
    secrets = ("token", "api_key", "password", "secret")
    from swiftbox.methods import METHODS

    for method in METHODS.values():
        assert not [
            key
            for key in method.config.model_fields
            if any(secret in key for secret in secrets) and not key.endswith("_tokens")
        ]  # new_tokens are words of the vocabulary


def test_a_missing_file_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="no such file") as caught:
        load(Path("nowhere.yaml"))
    assert "swiftbox new" in caught.value.hint


def test_an_override_that_is_wrong_is_quoted_once() -> None:
    assert mistakes(BASE, "lora_rnk=8")[0].startswith("lora_rnk=8 is not a known key")
    step = ConfigProblem("sft.seed=-1", "seed", "should be at least 0")
    assert str(step) == "sft.seed=-1 should be at least 0"
    assert str(ConfigProblem("a.yaml:3", "seed", "is wrong")) == "a.yaml:3 seed: is wrong"


@pytest.mark.parametrize("content", ["model: a\n\tdataset: b\n", "steps:\n\t- a\n"])
def test_a_tab_in_front_of_a_line_is_named(content: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:2 is indented with a tab; use spaces"):
        read_text(content, source="a.yaml").fail()


def test_a_file_in_another_encoding_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b'model: "a\xff"\n')
    with pytest.raises(ConfigError, match="it is not UTF-8 text") as refused:
        read_file(tmp_path / "a.yaml")
    assert refused.value.hint


def test_one_dataset_with_settings_needs_no_list() -> None:
    content = "model: m\ndataset: {path: a.jsonl, split: 'train[:10%]'}\n"
    config = loads(content, source="a.yaml").config
    assert isinstance(config, TrainConfig)
    assert config.dataset == [DatasetSource(path="a.jsonl", split="train[:10%]")]
    lines = mistakes("model: m\ndataset:\n  path: a.jsonl\n  weigth: 2\n")
    assert lines == ["a.yaml:2 dataset: weigth: is not a known key"]
