"""What the tools are asked: one request for all that one server, or one set of weights, answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import DataError
from swiftbox.evaluation import local_data
from swiftbox.evaluation.benchmarks import Asked, cache
from swiftbox.evaluation.candidates import Served
from swiftbox.evaluation.endpoint import base_of
from swiftbox.evaluation.results import Job

KEY, JUDGE_KEY = "SWIFTBOX_EVAL_KEY", "SWIFTBOX_JUDGE_KEY"
"""Variables by which engines/tools/evalscope.py is given keys: never by its request's file."""

ANSWERED_WITHIN_S = 1800
"""For one answer: a loaded processor writes few tokens in a second."""

FEW_SHOT = 5
"""Examples where neither the file nor the benchmark says how many."""


def by_answers(config: EvaluateConfig, address: str, todo: Sequence[Job]) -> dict[str, Any]:
    """Return the request to EvalScope: a job for each model and benchmark."""
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
            "timeout": ANSWERED_WITHIN_S,
        },
        "judge": _judge(config),
        "jobs": [
            {
                "model": one.candidate.served,
                "benchmark": one.asked.row.name,
                "local_path": str(one.asked.folder) if one.asked.folder else None,
                "subsets": subjects(one.asked),
                "few_shot": config.num_fewshot,
                "sandbox": one.asked.row.sandbox,
                "work": str(one.work),
                "result": str(one.result),
            }
            for one in todo
        ],
    }


def _judge(config: EvaluateConfig) -> dict[str, Any] | None:
    if config.judge_endpoint is None:
        return None
    return {"model_id": config.judge_model, "api_url": base_of(config.judge_endpoint)}


def subjects(asked: Asked) -> list[str] | None:
    """Return the subjects that a folder has; None: all of the benchmark's."""
    if asked.folder is None:
        return None
    try:
        found = [one.subject for one in local_data.questions(asked.folder)]
    except DataError:
        return None
    return list(dict.fromkeys(found))


def by_likelihood(
    config: EvaluateConfig, served: Served, todo: Sequence[Job], device: str
) -> dict[str, Any]:
    """Return the request to lm-eval; questions go beside it, one to a line."""
    found = []
    for one in todo:
        place = one.work
        place.mkdir(parents=True, exist_ok=True)
        folder = one.asked.folder
        if folder is None:
            raise DataError(f"{one.asked.name}: no data")
        questions = local_data.questions(folder, config.limit)
        (place / "questions.jsonl").write_text(local_data.as_json(questions), "utf-8")
        (place / "examples.jsonl").write_text(
            local_data.as_json(local_data.examples(folder)), "utf-8"
        )
        few = config.num_fewshot
        found.append(
            {
                "benchmark": one.asked.name,
                "chinese": "Chinese" in one.asked.row.tags,
                "adapter": served.adapters.get(one.candidate.served),
                "few_shot": (one.asked.row.few_shot or FEW_SHOT) if few is None else few,
                "work": str(place),
                "result": str(one.result),
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
        "jobs": found,
    }
