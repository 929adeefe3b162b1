"""Outcomes of the keys of each tool: adopted, without effect, unsupported or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from foreign import BASE, ours, outcomes

from swiftbox.converters import TOOLS
from swiftbox.converters.rows import ForeignConfig

LF, AX, MS = "llamafactory", "axolotl", "ms-swift"
DPO = "stage: dpo\n"

TAKEN = [
    (LF, "stage: rm", {"stage": "reward"}),
    (LF, DPO + "pref_loss: ipo", {"stage": "dpo", "loss_type": "ipo"}),
    (LF, DPO + "pref_loss: orpo\npref_beta: 0.2", {"stage": "orpo", "beta": 0.2}),
    (LF, DPO + "pref_loss: simpo\nsimpo_gamma: 0.7", {"stage": "simpo", "simpo_gamma": 0.7}),
    (LF, DPO + "pref_ftx: 0.3", {"stage": "dpo", "rpo_alpha": 0.3}),
    (LF, DPO + "dpo_label_smoothing: 0.1", {"stage": "dpo", "label_smoothing": 0.1}),
    (LF, "stage: kto\nkto_chosen_weight: 2.0", {"stage": "kto", "desirable_weight": 2.0}),
    (LF, "lora_target: q_proj,v_proj", {"target_modules": ["q_proj", "v_proj"]}),
    (LF, "lora_target: all", {"target_modules": "all-linear"}),
    (LF, "additional_target: a,lm_head", {"modules_to_save": ["a", "lm_head"]}),
    (LF, "finetuning_type: lora\nquantization_bit: 4", {"tuner_type": "qlora", "quant_bits": 4}),
    (LF, "loraplus_lr_ratio: 16.0", {"lora_plus_lr_ratio": 16.0}),
    (LF, "pissa_init: true\npissa_iter: 4", {"init_lora_weights": "pissa_niter_4"}),
    (LF, "template: llama3", {"template": "auto"}),
    (LF, "template: chatml", {"template": "chatml"}),
    (LF, "flash_attn: fa2", {"attn_implementation": "auto"}),
    (LF, "flash_attn: auto", {"attn_implementation": "auto"}),
    (LF, "flash_attn: disabled", {"attn_implementation": "eager"}),
    (LF, "fp16: true", {"dtype": "float16"}),
    (LF, "deepspeed: examples/deepspeed/ds_z3_config.json", {"distributed": "zero3"}),
    (LF, "deepspeed: examples/deepspeed/ds_z0_config.json", {"distributed": "ddp"}),
    (LF, "neat_packing: true", {"packing": True}),
    (LF, "save_strategy: 'no'", {"save_steps": 0}),
    (LF, "disable_gradient_checkpointing: true", {"gradient_checkpointing": "false"}),
    (LF, "enable_liger_kernel: true", {"use_liger_kernel": True}),
    (LF, "use_unsloth_gc: true", {"gradient_checkpointing": "true", "activation_offload": True}),
    (LF, "finetuning_type: full\npure_bf16: true", {"pure_bf16": True, "dtype": "bfloat16"}),
    (LF, "pure_bf16: true", {"pure_bf16": None, "dtype": "bfloat16"}),
    (LF, "warmup_ratio: 0.1", {"warmup_steps": 0.1}),
    (LF, "model_revision: v2", {"revision": "v2"}),
    (AX, "rl: ipo", {"stage": "dpo", "loss_type": "ipo"}),
    (AX, "rl: kto\nkto_desirable_weight: 0.2", {"stage": "kto", "desirable_weight": 0.2}),
    (AX, "rl: orpo\norpo_alpha: 0.3", {"stage": "orpo", "beta": 0.3}),
    (AX, "rl: simpo\nrl_beta: 0.4", {"stage": "simpo", "beta": 0.4}),
    (AX, "rl: simpo\ncpo_alpha: 0.5", {"stage": "simpo", "cpo_alpha": 0.5}),
    (AX, "rl: dpo\nrpo_alpha: 0.5", {"stage": "dpo", "rpo_alpha": 0.5}),
    (AX, "rl: grpo\ntrl:\n  num_generations: 4", {"stage": "grpo", "num_generations": 4}),
    (AX, "adapter: lora\nload_in_8bit: true", {"tuner_type": "qlora", "quant_bits": 8}),
    (AX, "adapter: qlora\nload_in_4bit: true", {"tuner_type": "qlora", "quant_bits": 4}),
    (AX, "lora_target_linear: true", {"target_modules": "all-linear"}),
    (AX, "lora_target_modules: [q_proj]", {"target_modules": ["q_proj"]}),
    (AX, "lora_modules_to_save: [lm_head]", {"modules_to_save": ["lm_head"]}),
    (AX, "peft_use_dora: true", {"use_dora": True}),
    (AX, "bf16: auto", {"dtype": "auto"}),
    (AX, "bf16: true", {"dtype": "bfloat16"}),
    (AX, "bf16: full", {"dtype": "bfloat16", "pure_bf16": True}),
    (AX, "bf16: full\nadapter: lora", {"dtype": "bfloat16", "pure_bf16": None}),
    (AX, "liger_rms_norm: true\nliger_glu_activation: true", {"use_liger_kernel": True}),
    (AX, "torch_compile: true", {"torch_compile": True}),
    (AX, "activation_offloading: legacy", {"activation_offload": True}),
    (AX, "gradient_checkpointing: offload",
     {"gradient_checkpointing": "true", "activation_offload": True}),
    (AX, "optimizer: adamw_bnb_8bit", {"optim": "adamw_8bit"}),
    (AX, "flash_attention: true", {"attn_implementation": "auto"}),
    (AX, "sdp_attention: true", {"attn_implementation": "sdpa"}),
    (AX, "chat_template: tokenizer_default", {"template": "auto"}),
    (AX, "wandb_project: mine", {"report_to": "wandb"}),
    (AX, "val_set_size: 0.05", {"val_size": 0.05}),
    (AX, "fsdp: [full_shard, auto_wrap]", {"distributed": "fsdp"}),
    (AX, "batch_size: 8\nmicro_batch_size: 2", {"gradient_accumulation_steps": 4}),
    (AX, "excess_length_strategy: truncate", {"truncation": "right"}),
    (MS, "rlhf_type: rm", {"stage": "reward"}),
    (MS, "rlhf_type: cpo\ncpo_alpha: 0.5", {"stage": "cpo", "cpo_alpha": 0.5}),
    (MS, "rlhf_type: grpo\nreward_funcs: [a]", {"stage": "grpo", "reward_funcs": ["a"]}),
    (MS, "rlhf_type: dpo\nloss_type: [sigmoid, sft]", {"loss_type": ["sigmoid", "sft"]}),
    (MS, "train_type: lora\nquant_bits: 4", {"tuner_type": "qlora", "quant_bits": 4}),
    (MS, "quant_method: bnb", {"quant_method": "bnb"}),
    (MS, "tuner_type: full", {"tuner_type": "full"}),
    (MS, "target_modules: [q_proj, v_proj]", {"target_modules": ["q_proj", "v_proj"]}),
    (MS, "target_modules: all-linear", {"target_modules": "all-linear"}),
    (MS, "dataset: [a/b#5, 'c/d:zh#7']",
     {"dataset": ["a/b#5", {"path": "c/d", "subset": "zh", "num_samples": 7}]}),
    (MS, "dataset: a/b#500", {"dataset": "a/b#500"}),
    (MS, "dataset: HF::a/b", {"dataset": "a/b", "hub": "huggingface"}),
    (MS, "split_dataset_ratio: 0.01", {"val_size": 0.01}),
    (MS, "truncation_strategy: delete", {"truncation": "drop"}),
    (MS, "loss_scale: all", {"train_on_prompt": True}),
    (MS, "columns: '{\"text1\": \"query\"}'", {"columns": {"text1": "query"}}),
    (MS, "use_hf: true", {"hub": "huggingface"}),
    (MS, "lorap_lr_ratio: 10", {"lora_plus_lr_ratio": 10}),
    (MS, "deepspeed: zero2_offload", {"distributed": "zero2"}),
    (MS, "use_liger_kernel: true", {"use_liger_kernel": True}),
    (MS, "lora_dropout_p: 0.1", {"lora_dropout": 0.1}),
    (MS, "lr_scheduler_type: linear", {"lr_scheduler_type": "linear"}),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "setting", "expected"), TAKEN)
def test_a_foreign_key_becomes_a_setting(
    tool: str, setting: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    settings = ours(tmp_path, BASE[tool] + setting + "\n", tool)
    assert {key: settings.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("tool", "setting"),
    [
        (LF, "overwrite_output_dir: true"),
        (LF, "preprocessing_num_workers: 16"),
        (LF, "ddp_timeout: 180000000"),
        (LF, "max_steps: -1"),
        (LF, "pref_ftx: 0.0"),
        (LF, "adam_beta2: 0.999"),
        (LF, "mask_history: false"),
        (AX, "plugins: [axolotl.integrations.liger.LigerPlugin]"),
        (AX, "wandb_entity:"),
        (AX, "model_type: LlamaForCausalLM"),
        (AX, "lora_target_linear: false"),
        (AX, "special_tokens: {pad_token: x}"),
        (MS, "loss_scale: default"),
        (MS, "load_from_cache_file: true"),
        (MS, "hub_token: secret"),
        (MS, "ref_model: m"),
    ],
)
def test_a_key_without_effect_is_reported_with_the_reason(
    tool: str, setting: str, tmp_path: Path
) -> None:
    key = setting.partition(":")[0]
    (outcome,) = outcomes(tmp_path, BASE[tool] + setting + "\n", tool)[key]
    assert outcome.kind == "no_effect"
    assert outcome.why


@pytest.mark.parametrize(
    ("tool", "setting", "why"),
    [
        (LF, "mask_history: true", "every answer of a conversation is learned"),
        (LF, "adam_beta2: 0.95", "always 0.999 here"),
        (
            LF,
            "cutof_len: 9",
            "neither LLaMA-Factory nor swiftbox knows this key; did you mean cutoff_len?",
        ),
        (LF, "resume_from_checkpoint: saves/x", "swiftbox runs resume"),
        (AX, "evals_per_epoch: 4", "set eval_steps"),
        (AX, "deepspeed: deepspeed_configs/mine.json", "no ZeRO stage"),
        (MS, "system: Be kind.", "put the system prompt into the rows"),
        (MS, "model_author: me", "put the names into the rows"),
        (MS, "loss_type: my_loss", "plugins"),
        (MS, "zzzzz: 1", "neither ms-swift nor swiftbox knows this key"),
    ],
)
def test_an_unsupported_key_is_reported_with_the_reason(
    tool: str, setting: str, why: str, tmp_path: Path
) -> None:
    key = setting.partition(":")[0]
    (outcome,) = outcomes(tmp_path, BASE[tool] + setting + "\n", tool)[key]
    assert outcome.kind == "unsupported"
    assert why in outcome.why


@pytest.mark.parametrize(
    ("tool", "setting", "cure"),
    [
        (LF, "stage: ppo", "stage=grpo"),
        (LF, "finetuning_type: freeze", "tuner_type=lora"),
        (LF, "image_max_pixels: 262144", "text model"),
        (LF, "reward_model: saves/x", "stage=grpo"),
        (AX, "rl: ebft", "stage=..."),
        (AX, "processor_type: AutoProcessor", "text model"),
        (AX, "process_reward_model: true", "stage=reward"),
        (MS, "rlhf_type: gkd", "stage=..."),
        (MS, "rlhf_type: ppo", "stage=dpo"),
        (MS, "task_type: embedding", "stage=reward"),
        (MS, "freeze_vit: false", "text model"),
        (MS, "train_type: reft", "tuner_type=lora"),
    ],
)
def test_an_impossible_setting_is_refused_with_a_fix(
    tool: str, setting: str, cure: str, tmp_path: Path
) -> None:
    key = setting.partition(":")[0]
    (outcome,) = outcomes(tmp_path, BASE[tool] + setting + "\n", tool)[key]
    assert outcome.kind == "refused"
    assert cure in outcome.hint


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_every_reason_is_given_in_chinese_too(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    foreign = ForeignConfig({"stage": "sft"}, tmp_path)
    for key, translate in TOOLS[tool].rows.items():
        for outcome in translate("x", foreign):
            for message in (outcome.why, outcome.hint):
                assert not message or re.search(r"[\u4e00-\u9fff]", message), key


def test_a_deepspeed_config_beside_the_yaml_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"zero_optimization": {"stage": 2}}), "utf-8")
    assert ours(tmp_path, BASE[LF] + "deepspeed: mine.json\n")["distributed"] == "zero2"
