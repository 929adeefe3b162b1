"""Requests to the evaluation tools: one for all jobs of a server, or of a set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import DataError
from swiftbox.evaluation import local_data
from swiftbox.evaluation.benchmarks import SelectedBenchmark, cache
from swiftbox.evaluation.candidates import ServedWeights
from swiftbox.evaluation.endpoint import base_of
from swiftbox.evaluation.jobs import Job
from swiftbox.language import text

KEY, JUDGE_KEY = "SWIFTBOX_EVAL_KEY", "SWIFTBOX_JUDGE_KEY"
"""Variables that pass keys to engines/tools/evalscope.py, never through its request file."""

ANSWER_TIMEOUT_S = 1800
"""Seconds for one answer: a busy processor generates a few tokens per second."""

FEW_SHOT = 5
"""Examples before a question if neither the config nor the benchmark sets a number."""


def evalscope_request(config: EvaluateConfig, address: str, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the request to EvalScope, with a job per model and benchmark."""
    return {
        "api_url": address,
        "hub": "modelscope" if config.hub == "local" else config.hub,
        "cache": str(cache()),
        "batch_size": config.batch_size,
        "limit": config.limit,
        "seed": config.seed,
        "generation": {
            "max_tokens": config.max_tokens,
            "temperature": config.temperature,
            "timeout": ANSWER_TIMEOUT_S,
            **_variables(config),
        },
        "judge": _judge(config),
        "jobs": [
            {
                "model": job.candidate.served,
                "benchmark": job.benchmark.row.name,
                "local_path": str(job.benchmark.folder) if job.benchmark.folder else None,
                "subsets": subjects(job.benchmark),
                "few_shot": config.num_fewshot,
                "sandbox": job.benchmark.row.sandbox,
                "work": str(job.work),
                "result": str(job.result),
            }
            for job in jobs
        ],
    }


def _variables(config: EvaluateConfig) -> dict[str, Any]:
    """Return the variables of the template for a request to an endpoint; our servers know them."""
    if config.endpoint is None or not config.chat_template_kwargs:
        return {}
    return {"extra_body": {"chat_template_kwargs": config.chat_template_kwargs}}


def _judge(config: EvaluateConfig) -> dict[str, Any] | None:
    if config.judge_endpoint is None:
        return None
    return {"model_id": config.judge_model, "api_url": base_of(config.judge_endpoint)}


def subjects(benchmark: SelectedBenchmark) -> list[str] | None:
    """Return the subjects in a data folder; None stands for all subjects of the benchmark."""
    if benchmark.folder is None:
        return None
    try:
        names = [question.subject for question in local_data.questions(benchmark.folder)]
    except DataError:
        return None
    return list(dict.fromkeys(names))


def lm_eval_request(
    config: EvaluateConfig, served: ServedWeights, jobs: Sequence[Job], device: str
) -> dict[str, Any]:
    """Return the request to lm-eval; writes the questions into the working folders."""
    rows = []
    for job in jobs:
        work = job.work
        work.mkdir(parents=True, exist_ok=True)
        folder = job.benchmark.folder
        if folder is None:
            raise _no_data(job.benchmark.name)
        questions = local_data.questions(folder, config.limit)
        (work / "questions.jsonl").write_text(local_data.as_json(questions), "utf-8")
        (work / "examples.jsonl").write_text(
            local_data.as_json(local_data.examples(folder)), "utf-8"
        )
        few_shot = config.num_fewshot
        rows.append(
            {
                "benchmark": job.benchmark.name,
                "chinese": "Chinese" in job.benchmark.row.tags,
                "adapter": served.adapters.get(job.candidate.served),
                "few_shot": (job.benchmark.row.few_shot or FEW_SHOT)
                if few_shot is None
                else few_shot,
                "work": str(work),
                "result": str(job.result),
            }
        )
    return {
        "model": served.model,
        "dtype": config.dtype,
        "device": device,
        "trust_remote_code": config.trust_remote_code,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "limit": config.limit,
        "jobs": rows,
    }


def _no_data(name: str) -> DataError:
    return DataError(
        text(f"{name}: no data", f"{name}：没有数据"),
        hint=text("set benchmark_dir to the folder of the data", "请把 benchmark_dir 设为数据目录"),
    )
