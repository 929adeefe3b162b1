"""lm-eval by its own Python: which choice a model finds the likeliest, for each question.

Stands alone: it imports nothing of swiftbox. Its one word is the path of a request (JSON); each
job's outcome goes to the file that the job names, and the list of those to the request's "result".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

LETTERS = "ABCDEFGHIJ"

TEXTS = {
    False: ("The following are multiple choice questions (with answers) about {}.\n\n", "Answer:"),
    True: ("以下是中国关于{}的单项选择题，请选出其中的正确答案。\n\n", "答案："),
}
"""What stands before the questions and after the choices, in English and in Chinese."""


def main() -> None:
    """Do the jobs of the request, one after the other; jobs on one adapter share a model."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    loaded: tuple[Any, Any] = (None, None)
    for number, job in enumerate(request["jobs"]):
        if loaded[1] is None or loaded[0] != job["adapter"]:
            loaded = (job["adapter"], model_of(request, job["adapter"]))
        tell("asking", job=number)
        began = time.monotonic()
        found = asked(loaded[1], job, request)
        write(Path(job["result"]), {**found, "seconds": round(time.monotonic() - began, 1)})
        tell("answered", job=number, count=len(found["samples"]))
    write(Path(request["result"]), {"done": [job["result"] for job in request["jobs"]]})


def model_of(request: dict[str, Any], adapter: str | None) -> Any:
    """Load the weights, with an adapter on them or without."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=request["model"],
        peft=adapter,
        dtype=request["dtype"],
        device=request["device"],
        batch_size=request["batch_size"],
        trust_remote_code=request["trust_remote_code"],
    )


def asked(model: Any, job: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Compare the choices of every question of a benchmark; return the score of each."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    place = Path(job["work"]) / "tasks"
    names, few = written(Path(job["work"]), place, job)
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=list(names),
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
        num_fewshot=few,
        log_samples=True,
        bootstrap_iters=0,
        random_seed=request["seed"],
        numpy_random_seed=request["seed"],
        torch_random_seed=request["seed"],
        fewshot_random_seed=request["seed"],
    )
    samples = [sample(row, names[name], model) for name in names for row in found["samples"][name]]
    counts = {name: len(found["samples"][name]) for name in names}
    right = sum(float(found["results"][name]["acc,none"]) * counts[name] for name in names)
    return {
        "tool": f"lm-eval {lm_eval.__version__}",
        "benchmark": job["benchmark"],
        "few_shot": few,
        "tool_score": right / sum(counts.values()),
        "samples": samples,
    }


def sample(row: dict[str, Any], subject: str, model: Any) -> dict[str, Any]:
    """Return one question: which choice was the likeliest, and which is right."""
    likelihoods = [float(one[0]) for one in row["filtered_resps"]]
    context = row["arguments"][0][0]
    too_long = len(model.tok_encode(context)) >= model.max_length  # its beginning is left out
    return {
        "id": row["doc"]["id"],
        "subject": subject,
        "metric": "acc",
        "score": float(row["acc"]),
        "read": LETTERS[likelihoods.index(max(likelihoods))],
        "expected": LETTERS[row["doc"]["answer"]],
        "said": json.dumps([round(one, 4) for one in likelihoods]),
        "end": "truncated" if too_long else "stop",
    }


def written(work: Path, place: Path, job: dict[str, Any]) -> tuple[dict[str, str], int]:
    """Write one task for each subject; return their names with the subjects, and the examples."""
    place.mkdir(parents=True, exist_ok=True)
    questions, examples = rows_of(work / "questions.jsonl"), rows_of(work / "examples.jsonl")
    subjects = list(dict.fromkeys(one["subject"] for one in questions))
    before = {name: [one for one in examples if one["subject"] == name] for name in subjects}
    few = min([job["few_shot"], *(len(one) for one in before.values())])
    names = {}
    for number, subject in enumerate(subjects):
        own = [one for one in questions if one["subject"] == subject]
        files = {"test": own, "dev": before[subject] or own[:1]}
        for split, rows in files.items():
            docs = [document(one, chinese=job["chinese"]) for one in rows]
            content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in docs)
            (place / f"{number}.{split}.jsonl").write_text(content, encoding="utf-8")
        name = f"swiftbox_{job['benchmark']}_{number}"
        names[name] = subject
        about = TEXTS[job["chinese"]][0].format(subject.replace("_", " "))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {split: str(place / f"{number}.{split}.jsonl") for split in files},
                "cache_dir": str(work / "cache"),
            },
            "test_split": "test",
            "fewshot_split": "dev",
            "fewshot_config": {"sampler": "first_n"},
            "output_type": "multiple_choice",
            "description": about,
            "doc_to_text": "prompt",
            "doc_to_choice": "letters",
            "doc_to_target": "answer",
            "metric_list": [
                {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            ],
        }
        # JSON is YAML.
        (place / f"{name}.yaml").write_text(json.dumps(task, ensure_ascii=False), encoding="utf-8")
    return names, few


def document(row: dict[str, Any], *, chinese: bool) -> dict[str, Any]:
    """Return a question as lm-eval takes it: the words before the answer, and the letters."""
    letters = list(LETTERS[: len(row["choices"])])
    listed = [f"{one}. {choice}" for one, choice in zip(letters, row["choices"], strict=True)]
    prompt = "\n".join([row["question"].strip(), *listed, TEXTS[chinese][1]])
    return {"id": row["id"], "prompt": prompt, "letters": letters, "answer": row["answer"]}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tell(event: str, **fields: Any) -> None:
    """Say an event to whoever started this."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON whole: what is there is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    main()
