"""Our SFT and DPO against TRL's trainers on the same job: `scripts/bench train [sft|dpo]`.

Each side trains the same rows of the same random model with LoRA in a process of its own; the
sides take turns. Rows per second are measured after warming up, the peak of memory over the whole
process, and the time to the first step from the start of the process.

Run as a program it is TRL's side; its arguments are those of a Job.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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


def compare(
    method: str, folder: Path, make_model: Callable[[Path], Path], options: Any
) -> list[dict[str, Any]]:
    """Measure all sides in turn; print a table and the ratios."""
    model = make_model(folder / "model")
    batch = options.batch if method == "sft" else max(1, options.batch // 2)
    count = batch * (options.steps + 2)
    write = write_chats if method == "sft" else write_pairs
    data = write(folder / f"{method}.jsonl", count)
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES[method]}
    for turn in range(options.runs):
        for side, runs in found.items():
            out = folder / f"{method}-{side.replace(' ', '-')}-{turn}"
            job = Job(method, side, model, data, out, batch, options.steps, options.dtype)
            runs.append(ours(job) if side == "ours" else theirs(job))
    table(method, found, options, batch)
    return [{"side": side, **one} for side, runs in found.items() for one in runs]


def table(method: str, found: dict[str, list[dict[str, float]]], options: Any, batch: int) -> None:
    """Print medians, and what ours is to each other side."""
    middle = {
        side: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for side, runs in found.items()
    }
    unit = "pairs" if method == "dpo" else "rows"
    print(
        f"{method}, LoRA r 8, {options.dtype}, batches of {batch} {unit}, median of {options.runs}"
    )
    print(
        f"{'':20}{unit + '/s':>10}{'peak':>11}{'of it training':>16}{'first step':>12}{'loss':>9}"
    )
    for side, one in middle.items():
        print(
            f"{side:20}{one['rows_per_s']:>10.2f}{one['peak_bytes'] / 2**20:>7.0f} MiB"
            f"{one['grown_bytes'] / 2**20:>12.0f} MiB{one['first_step_s']:>10.1f} s"
            f"{one['first_loss']:>9.4f}"
        )
    mine = middle["ours"]
    for side, one in middle.items():
        if side == "ours":
            continue
        print(
            f"{'ours / ' + side:20}{mine['rows_per_s'] / one['rows_per_s']:>9.2f}x"
            f"{mine['peak_bytes'] / one['peak_bytes']:>10.2f}x"
            f"{mine['grown_bytes'] / one['grown_bytes']:>15.2f}x"
            f"{mine['first_step_s'] / one['first_step_s']:>11.2f}x"
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
    steps = [one for one in events if one["event"] == "step"]
    before = next(one for one in events if one["event"] == "start")["memory_bytes"]
    return {
        **speed([one["time"] for one in steps], job.batch),
        "peak_bytes": max(one["memory_bytes"] for one in steps),
        "grown_bytes": max(one["memory_bytes"] for one in steps) - before,
        "first_step_s": steps[0]["time"] - began,
        "first_loss": steps[0]["loss"],
    }


def speed(stamps: list[float], batch: int) -> dict[str, float]:
    """Return the rows per second after warming up."""
    elapsed = stamps[-1] - stamps[WARM_UP - 1]
    return {"rows_per_s": batch * (len(stamps) - WARM_UP) / elapsed}


def theirs(job: Job) -> dict[str, float]:
    """Train with TRL in a process of its own."""
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
    found = json.loads((job.out / "found.json").read_text())
    return {
        **speed(found["stamps"], job.batch),
        "peak_bytes": found["peak_bytes"],
        "grown_bytes": found["peak_bytes"] - found["before_bytes"],
        "first_step_s": found["stamps"][0] - began,
        "first_loss": found["first_loss"],
    }


# ---- data


def write_chats(path: Path, count: int) -> Path:
    """Write chats whose lengths spread as chats do: most short, a few long (log-normal)."""
    chooser = random.Random(0)
    words = (json.__doc__ or "").split()
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            asked, said = (
                max(2, min(120, round(chooser.lognormvariate(mean, 0.8)))) for mean in (2.0, 2.5)
            )
            pick = [chooser.choice(words) for _ in range(asked + said)]
            messages = [turn("user", pick[:asked]), turn("assistant", pick[asked:])]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def write_pairs(path: Path, count: int) -> Path:
    """Write preferences with prompts of 150-250 tokens and answers of 30-90."""
    chooser = random.Random(0)
    words = [word for word in (json.__doc__ or "").split() if word.isalpha()]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            pick = [chooser.choice(words) for _ in range(400)]
            asked, said, other = (
                chooser.randint(*span) for span in ((65, 110), (12, 38), (12, 38))
            )
            row = {
                "prompt": [turn("user", pick[:asked])],
                "chosen": [turn("assistant", pick[asked : asked + said])],
                "rejected": [turn("assistant", pick[200 : 200 + other])],
            }
            file.write(json.dumps(row) + "\n")
    return path


def turn(role: str, words: list[str]) -> dict[str, str]:
    """Return a message."""
    return {"role": role, "content": " ".join(words)}


# ---- TRL's side


def main() -> None:
    """Train with TRL and write what was measured."""
    method, side, model, data, out, batch, steps, dtype = sys.argv[1:]  # a Job
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    found: dict[str, Any] = {"stamps": []}

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            found["before_bytes"] = peak_bytes()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            found["stamps"].append(time.time())

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            found.setdefault("first_loss", (logs or {}).get("loss"))

    rows = load_dataset("json", data_files=data, split="train", cache_dir=out)
    common = {
        "output_dir": out,
        "per_device_train_batch_size": int(batch),
        "gradient_accumulation_steps": 1,
        "max_steps": int(steps),
        "learning_rate": 1e-4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": dtype == "bfloat16",
        "disable_tqdm": True,
        "max_length": 2048,
    }
    if method == "sft":
        rows = rows.map(
            lambda row: {"prompt": row["messages"][:1], "completion": row["messages"][1:]},
            remove_columns=["messages"],
        )
        joined = side.endswith("padding_free")
        common["max_length"] = None if joined else 2048  # its padding_free takes no limit
        config: Any = SFTConfig(**common, padding_free=joined)
        trainer_class: Any = SFTTrainer
    else:
        config, trainer_class = DPOConfig(**common), DPOTrainer
    network = AutoModelForCausalLM.from_pretrained(
        model, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    trainer = trainer_class(
        model=network,
        args=config,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(
            r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[Watch()],
    )
    trainer.train()
    found["peak_bytes"] = peak_bytes()
    Path(out, "found.json").write_text(json.dumps(found))


def peak_bytes() -> int:
    """Return the peak memory of the accelerator, else of this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
