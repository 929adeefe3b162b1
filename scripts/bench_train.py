"""SFT and DPO against TRL's trainers on the same job: `scripts/bench train [sft|dpo]`.

Each side trains the same rows of the same random model with LoRA in a separate process; the sides
take turns. Measured are rows per second after a warm-up, the peak memory of the process, and the
time from the start of the process to the first step.

As a program, this file is TRL's side; its arguments are those of a Job.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench_models import make_model

WARM_UP = 3
SIDES = {
    "sft": ("ours", "trl", "trl padding_free"),
    "dpo": ("ours", "trl"),
}


class Job(NamedTuple):
    """One training of one side."""

    method: str
    side: str
    model: Path
    data: Path
    out: Path
    batch: int
    steps: int
    dtype: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("method", nargs="?", choices=("sft", "dpo"), help="only this one")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--batch", type=int, default=8, help="rows per batch (default 8)")
    parser.add_argument("--steps", type=int, default=25, help="updates of a run (default 25)")
    parser.add_argument("--dtype", default="float32", help="number type of both sides")


def run(options: argparse.Namespace) -> int:
    """Compare each method with TRL."""
    for method in (options.method,) if options.method else ("sft", "dpo"):
        with tempfile.TemporaryDirectory() as temporary:
            compare(method, Path(temporary), options)
    return 0


def compare(method: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all sides in turn; print a table and the ratios."""
    model = make_model(folder / "model")
    batch = options.batch if method == "sft" else max(1, options.batch // 2)
    count = batch * (options.steps + 2)
    write = write_chats if method == "sft" else write_pairs
    data = write(folder / f"{method}.jsonl", count)
    measurements: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES[method]}
    for turn in range(options.runs):
        for side, runs in measurements.items():
            out = folder / f"{method}-{side.replace(' ', '-')}-{turn}"
            job = Job(method, side, model, data, out, batch, options.steps, options.dtype)
            runs.append(ours(job) if side == "ours" else theirs(job))
    print_table(method, measurements, options, batch)
    return [{"side": side, **run} for side, runs in measurements.items() for run in runs]


def print_table(
    method: str, measurements: dict[str, list[dict[str, float]]], options: Any, batch: int
) -> None:
    """Print the medians, and our ratio to each other side."""
    medians = {
        side: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for side, runs in measurements.items()
    }
    unit = "pairs" if method == "dpo" else "rows"
    print(
        f"{method}, LoRA r 8, {options.dtype}, batches of {batch} {unit}, median of {options.runs}"
    )
    print(
        f"{'':20}{unit + '/s':>10}{'peak':>11}{'of it training':>16}{'first step':>12}{'loss':>9}"
    )
    for side, values in medians.items():
        print(
            f"{side:20}{values['rows_per_s']:>10.2f}{values['peak_bytes'] / 2**20:>7.0f} MiB"
            f"{values['grown_bytes'] / 2**20:>12.0f} MiB{values['first_step_s']:>10.1f} s"
            f"{values['first_loss']:>9.4f}"
        )
    mine = medians["ours"]
    for side, values in medians.items():
        if side == "ours":
            continue
        print(
            f"{'ours / ' + side:20}{mine['rows_per_s'] / values['rows_per_s']:>9.2f}x"
            f"{mine['peak_bytes'] / values['peak_bytes']:>10.2f}x"
            f"{mine['grown_bytes'] / values['grown_bytes']:>15.2f}x"
            f"{mine['first_step_s'] / values['first_step_s']:>11.2f}x"
        )


