"""EvalScope by its own Python: one job per model and benchmark, kept whole as it is done.

Stands alone: it imports nothing of swiftbox. Its one word is the path of a request (JSON); each
job's outcome goes to the file that the job names, and the list of those to the request's "result".
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

LOOK_S = 1.0
LONGEST_SAID = 4000
"""Letters of an answer that are kept: enough to see why it was not read."""

PRIMARY = ("acc", "accuracy")
REFUSED = ("model_length", "unknown", "content_filter")

KEY, JUDGE_KEY = "SWIFTBOX_EVAL_KEY", "SWIFTBOX_JUDGE_KEY"


def main() -> None:
    """Do the jobs of the request, one after the other."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # what was answered is on the disk
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for number, job in enumerate(request["jobs"]):
        tell("asking", job=number)
        began = time.monotonic()
        with Counting(Path(job["work"]) / "predictions", number):
            found = asked(request, job)
        write(Path(job["result"]), {**found, "seconds": round(time.monotonic() - began, 1)})
        tell("answered", job=number, count=len(found["samples"]))
    write(Path(request["result"]), {"done": [job["result"] for job in request["jobs"]]})


def asked(request: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Ask one model one benchmark; return EvalScope's report, and the score of every question."""
    from evalscope import TaskConfig, run_task
    from evalscope.version import __version__

    work = Path(job["work"])
    going_on = (work / "configs" / "task_config.yaml").is_file()
    details = {
        "local_path": job["local_path"],
        "subset_list": job["subsets"],
        "few_shot_num": job["few_shot"],
    }
    run_task(
        TaskConfig(
            model=job["model"],
            model_id=job["model"],
            eval_type="openai_api",
            api_url=request["api_url"],
            api_key=os.environ.get(KEY) or "EMPTY",
            datasets=[job["benchmark"]],
            dataset_args={job["benchmark"]: {k: v for k, v in details.items() if v is not None}},
            dataset_dir=request["cache"],
            dataset_hub=request["hub"],
            eval_batch_size=request["batch_size"],
            generation_config=request["generation"],
            limit=request["limit"],
            seed=request["seed"],
            work_dir=str(work),
            no_timestamp=True,
            use_cache=str(work) if going_on else None,
            # The server's port is part of EvalScope's identity of a run: answers are kept all the
            # same, and scored again.
            rerun_review=going_on,
            collect_perf=False,
            **judge(request),
            **({"sandbox": {"enabled": True, "engine": "docker"}} if job["sandbox"] else {}),
        )
    )
    report = json.loads(next((work / "reports").rglob("*.json")).read_text(encoding="utf-8"))
    return {
        "tool": f"evalscope {__version__}",
        "benchmark": job["benchmark"],
        "tool_score": score_of(report),
        "few_shot": few_shot(work / "configs" / "task_config.yaml", job["benchmark"]),
        "samples": samples(work, job["benchmark"]),
    }


def score_of(report: dict[str, Any]) -> float | None:
    """Return the primary score that EvalScope reports."""
    primary = report.get("primary_metric_identity")
    found = [one for one in report["metrics"] if one["identity"] == primary] or report["metrics"]
    return float(found[0]["score"]) if found else None


def few_shot(snapshot: Path, benchmark: str) -> int | None:
    """Return how many examples EvalScope put before each question."""
    import yaml

    said = yaml.safe_load(snapshot.read_text(encoding="utf-8"))
    found = (said.get("resolved_benchmarks") or {}).get(benchmark, {}).get("few_shot_num")
    return int(found) if found is not None else None


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the judge model, where there is one."""
    said = request.get("judge")
    if not said:
        return {}
    key = os.environ.get(JUDGE_KEY) or "EMPTY"
    return {"judge": {"models": [{**said, "api_key": key, "eval_type": "openai_api"}]}}


def samples(work: Path, benchmark: str) -> list[dict[str, Any]]:
    """Return the score of every question, in EvalScope's order within each subject."""
    found = []
    for path in sorted((work / "reviews").rglob("*.jsonl")):
        subject = path.stem.removeprefix(f"{benchmark}_")
        ends = ends_of(work / "predictions" / path.relative_to(work / "reviews"))
        for row in rows_of(path):
            said = row["sample_score"]["score"]
            values = {k: v for k, v in said["value"].items() if isinstance(v, (int, float))}
            if not values:
                continue  # EvalScope leaves it out of its own score, too
            main = said.get("main_score_name")
            named = next((one for one in (main, *PRIMARY) if one in values), next(iter(values)))
            found.append(
                {
                    "id": f"{subject}/{row['index']}",
                    "subject": subject,
                    "metric": named,
                    "score": float(values[named]),
                    "read": said.get("extracted_prediction"),
                    "expected": ", ".join(row.get("target") or []),
                    "said": (said.get("prediction") or "")[:LONGEST_SAID],
                    "end": ends.get(row["index"]),
                }
            )
    return sorted(found, key=lambda one: (one["subject"], int(one["id"].rpartition("/")[2])))


def ends_of(path: Path) -> dict[int, str]:
    """Return how each answer ended: stop, max_tokens; refused: the server would not take it.

    EvalScope scores a refusal's words as if they were an answer.
    """
    found = {}
    for row in rows_of(path) if path.is_file() else ():
        answer = row["model_output"]
        reasons = [one.get("stop_reason") for one in answer.get("choices") or []]
        reason = str(reasons[0]) if reasons else "unknown"
        found[row["index"]] = "refused" if reason in REFUSED and not answer.get("usage") else reason
    return found


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file that EvalScope adds to; a torn last line is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


class Counting:
    """Tells how many questions of a job have an answer, now and then, while the block lasts."""

    def __init__(self, predictions: Path, job: int) -> None:
        self.predictions, self.job = predictions, job
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def work(self) -> None:
        """Count the lines of the files that EvalScope adds to."""
        before = -1
        while not self.done.wait(LOOK_S):
            files = list(self.predictions.rglob("*.jsonl"))
            count = sum(path.read_bytes().count(b"\n") for path in files)
            if count != before:
                tell("answers", job=self.job, count=count)
            before = count


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
