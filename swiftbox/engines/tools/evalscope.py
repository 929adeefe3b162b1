"""Run EvalScope in its own environment: one job per model and benchmark.

Imports nothing of swiftbox. Its only argument is the path of a request in JSON; each job's outcome
is written to the file that the job names, and the list of these files to request["result"].
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

POLL_S = 1.0
MAX_ANSWER_LETTERS = 4000
"""Letters of an answer in the record: enough to see why no choice was extracted from it."""

PRIMARY = ("acc", "accuracy")
REFUSED = ("model_length", "unknown", "content_filter")

KEY, JUDGE_KEY = "SWIFTBOX_EVAL_KEY", "SWIFTBOX_JUDGE_KEY"


def main() -> None:
    """Run the jobs of the request in order."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # answers so far are on the disk
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for number, job in enumerate(request["jobs"]):
        print_event("asking", job=number)
        started = time.monotonic()
        with AnswerCounter(Path(job["work"]) / "predictions", number):
            outcome = evaluate(request, job)
        seconds = round(time.monotonic() - started, 1)
        write_json(Path(job["result"]), {**outcome, "seconds": seconds})
        print_event("answered", job=number, count=len(outcome["samples"]))
    write_json(Path(request["result"]), {"done": [job["result"] for job in request["jobs"]]})


def evaluate(request: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Evaluate one model on one benchmark; return EvalScope's score and that of every question."""
    from evalscope import run_task
    from evalscope.version import __version__

    work = Path(job["work"])
    try:
        run_task(task_config(request, job))
    finally:
        forget_keys(work)
    report = json.loads(next((work / "reports").rglob("*.json")).read_text(encoding="utf-8"))
    return {
        "tool": f"evalscope {__version__}",
        "benchmark": job["benchmark"],
        "tool_score": score_of(report),
        "few_shot": few_shot(work / "configs" / "task_config.yaml", job["benchmark"]),
        "samples": samples(work, job["benchmark"]),
    }


def forget_keys(work: Path) -> None:
    """Replace the keys in the settings and logs that EvalScope has written."""
    keys = {os.environ[name]: f"${name}" for name in (KEY, JUDGE_KEY) if os.environ.get(name)}
    for pattern in ("configs/**/*", "logs/**/*"):
        for path in work.glob(pattern):
            if not path.is_file():
                continue
            content = shown = path.read_text(encoding="utf-8", errors="surrogateescape")
            for key, name in keys.items():
                shown = shown.replace(key, name)
            if shown != content:
                path.write_text(shown, encoding="utf-8", errors="surrogateescape")


def task_config(request: dict[str, Any], job: dict[str, Any]) -> Any:
    """Return EvalScope's settings of a job; answers of an interrupted job are used again."""
    from evalscope import TaskConfig

    work = Path(job["work"])
    is_resumed = (work / "configs" / "task_config.yaml").is_file()
    dataset_args = {
        "local_path": job["local_path"],
        "subset_list": job["subsets"],
        "few_shot_num": job["few_shot"],
    }
    return TaskConfig(
        model=job["model"],
        model_id=job["model"],
        eval_type="openai_api",
        api_url=request["api_url"],
        api_key=os.environ.get(KEY) or "EMPTY",
        datasets=[job["benchmark"]],
        dataset_args={job["benchmark"]: {k: v for k, v in dataset_args.items() if v is not None}},
        dataset_dir=request["cache"],
        dataset_hub=request["hub"],
        eval_batch_size=request["batch_size"],
        generation_config=request["generation"],
        limit=request["limit"],
        seed=request["seed"],
        work_dir=str(work),
        no_timestamp=True,
        use_cache=str(work) if is_resumed else None,
        # The server's port is part of EvalScope's identity of a run: the answers are reused
        # nevertheless, and scored again.
        rerun_review=is_resumed,
        collect_perf=False,
        **judge(request),
        **({"sandbox": {"enabled": True, "engine": "docker"}} if job["sandbox"] else {}),
    )


def score_of(report: dict[str, Any]) -> float | None:
    """Return the primary score that EvalScope reports."""
    primary = report.get("primary_metric_identity")
    metrics = [metric for metric in report["metrics"] if metric["identity"] == primary]
    metrics = metrics or report["metrics"]
    return float(metrics[0]["score"]) if metrics else None


def few_shot(snapshot: Path, benchmark: str) -> int | None:
    """Return how many examples EvalScope put before each question."""
    import yaml

    settings = yaml.safe_load(snapshot.read_text(encoding="utf-8"))
    count = (settings.get("resolved_benchmarks") or {}).get(benchmark, {}).get("few_shot_num")
    return int(count) if count is not None else None


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the judge model, if there is one."""
    settings = request.get("judge")
    if not settings:
        return {}
    key = os.environ.get(JUDGE_KEY) or "EMPTY"
    return {"judge": {"models": [{**settings, "api_key": key, "eval_type": "openai_api"}]}}


def samples(work: Path, benchmark: str) -> list[dict[str, Any]]:
    """Return the score of every question, in EvalScope's order within each subject."""
    rows = []
    for path in sorted((work / "reviews").rglob("*.jsonl")):
        subject = path.stem.removeprefix(f"{benchmark}_")
        endings = endings_of(work / "predictions" / path.relative_to(work / "reviews"))
        for row in rows_of(path):
            score = row["sample_score"]["score"]
            values = {k: v for k, v in score["value"].items() if isinstance(v, (int, float))}
            if not values:
                continue  # EvalScope leaves it out of its score, too
            names = (score.get("main_score_name"), *PRIMARY)
            metric = next((name for name in names if name in values), next(iter(values)))
            rows.append(
                {
                    "id": f"{subject}/{row['index']}",
                    "subject": subject,
                    "metric": metric,
                    "score": float(values[metric]),
                    "read": score.get("extracted_prediction"),
                    "expected": ", ".join(row.get("target") or []),
                    "said": (score.get("prediction") or "")[:MAX_ANSWER_LETTERS],
                    "end": endings.get(row["index"]),
                }
            )
    return sorted(rows, key=lambda row: (row["subject"], int(row["id"].rpartition("/")[2])))


def endings_of(path: Path) -> dict[int, str]:
    """Return how each answer ended: stop, max_tokens, or refused by the server.

    EvalScope scores the text of a refusal as if it were an answer.
    """
    endings = {}
    for row in rows_of(path) if path.is_file() else ():
        answer = row["model_output"]
        reasons = [choice.get("stop_reason") for choice in answer.get("choices") or []]
        reason = str(reasons[0]) if reasons else "unknown"
        is_refused = reason in REFUSED and not answer.get("usage")
        endings[row["index"]] = "refused" if is_refused else reason
    return endings


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file that EvalScope appends to; a torn last line is skipped."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


class AnswerCounter:
    """Reports how many questions of a job are answered, every second, inside a `with` block."""

    def __init__(self, predictions: Path, job: int) -> None:
        self.predictions, self.job = predictions, job
        self.finished = threading.Event()
        self.thread = threading.Thread(target=self.count, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.finished.set()
        self.thread.join()

    def count(self) -> None:
        """Count the lines of the files that EvalScope appends to."""
        before = -1
        while not self.finished.wait(POLL_S):
            files = list(self.predictions.rglob("*.jsonl"))
            count = sum(path.read_bytes().count(b"\n") for path in files)
            if count != before:
                print_event("answers", job=self.job, count=count)
            before = count


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