def ours(job: Job) -> dict[str, float]:
    """Train through `swiftbox run`, at our defaults."""
    values = {
        "task": "train",
        "stage": job.method,
        "hub": "local",
        "model": str(job.model),
        "dataset": str(job.data),
        "dtype": job.dtype,
        "per_device_train_batch_size": job.batch,
        "gradient_accumulation_steps": 1,
        "max_steps": job.steps,
        "save_steps": 0,
        "report_to": "none",
        "gradient_checkpointing": "false",
        "output_dir": str(job.out),
    }
    config = job.out.with_suffix(".yaml")
    config.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    began = time.time()
    child = subprocess.run(
        [sys.executable, "-m", "swiftbox", "run", str(config), "--plain"],
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        raise SystemExit(child.stderr)
    events = [json.loads(line) for line in (job.out / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    before = next(event for event in events if event["event"] == "start")["memory_bytes"]
    return {
        **speed([event["time"] for event in steps], job.batch),
        "peak_bytes": max(event["memory_bytes"] for event in steps),
        "grown_bytes": max(event["memory_bytes"] for event in steps) - before,
        "first_step_s": steps[0]["time"] - began,
        "first_loss": steps[0]["loss"],
    }


def speed(stamps: list[float], batch: int) -> dict[str, float]:
    """Return the rows per second after the warm-up."""
    elapsed = stamps[-1] - stamps[WARM_UP - 1]
    return {"rows_per_s": batch * (len(stamps) - WARM_UP) / elapsed}


def theirs(job: Job) -> dict[str, float]:
    """Train with TRL in a separate process."""
    job.out.mkdir()
    began = time.time()
    child = subprocess.run(
        [sys.executable, __file__, *map(str, job)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"},
    )
    if child.returncode:
        raise SystemExit(child.stderr)
    outcome = json.loads((job.out / "found.json").read_text())
    return {
        **speed(outcome["stamps"], job.batch),
        "peak_bytes": outcome["peak_bytes"],
        "grown_bytes": outcome["peak_bytes"] - outcome["before_bytes"],
        "first_step_s": outcome["stamps"][0] - began,
        "first_loss": outcome["first_loss"],
    }


# ---- data


def write_chats(path: Path, count: int) -> Path:
    """Write chats with log-normal lengths: most are short, a few are long."""
    chooser = random.Random(0)
    vocabulary = (json.__doc__ or "").split()
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            question, answer = (
                max(2, min(120, round(chooser.lognormvariate(mean, 0.8)))) for mean in (2.0, 2.5)
            )
            pick = [chooser.choice(vocabulary) for _ in range(question + answer)]
            messages = [turn("user", pick[:question]), turn("assistant", pick[question:])]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def write_pairs(path: Path, count: int) -> Path:
    """Write preferences with prompts of 150-250 tokens and answers of 30-90."""
    chooser = random.Random(0)
    vocabulary = [word for word in (json.__doc__ or "").split() if word.isalpha()]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            pick = [chooser.choice(vocabulary) for _ in range(400)]
            prompt, chosen, rejected = (
                chooser.randint(*span) for span in ((65, 110), (12, 38), (12, 38))
            )
            row = {
                "prompt": [turn("user", pick[:prompt])],
                "chosen": [turn("assistant", pick[prompt : prompt + chosen])],
                "rejected": [turn("assistant", pick[200 : 200 + rejected])],
            }
            file.write(json.dumps(row) + "\n")
    return path


def turn(role: str, tokens: list[str]) -> dict[str, str]:
    """Return a message."""
    return {"role": role, "content": " ".join(tokens)}


# ---- TRL's side


def main() -> None:
    """Train with TRL and write the measurements."""
    method, side, model, data, out, batch, steps, dtype = sys.argv[1:]
    job = Job(method, side, Path(model), Path(data), Path(out), int(batch), int(steps), dtype)
    outcome: dict[str, Any] = {"stamps": []}
    trainer_of(job, watcher(outcome)).train()
    outcome["peak_bytes"] = peak_bytes()
    (job.out / "found.json").write_text(json.dumps(outcome))


def watcher(outcome: dict[str, Any]) -> Any:
    """Return the callback that records memory, times and the first loss."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            outcome["before_bytes"] = peak_bytes()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            outcome["stamps"].append(time.time())

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            outcome.setdefault("first_loss", (logs or {}).get("loss"))

    return Watcher()


def trainer_of(job: Job, callback: Any) -> Any:
    """Return TRL's trainer for a job."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=str(job.data), split="train", cache_dir=str(job.out))
    settings = trainer_settings(job)
    if job.method == "sft":
        rows = rows.map(
            lambda row: {"prompt": row["messages"][:1], "completion": row["messages"][1:]},
            remove_columns=["messages"],
        )
        joined = job.side.endswith("padding_free")
        if joined:  # its padding_free accepts no limit
            settings["max_length"] = None
        config: Any = SFTConfig(**settings, padding_free=joined)
        trainer_class: Any = SFTTrainer
    else:
        config, trainer_class = DPOConfig(**settings), DPOTrainer
    network = AutoModelForCausalLM.from_pretrained(
        job.model, dtype=getattr(torch, job.dtype), attn_implementation="sdpa"
    )
    lora = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return trainer_class(
        model=network,
        args=config,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(job.model),
        peft_config=lora,
        callbacks=[callback],
    )


def trainer_settings(job: Job) -> dict[str, Any]:
    """Return the settings that both of TRL's trainers share."""
    import torch

    return {
        "output_dir": str(job.out),
        "per_device_train_batch_size": job.batch,
        "gradient_accumulation_steps": 1,
        "max_steps": job.steps,
        "learning_rate": 1e-4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": job.dtype == "bfloat16",
        "disable_tqdm": True,
        "max_length": 2048,
    }


def peak_bytes() -> int:
    """Return the peak memory of the accelerator, else of this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
