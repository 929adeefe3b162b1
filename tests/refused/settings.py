"""Settings that `check` refuses, by room. The folders and files are those of world.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from made_up import made_up

from refused.case import Refused

TRAIN = {"task": "train", "hub": "local", "model": "tiny", "dataset": "rows.jsonl", "max_steps": 4}
PAIRS = {**TRAIN, "stage": "dpo", "dataset": "pairs.jsonl"}
ONLINE = {**TRAIN, "stage": "grpo", "reward_funcs": "length.py:length"}
CLASSES = {**TRAIN, "stage": "classification", "dataset": "classes.jsonl"}
QUANTIZE = {"task": "quantize", "hub": "local", "model": "m"}
DEPLOY = {"task": "deploy", "hub": "local", "model": "m", "port": 0}
EVALUATE = {"task": "evaluate", "hub": "local", "model": "m", "benchmarks": "sample_ceval"}
MERGE = {"task": "merge", "hub": "local", "adapter": "adapter"}
EXTRACT = {"task": "extract", "hub": "local", "model": "m", "tuned_model": "others/m"}
CHAT = {"task": "chat", "hub": "local", "model": "m", "prompt": "hello"}


def refused(place: str, accepted: Mapping[str, Any], **keys: Any) -> Refused:
    """Return a case of settings with more keys; `cure` and `machine` are those of the case."""
    cure, machine = keys.pop("cure", {}), keys.pop("machine", "cpu")
    return Refused(place, {**accepted, **keys}, cure, machine)


ONE_CARD = replace(made_up("h100"), devices=made_up("h100").devices[:1])

EMBEDDINGS = {"new_tokens": ["<a>"]}
SHARDED = {"distributed": "fsdp", "machine": "cuda"}

TRAINING = (
    refused("config/reading.py:fail", TRAIN, truncation="dorp", cure={"truncation": "drop"}),
    refused("config/reading.py:fail", TRAIN, quant_bits=3, cure={"quant_bits": 4}),
    refused(
        "config/sharded_reference.py:sharded_start",
        PAIRS,
        tuner_type="full",
        precompute_ref_log_probs="false",
        **SHARDED,
    ),
    refused(
        "architectures/positions.py:require_positions",
        TRAIN,
        model="gpt2",
        max_length=512,
        tuner_type="full",
    ),
    refused(
        "devices/attention.py:_refused", TRAIN, attn_implementation="varlen", padding_free="false"
    ),
    refused(
        "devices/choices.py:choose_optimizer",
        TRAIN,
        optim="adamw_torch_fused",
        dtype="float16",
        machine="npu",
    ),
    refused("devices/choices.py:require", TRAIN, optim="paged_adamw_8bit"),
    refused("devices/choices.py:require", TRAIN, attn_implementation="flash_attention_2"),
    refused("devices/choices.py:require", TRAIN, dtype="float16"),
    refused("devices/choices.py:require", TRAIN, tuner_type="qlora", machine="npu"),
    refused("devices/choices.py:_too_few_devices", TRAIN, distributed="ddp"),
    refused(
        "devices/choices.py:_too_few_devices",
        TRAIN,
        distributed="ddp",
        num_devices=1,
        machine="cuda",
    ),
    refused("devices/choices.py:_too_few_devices", TRAIN, distributed="ddp", machine=ONE_CARD),
    refused("tasks/training_resolve.py:_device_count", TRAIN, num_devices=2, machine=ONE_CARD),
    refused(
        "tasks/training_resolve.py:_device_count",
        TRAIN,
        num_devices=2,
        distributed="ddp",
        machine=ONE_CARD,
    ),
    refused(
        "tasks/training_resolve.py:_padding_free",
        TRAIN,
        padding_free="true",
        attn_implementation="flex_attention",
        machine="cuda",
    ),
    refused("tasks/training_resolve.py:_settle_method", PAIRS, packing=True),
    refused("tasks/training_resolve.py:_require_known_to_engine", ONLINE, neftune_noise_alpha=5.0),
    refused(
        "tasks/training_resolve.py:_require_online",
        ONLINE,
        num_generations=3,
        cure={"per_device_train_batch_size": 3, "gradient_accumulation_steps": 1},
    ),
    refused(
        "tasks/training_resolve.py:_require_reporters",
        TRAIN,
        report_to="wandb",
        cure={"report_to": "none"},
    ),
    refused("tasks/training_schedule.py:settled_schedule", TRAIN, early_stopping_patience=2),
    refused(
        "tasks/training_schedule.py:settled_schedule",
        TRAIN,
        val_size=0.3,
        lr_scheduler_type="greedy",
        tuner_type="adalora",
        early_stopping_patience=2,
    ),
    refused(
        "tasks/training_schedule.py:settled_schedule",
        ONLINE,
        val_size=0.3,
        lr_scheduler_type="reduce_lr_on_plateau",
    ),
    refused(
        "tasks/training_vocabulary.py:require_tokens_fit",
        TRAIN,
        **EMBEDDINGS,
        init_lora_weights="pissa",
    ),
    refused(
        "tasks/training_vocabulary.py:require_tokens_fit", TRAIN, **EMBEDDINGS, optim="lora_fa"
    ),
    refused(
        "tasks/training_vocabulary.py:require_tokens_fit",
        TRAIN,
        **EMBEDDINGS,
        modules_to_save=["lm_head"],
    ),
    refused(
        "tasks/training_vocabulary.py:require_tokens_fit",
        TRAIN,
        **EMBEDDINGS,
        target_modules=["q_proj", "lm_head"],
    ),
    refused("tasks/training_vocabulary.py:require_tokens_fit", TRAIN, **EMBEDDINGS, **SHARDED),
    refused(
        "tasks/tuner_check.py:_parameter_errors",
        TRAIN,
        tuner_type="full",
        freeze_parameters=[".*"],
        cure={"trainable_parameters": ["lm_head.*"]},
    ),
    refused(
        "tasks/tuner_check.py:_schedule_errors",
        TRAIN,
        tuner_type="adalora",
        adalora_tinit=0.5,
        adalora_tfinal=0.5,
        cure={"adalora_tinit": 0.1},
    ),
    refused(
        "tasks/tuner_check.py:_not_quantized",
        TRAIN,
        tuner_type="qlora",
        quant_method="gptq",
        machine=made_up("cuda", gptqmodel="7.6.0", optimum="2.1.0"),
    ),
    refused(
        "tasks/training_check.py:_check_joined_rows", TRAIN, packing=True, padding_free="false"
    ),
    refused(
        "tasks/training_check.py:_check_joined_rows",
        TRAIN,
        packing=True,
        attn_implementation="flex_attention",
        machine="cuda",
    ),
    refused("devices/choices.py:require", TRAIN, tuner_type="qlora", quant_method="gptq"),
    refused("tasks/training_check.py:_check_adapter", TRAIN, adapter="adapter", tuner_type="full"),
    refused(
        "methods/kto.py:_batch_too_small",
        TRAIN,
        stage="kto",
        dataset="labels.jsonl",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
    ),
    refused(
        "data/fitting.py:rows_too_long",
        TRAIN,
        max_length=40,
        truncation="error",
        cure={"max_length": 256},
    ),
    refused("data/fitting.py:rows_too_long", TRAIN, max_length=40, truncation="error"),
    refused("data/fitting.py:nothing_within", TRAIN, max_length=16, cure={"max_length": 256}),
    refused("data/fitting.py:require_training_rows", TRAIN, val_size=0.99, cure={"val_size": 0.1}),
    refused(
        "data/renaming.py:require_present",
        TRAIN,
        columns={"Questions": "query"},
        cure={"columns": {}},
    ),
    refused("data/classes.py:_other_number", CLASSES, num_labels=5),
    refused("data/classes.py:_other_number", CLASSES, num_labels=5, label_names=["a", "b"]),
    refused("data/classes.py:_only", CLASSES, dataset="one-class.jsonl"),
    refused("tasks/model_demands.py:require_family", TRAIN, model_type="llama"),
    refused("tasks/places.py:_unusable", TRAIN, output_dir="/proc/runs"),
    refused("tasks/checks.py:report", TRAIN, model="plain"),
    refused(
        "tasks/teacher_check.py:_require_no_adapter",
        TRAIN,
        stage="gkd",
        teacher_model="adapter",
        cure={"teacher_model": "m"},
    ),
)

QUANTIZING = (
    refused("quantization/resolve.py:require_backend", QUANTIZE, machine="npu"),
    refused("quantization/resolve.py:require_backend", QUANTIZE, method="gptq", machine="v100"),
    refused("quantization/resolve.py:require_backend", QUANTIZE, method="fp8", machine="mps"),
    refused("quantization/preconditions.py:_require_divisible", QUANTIZE, method="gptq"),
    refused(
        "quantization/preconditions.py:_require_packable", QUANTIZE, method="awq", group_size=64
    ),
    refused(
        "quantization/preconditions.py:_require_packable",
        QUANTIZE,
        method="awq",
        group_size=64,
        machine="v100",
    ),
    refused(
        "quantization/preconditions.py:_require_language_model",
        QUANTIZE,
        method="awq",
        model="pictures",
    ),
    refused("quantization/preconditions.py:_require_quantized_experts", QUANTIZE, model="experts"),
    refused("config/reading.py:fail", QUANTIZE, method="fp8", bits=4),
    refused("config/reading.py:fail", QUANTIZE, group_size=64),
)

SERVING = (
    refused(
        "architectures/served_limits.py:too_long_error",
        DEPLOY,
        max_model_len=4096,
        cure={"max_model_len": 512},
    ),
    refused(
        "tasks/deploy.py:_require_key_named", DEPLOY, host="0.0.0.0", cure={"host": "127.0.0.1"}
    ),
    refused(
        "tasks/deploy.py:named_adapters",
        DEPLOY,
        adapter=["adapter", "others/adapter"],
        cure={"adapter": None, "adapters": {"a": "adapter", "b": "others/adapter"}},
    ),
    refused(
        "tasks/deploy.py:named_adapters",
        DEPLOY,
        adapter="adapter",
        served_model_name="adapter",
        cure={"served_model_name": "base"},
    ),
    refused(
        "tasks/deploy.py:with_absolute_paths",
        {"task": "deploy", "hub": "local"},
        port=0,
        cure={"model": "m"},
    ),
    refused("tasks/deployment_engine.py:choose_engine", DEPLOY, engine="vllm"),
    refused("tasks/deployment_engine.py:_llama_cpp_choice", DEPLOY, model="gguf", engine="builtin"),
    refused(
        "tasks/deployment_engine.py:choose_served_dtype", DEPLOY, model="gguf", dtype="float16"
    ),
    refused(
        "tasks/deployment_engine.py:_in_16_bits",
        DEPLOY,
        model="awq",
        engine="vllm",
        dtype="float32",
        machine=made_up("cpu", vllm="0.33.0+cpu"),
    ),
    refused("tasks/deployment_engine.py:require_devices", DEPLOY, tensor_parallel_size=2),
    refused(
        "tasks/deployment_engine.py:require_vllm",
        DEPLOY,
        model="gguf",
        vllm_args={"enforce_eager": True},
    ),
    refused(
        "tasks/deployment_engine.py:require_vllm",
        DEPLOY,
        vllm_args={"enforce_eager": True},
        machine=made_up("cuda", vllm="0.20.0"),
        engine="builtin",
    ),
    refused("tasks/deployment_engine.py:require_vllm", DEPLOY, model="gguf", vllm_args={"seed": 1}),
    refused(
        "tasks/deployment_engine.py:require_builtin", DEPLOY, model="gguf", tools_in_prompt=True
    ),
    refused("serving/llama_cpp.py:require_servable", DEPLOY, model="gguf", tensor_parallel_size=2),
    refused("serving/llama_cpp.py:require_servable", DEPLOY, model="gguf", adapter_loading=True),
    refused("models/gguf_files.py:require_gguf_file", DEPLOY, engine="llama_cpp"),
    refused("serving/address.py:_cannot_listen", DEPLOY, host="203.0.113.1", api_key_env="HOME"),
    refused("tasks/chat.py:check", CHAT, prompt=None, cure={"prompt": "hello"}),
    refused(
        "tasks/participants.py:_first",
        {"task": "chat", "hub": "local"},
        prompt="hello",
        cure={"model": "m"},
    ),
)

EVALUATING = (
    refused(
        "tasks/evaluation_conflicts.py:require_one_source",
        EVALUATE,
        endpoint="http://127.0.0.1:9/v1",
        cure={"endpoint": None},
    ),
    refused(
        "tasks/evaluation_conflicts.py:require_one_source",
        EVALUATE,
        backend="lm_eval",
        chat_template_kwargs={"a": 1},
    ),
    refused("tasks/evaluation_conflicts.py:_require_servers", EVALUATE, api_key_env="KEY"),
    refused(
        "tasks/evaluation_conflicts.py:_require_servers",
        EVALUATE,
        judge_model="j",
        cure={"judge_model": None},
    ),
    refused("tasks/evaluate.py:_require_unquantized", EVALUATE, model="bnb", backend="lm_eval"),
    refused(
        "evaluation/candidates.py:_duplicate",
        EVALUATE,
        compare=["m", "others/m"],
        cure={"compare": {"a": "m", "b": "others/m"}},
    ),
    refused(
        "evaluation/candidates.py:_base_of_adapter",
        {"task": "evaluate", "hub": "local"},
        benchmarks="sample_ceval",
        cure={"model": "m"},
    ),
    refused(
        "evaluation/benchmarks.py:require_reachable",
        EVALUATE,
        benchmarks="mmlu",
        cure={"benchmarks": ["sample_ceval", "sample_mmlu"]},
    ),
    refused(
        "evaluation/benchmarks.py:select_benchmarks",
        EVALUATE,
        benchmarks="mmlu_redx",
        cure={"benchmarks": "sample_mmlu"},
    ),
)

FILES = (
    refused("models/location.py:_missing", MERGE, adapter="adapte", cure={"adapter": "adapter"}),
    refused("models/location.py:_is_file", DEPLOY, model="m/config.json"),
    refused("models/merge_checks.py:_no_record", MERGE, merge_base="dequantized"),
    refused(
        "models/merge_checks.py:require_matching_name",
        MERGE,
        adapter="of-an-id",
        model="Qwen/Qwen3-8B",
        hub="modelscope",
    ),
    refused("tasks/checks.py:inspect_model", TRAIN, model="adapter", cure={"model": "m"}),
    refused(
        "tasks/download.py:check",
        {"task": "download", "model": "a/b", "hub": "local"},
        local_dir="copy",
        cure={"model": "m"},
    ),
    refused(
        "hub/local_folder.py:require_target",
        {"task": "download", "model": "m", "hub": "local"},
        local_dir="/tmp",
        cure={"local_dir": "models/m"},
    ),
)

EXTRACTING = (
    refused("models/extract_modules.py:_require_targets", EXTRACT, target_modules="embed_tokens"),
    refused(
        "models/extract_modules.py:_require_targets",
        EXTRACT,
        target_modules=["embed_tokens", "q_proj"],
    ),
    refused(
        "models/extract_modules.py:_require_targets",
        EXTRACT,
        target_modules="q_prj",
        cure={"target_modules": "q_proj"},
    ),
)

CASES = (*TRAINING, *QUANTIZING, *SERVING, *EVALUATING, *FILES, *EXTRACTING)
