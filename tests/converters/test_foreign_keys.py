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

LF, AX, MS, MG, V1 = "llamafactory", "axolotl", "ms-swift", "megatron-swift", "llamafactory-v1"
DPO = "stage: dpo\n"
FREEZE = "finetuning_type: freeze"

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
    (LF, FREEZE, {"tuner_type": "full", "trainable_parameters": [r"^\D*\.(?:34|35)\."]}),
    (LF, FREEZE + "\nfreeze_trainable_layers: -1\nfreeze_trainable_modules: mlp\n"
     "freeze_extra_modules: norm", {"trainable_parameters": [r"^\D*\.(?:0)\.(?:mlp)", "norm"]}),
    (LF, FREEZE + "\nfreeze_trainable_layers: 3\nuse_llama_pro: true",
     {"trainable_parameters": [r"^\D*\.(?:11|23|35)\."]}),
    (LF, "finetuning_type: oft\noft_block_size: 16\noft_target: q_proj",
     {"tuner_type": "oft", "oft_block_size": 16, "target_modules": ["q_proj"]}),
    (LF, "use_galore: true\ngalore_rank: 64\ngalore_target: all\noptim: adamw_torch",
     {"optim": "galore_adamw", "galore_rank": 64, "galore_update_proj_gap": 200,
      "galore_scale": 2.0}),
    (LF, "double_quantization: false", {"bnb_4bit_use_double_quant": False}),
    (LF, "quantization_type: fp4", {"bnb_4bit_quant_type": "fp4"}),
    (LF, "default_system: Be kind.", {"system": "Be kind."}),
    (LF, "add_tokens: <a>,<b>", {"new_tokens": ["<a>", "<b>"]}),
    (LF, "add_special_tokens: <a>,<b>", {"new_special_tokens": ["<a>", "<b>"]}),
    (LF, "enable_thinking: false", {"chat_template_kwargs": {"enable_thinking": False}}),
    (LF, "enable_thinking: true\npreserve_thinking: true",
     {"chat_template_kwargs": {"enable_thinking": True, "preserve_thinking": True}}),
    (LF, "mask_history: true", {"turns": "last"}),
    (LF, "eval_dataset: x\ndataset_dir: ONLINE", {"val_dataset": "x"}),
    (LF, "early_stopping_steps: 3\nload_best_model_at_end: true",
     {"early_stopping_patience": 3, "load_best_model_at_end": True}),
    (LF, "metric_for_best_model: eval_loss", {"metric_for_best_model": "loss"}),
    (LF, "save_strategy: epoch\nnum_train_epochs: 4\nsave_steps: 9", {"save_steps": 0.25}),
    (LF, "eval_strategy: epoch", {"eval_steps": 0.333333}),
    (LF, "evaluation_strategy: epoch\neval_steps: 9", {"eval_steps": 0.333333}),
    (LF, "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1.0e-6}",
     {"lr_scheduler_type": "cosine_with_min_lr", "min_lr": 1e-6}),
    (LF, "adam_beta1: 0.8\nadam_beta2: 0.95\nadam_epsilon: 1.0e-6",
     {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6}),
    (LF, "label_smoothing_factor: 0.1", {"label_smoothing_factor": 0.1}),
    (LF, "recompute_granularity: full", {"gradient_checkpointing": "true"}),
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
    (AX, "saves_per_epoch: 2\nnum_epochs: 2", {"save_steps": 0.25}),
    (AX, "saves_per_epoch: 1", {"save_steps": 0}),
    (AX, "evals_per_epoch: 4", {"eval_steps": 0.25}),
    (AX, "optimizer: paged_adamw_8bit", {"optim": "paged_adamw_8bit"}),
    (AX, "optimizer: adamw_torch_8bit", {"optim": "adamw_8bit"}),
    (AX, "optimizer: paged_adamw_32bit", {"optim": "adamw_torch"}),
    (AX, "default_system_message: Be kind.", {"system": "Be kind."}),
    (AX, "tokens: ['<a>']", {"new_tokens": ["<a>"]}),
    (AX, "special_tokens: {additional_special_tokens: ['<a>']}", {"new_special_tokens": ["<a>"]}),
    (AX, "chat_template_kwargs: {enable_thinking: false}",
     {"chat_template_kwargs": {"enable_thinking": False}}),
    (AX, "cosine_min_lr_ratio: 0.1", {"min_lr_rate": 0.1}),
    (AX, "adam_beta2: 0.95\nadam_epsilon: 0.00001", {"adam_beta2": 0.95, "adam_epsilon": 1e-5}),
    (AX, "early_stopping_patience: 3\nload_best_model_at_end: true",
     {"early_stopping_patience": 3, "load_best_model_at_end": True}),
    (AX, "save_strategy: best", {"load_best_model_at_end": True}),
    (AX, "peft_layers_to_transform: [0, 1]\nlora_rank_pattern: {q_proj: 4}",
     {"layers_to_transform": [0, 1], "rank_pattern": {"q_proj": 4}}),
    (AX, "bnb_config_kwargs: {bnb_4bit_use_double_quant: false}",
     {"bnb_4bit_use_double_quant": False}),
    (AX, "unfrozen_parameters: ['^lm_head']", {"trainable_parameters": ["^lm_head"]}),
    (AX, "optimizer: galore_adamw\noptim_args: {rank: 64, scale: 0.5}",
     {"optim": "galore_adamw", "galore_rank": 64, "galore_scale": 0.5}),
    (LF, "optim: galore_adamw\noptim_args: rank=64, update_proj_gap=100",
     {"galore_rank": "64", "galore_update_proj_gap": "100"}),
    (AX, "use_swanlab: true", {"report_to": "swanlab"}),
    (AX, "attn_implementation: xformers", {"attn_implementation": "auto"}),
    (AX, "batch_size: 8\nmicro_batch_size: 2", {"gradient_accumulation_steps": 4}),
    (AX, "excess_length_strategy: truncate", {"truncation": "right"}),
    (MS, "rlhf_type: rm", {"stage": "reward"}),
    (MS, "rlhf_type: rm\ntask_type: seq_cls", {"stage": "reward"}),
    (MS, "task_type: seq_cls\nnum_labels: 3\nproblem_type: multi_label_classification",
     {"stage": "classification", "num_labels": 3,
      "problem_type": "multi_label_classification"}),
    (MS, "task_type: seq_cls\nuse_chat_template: false\npacking: true",
     {"stage": "classification", "use_chat_template": False, "packing": None}),
    (MS, "num_labels: 2\nuse_chat_template: false", {"num_labels": None}),
    (MS, "dataset: 'DAMO_NLP/jd:cls#2000'",
     {"dataset": [{"path": "DAMO_NLP/jd", "num_samples": 2000}]}),
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
    (MS, "system: Be kind.", {"system": "Be kind."}),
    (MS, "model_name: [小黄, Xiao Huang]\nmodel_author: me",
     {"model_name": ["小黄", "Xiao Huang"], "model_author": "me"}),
    (MS, "val_dataset: [a/b#5]\nsplit_dataset_ratio: 0.01",
     {"val_dataset": "a/b#5", "val_size": None}),
    (MS, "new_special_tokens: [<a>, <b>]", {"new_special_tokens": ["<a>", "<b>"]}),
    (MS, "loss_scale: last_round", {"turns": "last"}),
    (MS, "early_stop_interval: 3", {"early_stopping_patience": 3}),
    (MS, "rlhf_type: grpo\nenable_thinking: false",
     {"chat_template_kwargs": {"enable_thinking": False}}),
    (MS, "use_galore: true", {"optim": "galore_adamw", "galore_rank": 128,
     "galore_update_proj_gap": 50, "galore_scale": 1.0}),
    (MS, "tuner_type: llamapro\nllamapro_num_new_blocks: 8",
     {"tuner_type": "llamapro", "llamapro_num_new_blocks": 8}),
    (MS, "freeze_parameters: [model.embed]\ntrainable_parameters: [model.norm]",
     {"freeze_parameters": [r"^model\.embed"], "trainable_parameters": [r"^model\.norm"]}),
    (MS, "freeze_parameters_ratio: 1\ntrainable_parameters: [model.norm]",
     {"freeze_parameters": None, "trainable_parameters": [r"^model\.norm"]}),
    (MS, "bnb_4bit_use_double_quant: false\nbnb_4bit_quant_type: fp4",
     {"bnb_4bit_use_double_quant": False, "bnb_4bit_quant_type": "fp4"}),
    (MS, "tuner_type: lora_llm", {"tuner_type": "lora"}),
    (MG, "global_batch_size: 16\nmicro_batch_size: 2\nNPROC_PER_NODE: 4",
     {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_devices": 4}),
    (MG, "global_batch_size: 4\nmicro_batch_size: 8\nNPROC_PER_NODE: 2",
     {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}),
    (MG, "global_batch_size: 3\nNPROC_PER_NODE: 2",
     {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}),
    (MG, "lr: 1.0e-5\nmin_lr: 1.0e-6\nlr_warmup_fraction: 0.05\nlr_decay_style: WSD",
     {"learning_rate": 1e-5, "min_lr": 1e-6, "warmup_steps": 0.05,
      "lr_scheduler_type": "warmup_stable_decay"}),
    (MG, "train_iters: 9\nclip_grad: 0.5", {"max_steps": 9, "max_grad_norm": 0.5}),
    (MG, "modules_to_save: [word_embeddings, output_layer]",
     {"modules_to_save": ["embed_tokens", "lm_head"]}),
    (AX, "fsdp_config: {reshard_after_forward: false}",
     {"distributed": "fsdp", "sharding_strategy": "SHARD_GRAD_OP"}),
    (MG, "target_modules: [linear_qkv, linear_fc1]",
     {"target_modules": ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]}),
    (V1, "peft_config: {name: lora, r: 16, lora_alpha: 32, target_modules: all}",
     {"tuner_type": "lora", "lora_rank": 16, "lora_alpha": 32, "target_modules": "all-linear"}),
    (V1, "peft_config: {name: freeze, freeze_trainable_layers: 1}",
     {"tuner_type": "full", "trainable_parameters": [r"^\D*\.(?:35)\."]}),
    (V1, "peft_config: {name: lora}\nquant_config: {name: bnb, quantization_bit: 4}",
     {"tuner_type": "qlora", "quant_bits": 4, "quant_method": "bnb"}),
    (V1, "dist_config: {name: fsdp2}", {"distributed": "fsdp"}),
    (V1, "dist_config: {name: deepspeed, config_file: ds_z3_config.json}",
     {"distributed": "zero3"}),
    (V1, "kernel_config: {name: liger_kernel}", {"use_liger_kernel": True}),
    (V1, "global_batch_size: 16\nmicro_batch_size: 2", {"gradient_accumulation_steps": 8}),
    (V1, "pref_loss: simpo\nsimpo_gamma: 0.7", {"stage": "simpo", "simpo_gamma": 0.7}),
    (V1, "train_dataset: rows.jsonl\neval_dataset: held.jsonl",
     {"dataset": "rows.jsonl", "val_dataset": "held.jsonl"}),
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
        (LF, "mix_strategy: concat"),
        (LF, "freeze_vision_tower: true"),
        (LF, "resize_vocab: true"),
        (LF, "mask_history: false"),
        (AX, "plugins: [axolotl.integrations.liger.LigerPlugin]"),
        (AX, "wandb_entity:"),
        (AX, "model_type: LlamaForCausalLM"),
        (AX, "lora_target_linear: false"),
        (AX, "special_tokens: {pad_token: x}"),
        (AX, "eot_tokens: ['<|im_end|>']"),
        (AX, "shuffle_merged_datasets: true"),
        (MS, "enable_thinking: true"),
        (MS, "trainable_parameters: [model.norm]"),
        (MG, "tensor_model_parallel_size: 4"),
        (MG, "no_save_optim: true"),
        (MG, "mcore_model: saves/x"),
        (V1, "max_new_tokens: 128"),
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
        (LF, "mix_strategy: interleave_over", "give each set a weight"),
        (LF, "galore_layerwise: true\nuse_galore: true", "projects all matrices"),
        (LF, "quantization_bit: 4\nfinetuning_type: oft", "not quantized here"),
        (LF, "metric_for_best_model: eval_rouge", "is not measured here"),
        (LF, "image_max_pixels: 262144", "rows with images, video or audio are refused"),
        (
            LF,
            "cutof_len: 9",
            "neither LLaMA-Factory nor swiftbox knows this key; did you mean cutoff_len?",
        ),
        (LF, "resume_from_checkpoint: saves/x", "swiftbox runs resume"),
        (AX, "processor_type: AutoProcessor", "rows with images, video or audio are refused"),
        (AX, "deepspeed: deepspeed_configs/mine.json", "no ZeRO stage"),
        (MS, "system: nowhere.txt", "cannot be read here"),
        (MS, "model_name: [a, b, c]", "one or two names"),
        (MS, "freeze_parameters_ratio: 0.5", "instead of a share"),
        (MS, "freeze_vit: false", "this part is not trained here"),
        (MG, "optimizer: dist_muon", "there is no dist_muon here"),
        (MG, "global_batch_size: many", "is not a number of rows"),
        (MG, "fp8_recipe: blockwise", "no counterpart"),
        (AX, "unfrozen_parameters: ['embed_tokens.weight$[:9]']", "trained as a whole"),
        (AX, "optim_args: {eps: 1}", "no counterpart"),
        (AX, "context_parallel_size: 2", "an update has more rows"),
        (MS, "sequence_parallel_size: 2", "an update has more rows"),
        (V1, "optim_config: {name: muon}", "there is no muon here"),
        (V1, "cp_size: 2", "an update has more rows"),
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
        (LF, "finetuning_type: freeze\nfreeze_trainable_layers: 0", "tuner_type=full"),
        (LF, "freeze_language_model: true", "text model"),
        (LF, "reward_model: saves/x", "stage=grpo"),
        (AX, "rl: ebft", "stage=..."),
        (AX, "process_reward_model: true", "stage=reward"),
        (MS, "teacher_model_server: http://x", "teacher_model=..."),
        (MS, "rlhf_type: ppo", "stage=dpo"),
        (MS, "task_type: embedding", "stage=reward"),
        (MS, "freeze_llm: true", "text model"),
        (MG, "mcore_adapter: saves/x", "adapter=..."),
        (V1, "peft_config: {name: unknown}", "tuner_type=lora"),
        (V1, "train_dataset: nowhere.yaml", "dataset=PATH"),
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


def test_the_precision_of_trained_weights_is_reported(tmp_path: Path) -> None:
    (outcome,) = outcomes(tmp_path, BASE[AX] + "bf16: true\n")["bf16"]
    assert "float32" in outcome.why
    (outcome,) = outcomes(tmp_path, BASE[AX] + "bf16: true\nadapter: lora\n")["bf16"]
    assert not outcome.why
