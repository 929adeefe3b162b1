"""Settings of tasks, deployments and pipelines that contradict their files or one another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from model_folder import write_adapter, write_model

from bad_inputs.broken_models import TASKS, Content
from bad_inputs.case import YAML, BadInput

PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}

TRAININGS: Mapping[str, str] = {
    "unknown-layer": "target_modules: [q_projj]",
    "unknown-layer-among-others": "target_modules: [q_proj, x_proj]",
    "pattern-not-regular": "target_modules: '(q_proj'",
    "excluded-not-there": "exclude_modules: [x_proj]",
    "excluded-not-regular": "exclude_modules: ['(']",
    "layer-beyond": "layers_to_transform: [2]",
    "negative-layer": "layers_to_transform: [-1]",
    "parameters-not-there": "tuner_type: full\nfreeze_parameters: [x_proj]",
    "parameters-not-regular": "tuner_type: full\nfreeze_parameters: ['(']",
    "trainable-not-there": "tuner_type: full\ntrainable_parameters: [x_proj]",
    "every-parameter-frozen": "tuner_type: full\nfreeze_parameters: ['.']",
    "blocks-do-not-divide": "tuner_type: llamapro\nllamapro_num_new_blocks: 3",
    "oft-does-not-divide": "tuner_type: oft\noft_block_size: 48",
    "gptq-of-an-unquantized-model": "tuner_type: qlora\nquant_method: gptq",
    "packing-without-joining": "packing: true\npadding_free: 'false'",
    "other-family": "model_type: llama",
    "dpo-without-pairs": "stage: dpo",
    "kto-without-labels": "stage: kto",
    "reward-without-pairs": "stage: reward",
    "orpo-without-pairs": "stage: orpo",
    "no-template-file": "template: nowhere.jinja",
    "template-is-a-folder": "template: m",
    "unknown-stage": "stage: ppo",
    "unknown-tuner": "tuner_type: loraa",
    "full-with-adapter": "adapter: tuned\ntuner_type: full",
    "no-reporter": "report_to: wandb",
    "distributed-on-one": "distributed: fsdp\nnum_devices: 1",
}
"""Lines of a training, by what is wrong with them."""

QUANTIZATIONS: Mapping[str, str] = {
    "three-bits": "method: bnb\nbits: 3",
    "bits-of-fp8": "method: fp8\nbits: 4",
    "group-of-bnb": "method: bnb\ngroup_size: 128",
    "group-does-not-divide": "method: gptq\nbits: 4\ngroup_size: 128",
    "unknown-method": "method: hqq",
    "no-rows": "method: gptq\ncalibration_dataset: nowhere.jsonl",
    "zero-samples": "method: gptq\ncalibration_samples: 0",
    "ratio-below-one": "method: bnb\nmax_perplexity_ratio: 0.5",
}

EVALUATIONS: Mapping[str, str] = {
    "unknown-benchmark": "benchmarks: [mmluu]",
    "no-benchmark": "benchmarks: []",
    "two-sources": "benchmarks: mmlu\nendpoint: http://127.0.0.1:9",
    "judge-without-model": "benchmarks: mmlu\njudge_endpoint: http://127.0.0.1:9/v1",
    "lm-eval-at-endpoint": "benchmarks: mmlu\nbackend: lm_eval\nendpoint: http://127.0.0.1:9",
    "no-folder": "benchmarks: mmlu\nbenchmark_dir: nowhere",
    "compare-missing": "benchmarks: mmlu\ncompare: [./nowhere]",
    "compare-twice": "benchmarks: mmlu\ncompare: [m, m]",
    "model-twice": "benchmarks: mmlu\ncompare: {a: m, a: m}",
    "zero-limit": "benchmarks: mmlu\nlimit: 0",
}

DEPLOYMENTS: Mapping[str, str] = {
    "public-without-key": "host: 0.0.0.0",
    "key-not-set": "api_key_env: SURELY_NOT_SET_KEY",
    "key-is-no-name": "api_key_env: 'a b'",
    "port-text": "port: http",
    "port-too-large": "port: 70000",
    "port-negative": "port: -1",
    "host-unknown": "host: no.such.host.invalid\napi_key_env: HOME",
    "host-spaces": "host: 'a b'\napi_key_env: HOME",
    "two-devices": "engine: builtin\ntensor_parallel_size: 2",
    "unknown-engine": "engine: sglang",
    "zero-concurrency": "max_concurrency: 0",
    "length-beyond-int": "max_model_len: 99999999999999999999",
    "adapter-missing": "adapters: {a: ./nowhere}",
    "adapter-without-name": "adapters: {'': tuned}",
    "adapter-control-name": 'adapters: {"a\\nb": tuned}',
    "adapters-same-name": "adapter: tuned\nadapters: {tuned: tuned}",
    "adapter-named-as-model": "adapters: {m: tuned}",
    "memory-above-one": "gpu_memory_utilization: 1.5",
    "vllm-missing": "engine: vllm\ntensor_parallel_size: 64",
}

TRAIN_STEP = "{name: a, task: train, model: m, hub: local, dataset: rows.jsonl}"

PIPELINES: Mapping[str, str] = {
    "no-steps": "steps: []",
    "steps-text": "steps: train",
    "step-text": "steps: [train]",
    "step-without-task": "steps: [{name: a, model: m}]",
    "unknown-task": "steps: [{name: a, task: fly}]",
    "task-list": "steps: [{name: a, task: [train]}]",
    "nested": "steps: [{name: a, task: pipeline, steps: []}]",
    "same-name": f"steps: [{TRAIN_STEP}, {TRAIN_STEP}]",
    "empty-name": f"steps: [{TRAIN_STEP.replace('name: a', 'name: ')}]",
    "path-name": f"steps: [{TRAIN_STEP.replace('name: a', 'name: ../a')}]",
    "unknown-step": "steps: [{name: a, task: merge, adapter: '${b.adapter}', model: m}]",
    "itself": "steps: [{name: a, task: merge, adapter: '${a.adapter}', model: m}]",
    "later-step": (
        "steps: [{name: a, task: merge, adapter: '${b.adapter}', model: m}, "
        + TRAIN_STEP.replace("name: a", "name: b")
        + "]"
    ),
    "cycle": (
        "steps: [{name: a, task: merge, adapter: '${b.model}', model: m}, "
        "{name: b, task: merge, adapter: '${a.model}', model: m}]"
    ),
    "unknown-output": (
        f"steps: [{TRAIN_STEP}, {{name: b, task: merge, adapter: '${{a.report}}', model: m}}]"
    ),
    "wrong-kind": (
        f"steps: [{TRAIN_STEP}, {{name: b, task: merge, adapter: '${{a.model}}', model: m}}]"
    ),
    "adapter-as-model": (
        f"steps: [{TRAIN_STEP}, {{name: b, task: quantize, model: '${{a.adapter}}'}}]"
    ),
    "report-as-model": (
        "steps: [{name: a, task: evaluate, model: m, hub: local, benchmarks: sample_mmlu}, "
        "{name: b, task: quantize, model: '${a.report}'}]"
    ),
    "no-output": f"steps: [{TRAIN_STEP}, {{name: b, task: merge, adapter: '${{a}}'}}]",
    "open-reference": f"steps: [{TRAIN_STEP}, {{name: b, task: merge, adapter: '${{a.adapter'}}]",
    "broken-model": f"steps: [{TRAIN_STEP.replace('model: m', 'model: broken')}]",
    "broken-adapter": "steps: [{name: a, task: merge, hub: local, adapter: bad, model: m}]",
    "unknown-key": f"steps: [{TRAIN_STEP[:-1]}, speed: 3}}]",
    "unknown-layer": f"steps: [{TRAIN_STEP[:-1]}, target_modules: [x_proj]}}]",
}

CHATS: Mapping[str, str] = {
    "no-prompt": "prompt: null",
    "empty-prompt": "prompt: ''",
    "prompt-list-empty": "prompt: []",
    "no-participant": "model: null",
    "compare-base-of-a-model": "compare: base",
    "compare-missing": "compare: ./nowhere",
    "hot": "temperature: -1",
    "no-tokens": "max_tokens: 0",
}

MERGES: Mapping[str, str] = {
    "shard-size": "max_shard_size: big",
    "zero-shard": "max_shard_size: 0GB",
    "dequantized-without-record": "merge_base: dequantized",
    "no-adapter": "adapter: []",
    "empty-adapter": "adapter: ['']",
    "quantized-base": "model: quantized",
    "unknown-dtype": "dtype: int8",
}


def cases() -> Iterator[BadInput]:
    """Yield the settings of each task that are wrong."""
    for name, lines in TRAININGS.items():
        yield _case(f"train-{name}", YAML, lines)
    for task, group in {"quantize": QUANTIZATIONS, "evaluate": EVALUATIONS}.items():
        for name, lines in group.items():
            yield _case(f"{task}-{name}", TASKS[task], lines)
    for task, group in {"chat": CHATS, "merge": MERGES}.items():
        for name, lines in group.items():
            yield _case(f"{task}-{name}", TASKS[task], lines)
    pairs = {**_case("pairs", YAML, "stage: dpo").files, "rows.jsonl": f"{json.dumps(PAIR)}\n"}
    sft = str(pairs["a.yaml"]).replace("stage: dpo", "stage: sft")
    yield BadInput("train-sft-on-pairs-without-answers", files={**pairs, "a.yaml": sft})


def deployments() -> Iterator[BadInput]:
    """Yield the settings of deployments that are wrong."""
    for name, lines in DEPLOYMENTS.items():
        yield _case(name, TASKS["deploy"], lines)


def pipelines() -> Iterator[BadInput]:
    """Yield the chains of tasks that are wrong."""
    for name, lines in PIPELINES.items():
        yield _case(name, "task: pipeline\n", lines)


def _case(name: str, content: str, lines: str) -> BadInput:
    """Return a case whose lines replace those of the same keys, beside some more folders."""
    keys = {line.partition(":")[0] for line in lines.splitlines()}
    rest = [line for line in content.splitlines() if line.partition(":")[0] not in keys]
    files: dict[str, Content] = {
        "tuned": write_adapter,
        "bad": lambda folder: write_adapter(folder, r=8),
        "broken": lambda folder: write_model(folder, num_attention_heads=0),
        "quantized": lambda folder: write_model(
            folder, quantization_config={"quant_method": "gptq", "bits": 4}
        ),
        "a.yaml": "\n".join([*rest, lines]) + "\n",
    }
    return BadInput(name, files=files)
