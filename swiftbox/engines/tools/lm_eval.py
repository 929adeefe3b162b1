"""Run lm-eval in its own environment: which choice a model finds likeliest, per question.

Imports nothing of swiftbox. Its only argument is the path of a request in JSON; each job's outcome
is written to the file that the job names, and the list of these files to request["result"].
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
"""The text before the questions and after the choices, in English and in Chinese."""


def main() -> None:
    """Run the jobs of the request in order; consecutive jobs on one adapter share a model."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    loaded: tuple[Any, Any] = (None, None)
    for number, job in enumerate(request["jobs"]):
        if loaded[1] is None or loaded[0] != job["adapter"]:
            loaded = (job["adapter"], load_model(request, job["adapter"]))
        print_event("asking", job=number)
        started = time.monotonic()
        outcome = evaluate(loaded[1], job, request)
        seconds = round(time.monotonic() - started, 1)
        write_json(Path(job["result"]), {**outcome, "seconds": seconds})
        print_event("answered", job=number, count=len(outcome["samples"]))
    write_json(Path(request["result"]), {"done": [job["result"] for job in request["jobs"]]})


def load_model(request: dict[str, Any], adapter: str | None) -> Any:
    """Load the model, with an adapter or without."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=request["model"],
        peft=adapter,
        dtype=request["dtype"],
        device=request["device"],
        batch_size=request["batch_size"],
        trust_remote_code=request["trust_remote_code"],
    )


def evaluate(model: Any, job: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Compare the choices of every question of a benchmark; return the score of each."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    folder = Path(job["work"]) / "tasks"
    subjects, few_shot = write_tasks(Path(job["work"]), folder, job)
    results = lm_eval.simple_evaluate(
        model=model,
        tasks=list(subjects),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=few_shot,
        log_samples=True,
        bootstrap_iters=0,
        random_seed=request["seed"],
        numpy_random_seed=request["seed"],
        torch_random_seed=request["seed"],
        fewshot_random_seed=request["seed"],
    )
    samples = [
        sample(row, subject, model)
        for task, subject in subjects.items()
        for row in results["samples"][task]
    ]
    counts = {task: len(results["samples"][task]) for task in subjects}
    correct = sum(float(results["results"][task]["acc,none"]) * counts[task] for task in subjects)
    return {
        "tool": f"lm-eval {lm_eval.__version__}",
        "benchmark": job["benchmark"],
        "few_shot": few_shot,
        "tool_score": correct / sum(counts.values()),
        "samples": samples,
    }


def sample(row: dict[str, Any], subject: str, model: Any) -> dict[str, Any]:
    """Return one question: which choice was the likeliest, and which is correct."""
    likelihoods = [float(response[0]) for response in row["filtered_resps"]]
    context = row["arguments"][0][0]
    too_long = len(model.tok_encode(context)) >= model.max_length  # lm-eval cuts its beginning
    return {
        "id": row["doc"]["id"],
        "subject": subject,
        "metric": "acc",
        "score": float(row["acc"]),
        "read": LETTERS[likelihoods.index(max(likelihoods))],
        "expected": LETTERS[row["doc"]["answer"]],
        "said": json.dumps([round(likelihood, 4) for likelihood in likelihoods]),
        "end": "truncated" if too_long else "stop",
    }


def write_tasks(work: Path, folder: Path, job: dict[str, Any]) -> tuple[dict[str, str], int]:
    """Write one task per subject; return the subject of each task, and the number of examples."""
    folder.mkdir(parents=True, exist_ok=True)
    questions, examples = rows_of(work / "questions.jsonl"), rows_of(work / "examples.jsonl")
    subjects = list(dict.fromkeys(row["subject"] for row in questions))
    shots = {name: [row for row in examples if row["subject"] == name] for name in subjects}
    few_shot = min([job["few_shot"], *(len(rows) for rows in shots.values())])
    tasks = {}
    for number, subject in enumerate(subjects):
        rows = [row for row in questions if row["subject"] == subject]
        splits = {"test": rows, "dev": shots[subject] or rows[:1]}
        files = {split: folder / f"{number}.{split}.jsonl" for split in splits}
        for split, path in files.items():
            documents = [document(row, chinese=job["chinese"]) for row in splits[split]]
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in documents)
            path.write_text("".join(lines), encoding="utf-8")
        name = f"swiftbox_{job['benchmark']}_{number}"
        tasks[name] = subject
        task = task_of(name, TEXTS[job["chinese"]][0].format(subject.replace("_", " ")))
        task["dataset_kwargs"] = {
            "data_files": {split: str(path) for split, path in files.items()},
            "cache_dir": str(work / "cache"),
        }
        # JSON is YAML.
        (folder / f"{name}.yaml").write_text(json.dumps(task, ensure_ascii=False), encoding="utf-8")
    return tasks, few_shot


def task_of(name: str, description: str) -> dict[str, Any]:
    """Return a task of lm-eval whose choices are letters, without its data."""
    return {
        "task": name,
        "dataset_path": "json",
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "output_type": "multiple_choice",
        "description": description,
        "doc_to_text": "prompt",
        "doc_to_choice": "letters",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def document(row: dict[str, Any], *, chinese: bool) -> dict[str, Any]:
    """Return a question in lm-eval's form: the prompt up to the answer, and the letters."""
    letters = list(LETTERS[: len(row["choices"])])
    listed = [f"{letter}. {choice}" for letter, choice in zip(letters, row["choices"], strict=True)]
    prompt = "\n".join([row["question"].strip(), *listed, TEXTS[chinese][1]])
    return {"id": row["id"], "prompt": prompt, "letters": letters, "answer": row["answer"]}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def print_event(event: str, **fields: Any) -> None:
    """Print an event for the process that started this one."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically: a file that exists is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
