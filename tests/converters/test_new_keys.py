"""Configs with the keys of the other tools: imported, checked, and safe from hostile values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from foreign import BASE, outcomes
from in_process import box
from tiny import write_chats

from swiftbox.converters import TOOLS
from swiftbox.converters.rows import ForeignConfig
from swiftbox.tasks.load import load

LF = "model_name_or_path: {model}\ncutoff_len: 128\ntemplate: chatml\ndataset: {data}\n"
AX = "base_model: {model}\nsequence_len: 128\ndatasets:\n  - path: {data}\n"
MS = "model: {model}\ntorch_dtype: float32\nattn_impl: sdpa\nmax_length: 128\ndataset: {data}\n"
CHECKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llamafactory": (
        "llamafactory",
        LF + "default_system: Be kind.\nmask_history: true\nadam_beta2: 0.95\nval_size: 0.2\n"
        "early_stopping_steps: 2\nload_best_model_at_end: true\nsave_strategy: epoch\n"
        "eval_strategy: epoch\nlr_scheduler_type: cosine_with_min_lr\n"
        "lr_scheduler_kwargs: {{min_lr_rate: 0.1}}\nlabel_smoothing_factor: 0.1\n"
        "enable_thinking: false\nmax_samples: 20\nmix_strategy: concat\n",
        {"system": "Be kind.", "turns": "last", "min_lr_rate": 0.1, "save_steps": 0.333333},
    ),
    "llamafactory galore": (
        "llamafactory",
        LF + "finetuning_type: full\nuse_galore: true\ngalore_rank: 4\n",
        {"optim": "galore_adamw", "galore_rank": 4, "galore_scale": 2.0},
    ),
    "llamafactory held out": (
        "llamafactory",
        LF + "eval_dataset: {data}\nadd_special_tokens: <call>,<back>\nadd_tokens: yes-no\n"
        "resize_vocab: true\nquantization_type: nf4\n",
        {"new_special_tokens": ["<call>", "<back>"], "new_tokens": ["yes-no"]},
    ),
    "llamafactory oft": (
        "llamafactory",
        LF + "finetuning_type: oft\noft_block_size: 4\noft_target: q_proj\n",
        {"tuner_type": "oft", "oft_block_size": 4},
    ),
    "llamafactory freeze": (
        "llamafactory",
        LF + "finetuning_type: freeze\nfreeze_trainable_layers: 1\n",
        {"tuner_type": "full"},
    ),
    "axolotl": (
        "axolotl",
        AX + "    split: train[:50%]\n    type: chat_template\n    roles_to_train: [assistant]\n"
        "    message_field_training: training\nadapter: lora\nlora_target_linear: true\n"
        "num_epochs: 2\nsaves_per_epoch: 2\nevals_per_epoch: 2\nval_set_size: 0.2\n"
        "optimizer: adamw_torch\ncosine_min_lr_ratio: 0.1\ndefault_system_message: Be kind.\n",
        {"save_steps": 0.25, "eval_steps": 0.25, "system": "Be kind.", "min_lr_rate": 0.1},
    ),
    "ms-swift": (
        "ms-swift",
        MS + "system: Be kind.\nmodel_name: [小黄, Yellow]\nmodel_author: me\n"
        "loss_scale: last_round\nearly_stop_interval: 2\nsplit_dataset_ratio: 0.2\n",
        {"model_name": ["小黄", "Yellow"], "turns": "last", "early_stopping_patience": 2},
    ),
    "ms-swift held out": (
        "ms-swift",
        MS + "val_dataset: {data}\nsplit_dataset_ratio: 0.1\nnew_special_tokens: [<call>]\n"
        "adam_beta1: 0.8\nlr_scheduler_type: warmup_stable_decay\n",
        {"new_special_tokens": ["<call>"], "adam_beta1": 0.8, "adam_beta2": 0.95},
    ),
    "ms-swift llamapro": (
        "ms-swift",
        MS + "tuner_type: llamapro\nllamapro_num_new_blocks: 1\n",
        {"tuner_type": "llamapro", "llamapro_num_new_blocks": 1},
    ),
    "megatron-swift": (
        "megatron-swift",
        "model: {model}\ntuner_type: lora\ndataset: {data}\nmax_length: 128\nlr: 1.0e-4\n"
        "min_lr: 1.0e-5\nglobal_batch_size: 4\nmicro_batch_size: 2\nno_save_rng: true\n"
        "recompute_method: uniform\nnum_train_epochs: 1\n",
        {"gradient_accumulation_steps": 2, "min_lr": 1e-5},
    ),
    "llamafactory-v1": (
        "llamafactory-v1",
        "model: {model}\nmodel_class: llm\npeft_config: {{name: lora, r: 4}}\n"
        "train_dataset: {data}\ncutoff_len: 128\nbf16: false\nmax_steps: 2\n",
        {"lora_rank": 4, "lr_scheduler_type": "constant", "max_steps": 2},
    ),
}


@pytest.mark.parametrize("name", CHECKED)
def test_a_config_with_new_keys_is_imported_and_checked(
    name: str, tmp_path: Path, tiny: Path
) -> None:
    tool, content, expected = CHECKED[name]
    data = write_chats(tmp_path / "rows.jsonl", 24)
    path = tmp_path / "theirs.yaml"
    path.write_text(content.format(model=tiny, data=data), "utf-8")
    overrides = ("hub=local", "dtype=float32", "report_to=none")
    done = box("import", str(path), "-o", "a.yaml", "--json", *overrides, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert (answer["tool"], answer["not_taken"]) == (tool, [])
    values = load(tmp_path / "a.yaml").config.model_dump()
    assert {key: values[key] for key in expected} == expected
    box("check", "a.yaml", cwd=tmp_path)


HOSTILE: tuple[Any, ...] = (
    "x", "../../etc/passwd", "/etc/passwd.txt", "\u202e", -1, 0, 1e308, True, [], [[]], [None],
    {"a": {"b": []}}, {"name": None}, {"name": ["x"]}, ["a", 1, None], "1e999", "null",
)  # fmt: skip


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_no_value_of_any_key_ends_in_a_traceback(tool: str, tmp_path: Path) -> None:
    for key, translate in TOOLS[tool].rows.items():
        for value in HOSTILE:
            translate(value, ForeignConfig({key: value, "use_galore": True}, tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "num_train_epochs: x\nsave_strategy: epoch",
        "freeze_trainable_layers: 99999999999\nfinetuning_type: freeze",
        "lr_scheduler_kwargs: [1]",
        "new_special_tokens_config: /etc/passwd",
    ],
)
def test_a_strange_value_is_accounted_for(content: str, tmp_path: Path) -> None:
    by_key = outcomes(tmp_path, BASE["llamafactory"] + content + "\n")
    assert all(by_key[line.partition(":")[0]] for line in content.splitlines())
