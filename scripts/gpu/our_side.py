"""Our side of a comparison: plan, check and train in this process, as a run does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gpu.models import model_folder
from gpu.rows import RowWriter
from gpu.settings import Settings
from gpu.timing import free_memory, peak_bytes
from gpu.training_jobs import WARM_UP_UPDATES, TrainingJob


def write_rows(job: TrainingJob, settings: Settings) -> tuple[Path, RowWriter]:
    """Write the rows of a job: equal for both sides."""
    from transformers import AutoTokenizer

    writer = RowWriter(AutoTokenizer.from_pretrained(model_folder(job.size, settings)))
    path = settings.folder / f"{job.stage}-{job.kind}-{job.rows}.jsonl"
    count = job.rows * job.updates
    writer.write(path, job.kind, count, pairs=job.stage == "dpo")
    return path, writer


def write_config(job: TrainingJob, settings: Settings, out: Path) -> Path:
    """Write the YAML that a user would write: batch, recomputation and attention are auto."""
    model, (data, writer) = model_folder(job.size, settings), write_rows(job, settings)
    values: dict[str, Any] = {
        "task": "train",
        "stage": job.stage,
        "hub": "local",
        "model": str(model),
        "dataset": str(data),
        "tuner_type": job.tuner,
        "lora_rank": 16,
        "per_device_train_batch_size": "auto",
        "gradient_accumulation_steps": job.rows,
        "max_length": max(writer.lengths) // (2 if job.stage == "dpo" else 1),
        "max_steps": job.updates,
        "val_size": 0,
        "save_steps": 0,
        "logging_steps": 1,
        "report_to": "none",
        "dtype": "auto",
        "output_dir": str(out),
        **dict(job.keys),
    }
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
    return path


def train(job: TrainingJob, settings: Settings, out: Path) -> dict[str, Any]:
    """Train; return rates, the peak, and what the estimate predicted of both."""
    from swiftbox.launch.prepare import prepare
    from swiftbox.launch.record import record
    from swiftbox.runs.stop import STOP
    from swiftbox.tasks import TASKS

    STOP.requested.clear()
    STOP.can_save.clear()
    prepared = prepare(write_config(job, settings, out))
    folder = record(prepared).folder
    stamps: list[float] = []
    losses: list[float] = []
    recorded: dict[str, Any] = {}

    def emit(event: str, **fields: Any) -> None:
        if event in ("loaded", "first_step", "smaller_batch"):
            recorded[event] = fields
        if event == "step":
            stamps.append(time.time())
            losses.append(fields["loss"])

    free_memory(settings.device)
    began = time.time()
    TASKS["train"].run(prepared.plan.config, folder, emit)
    settled = prepared.plan.config.model_dump(mode="json")
    return {
        **rates(stamps, job),
        "first_step_s": stamps[0] - began,
        "losses": losses,
        "events": recorded,
        "peak_bytes": peak_bytes(settings.device),
        **predicted(prepared, job),
        "settled": {key: settled.get(key) for key in SETTLED},
    }


SETTLED = (
    "per_device_train_batch_size gradient_accumulation_steps gradient_checkpointing optim dtype "
    "attn_implementation padding_free activation_offload"
).split()


def rates(stamps: list[float], job: TrainingJob) -> dict[str, float]:
    """Return the seconds of an update and the rows per second after the warm-up."""
    elapsed = stamps[-1] - stamps[WARM_UP_UPDATES - 1]
    updates = len(stamps) - WARM_UP_UPDATES
    return {"update_s": elapsed / updates, "rows_per_s": job.rows * updates / elapsed}


def predicted(prepared: Any, job: TrainingJob) -> Mapping[str, Any]:
    """Return the peak and the seconds of an update that the estimate predicts."""
    estimate = prepared.estimate
    if estimate is None:
        return {"predicted_bytes": None, "predicted_update_s": None}
    duration = estimate.duration
    return {
        "predicted_bytes": estimate.verdict.memory.allocated,
        "predicted_update_s": duration.seconds / job.updates if duration else None,
    }
