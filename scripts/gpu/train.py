"""Trainings: ours and TRL's alternately, then ours for all shapes; rates, peaks, the estimate."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu.figures import Recorder, median_error
from gpu.models import model_folder, shape_of, training_flop
from gpu.our_side import write_rows
from gpu.rows import RowWriter
from gpu.settings import Settings
from gpu.training_jobs import TrainingJob, compared_jobs, key_jobs, our_jobs
from gpu.workers import Worker

FASTER = {("sft", "chat"): ">= 2", ("sft", "2048"): ">= 1.3", ("dpo", "1024"): ">= 1.7"}
"""How many times TRL's rate ours has to be, by stage and kind of rows."""


def rated_flops() -> float:
    """Return the rated 16-bit FLOP per second of the device; 0 if it is not in the table."""
    from swiftbox.devices.accelerators import find_accelerator
    from swiftbox.devices.probe import probe

    devices = probe(Path.cwd()).devices
    row = find_accelerator(devices[0].name, devices[0].memory_bytes) if devices else None
    return row.flops if row else 0.0


class Trainings:
    """Runs jobs on both sides and records the figures."""

    def __init__(self, recorder: Recorder, settings: Settings, *, compiler: bool = False) -> None:
        self.recorder = recorder
        self.settings = settings
        self.rated = 0.0 if settings.device == "cpu" else rated_flops()
        self.estimates: list[tuple[float, float]] = []
        self.times: list[tuple[float, float]] = []
        variables = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
        home = str(settings.folder / "home")
        compiles = {} if compiler else {"TORCHDYNAMO_DISABLE": "1"}
        self.ours = Worker("ours", settings, {**variables, **compiles, "SWIFTBOX_HOME": home})
        self.trl = Worker("trl", settings, {**variables, "HF_HUB_OFFLINE": "1"})

    def run_ours(self, job: TrainingJob) -> dict[str, Any]:
        """Run our side of a job; record its figures."""
        result = self.ours.answer(job)
        if "error" in result:
            self.recorder.record(f"{job.name}: ours", None, note=result["error"], raw=result)
            return result
        _, writer = write_rows(job, self.settings)
        per_row = sum(writer.lengths) / len(writer.lengths)
        raw = {**result, "tokens_per_row": per_row}
        unit = "pairs/s" if job.stage == "dpo" else "rows/s"
        self.recorder.record(f"{job.name}: rows", result["rows_per_s"], unit, raw=raw)
        self.recorder.record(f"{job.name}: tokens", result["rows_per_s"] * per_row, "tokens/s")
        self.recorder.record(f"{job.name}: peak", result["peak_bytes"] / 2**30, "GiB")
        if job.stage == "sft":
            self.record_utilization(job, result, writer)
        self.compare_estimate(job, result)
        return result

    def record_utilization(self, job: TrainingJob, result: dict[str, Any], rows: RowWriter) -> None:
        """Record the model FLOP per second as a share of the rated rate."""
        shape = shape_of(job.size, self.settings)
        total = training_flop(shape, job.tuner, rows.lengths, sum(rows.learned))
        rate = total / len(rows.lengths) * result["rows_per_s"]
        has_target = (job.size, job.tuner, job.kind) == ("8B", "lora", "2048")
        self.recorder.record(
            f"{job.name}: model FLOP utilization",
            rate / self.rated if self.rated else None,
            target=">= 0.4" if has_target and self.rated else "",
            raw={"flop_per_s": rate, "rated": self.rated},
        )

    def compare_estimate(self, job: TrainingJob, result: dict[str, Any]) -> None:
        """Record the estimate over the measured peak and time."""
        for key, unit, pairs in (
            ("peak_bytes", "predicted_bytes", self.estimates),
            ("update_s", "predicted_update_s", self.times),
        ):
            if result.get(unit) and result.get(key):
                pairs.append((result[unit], result[key]))
                name = "peak" if key == "peak_bytes" else "time"
                self.recorder.record(
                    f"{job.name}: estimate / {name}", result[unit] / result[key], "x", check=15
                )

    def compare(self, job: TrainingJob) -> None:
        """Run a job on both sides; record the ratios to the best of TRL's settings."""
        variants = [job]
        if job.stage == "sft" and job.kind == "chat":
            variants += [replace(job, padding_free=True), replace(job, packing=True)]
        ours = self.run_ours(job)
        theirs = {variant: self.trl.answer(variant) for variant in variants}
        for variant, result in theirs.items():
            kind = " padding_free" * variant.padding_free + " packing" * variant.packing
            name = f"{job.name}: TRL{kind}"
            self.recorder.record(
                name, result.get("rows_per_s"), "rows/s", note=result.get("error", ""), raw=result
            )
        valid = [result for result in theirs.values() if "error" not in result]
        if "error" in ours or not valid:
            return
        best = max(valid, key=lambda result: result["rows_per_s"])
        on_device = self.settings.device != "cpu"
        target = FASTER.get((job.stage, job.kind), "") if on_device else ""
        rate = ours["rows_per_s"] / best["rows_per_s"]
        self.recorder.record(f"{job.name}: ours / TRL, rows/s", rate, "x", target=target)
        peak = ours["peak_bytes"] / best["peak_bytes"]
        limit = "<= 0.7" if on_device else ""
        self.recorder.record(f"{job.name}: ours / TRL, peak", peak, "x", target=limit)

    def finish(self) -> None:
        """Record the median error of the estimate; end the processes."""
        self.ours.close()
        self.trl.close()
        target = "<= 0.1" if self.settings.device != "cpu" else ""
        for name, pairs in (("peak", self.estimates), ("time", self.times)):
            error = median_error(pairs)
            self.recorder.record(
                f"estimate of the {name}, median error of {len(pairs)}", error, target=target
            )


def measure_compared(recorder: Recorder, settings: Settings) -> None:
    """Compare with TRL."""
    trainings = Trainings(recorder, settings)
    trainings.ours.start()
    trainings.trl.start()
    try:
        for job in compared_jobs(tiny=settings.tiny):
            if settings.seconds_left() < 20 and not settings.tiny:
                recorder.record(job.name, None, note="not run: no time left")
                continue
            model_folder(job.size, settings)
            trainings.compare(job)
    finally:
        trainings.finish()


def measure_ours(recorder: Recorder, settings: Settings) -> None:
    """Measure our side for the other shapes."""
    run_jobs(our_jobs(tiny=settings.tiny), Trainings(recorder, settings))


def measure_keys(recorder: Recorder, settings: Settings) -> None:
    """Measure the settings that save time or memory, against what auto chooses."""
    trainings = Trainings(recorder, settings, compiler=True)
    jobs = [job for job in key_jobs(tiny=settings.tiny) if is_installed(job)]
    results = run_jobs(jobs, trainings)
    plain = next((result for job, result in results.items() if not job.keys), {})
    for job, result in results.items():
        if not job.keys or job.stage != "sft" or "error" in result or "rows_per_s" not in plain:
            continue
        for name, value in (("rate", "rows_per_s"), ("peak", "peak_bytes")):
            ratio = result[value] / plain[value]
            recorder.record(f"{job.name}: {name} against auto", ratio, "x")


def is_installed(job: TrainingJob) -> bool:
    """Return whether the package that a job's settings need is installed."""
    needs_liger = ("use_liger_kernel", True) in job.keys
    return not needs_liger or importlib.util.find_spec("liger_kernel") is not None


def run_jobs(
    jobs: Iterable[TrainingJob], trainings: Trainings
) -> dict[TrainingJob, dict[str, Any]]:
    """Run our side of jobs until the time is over; return what was measured."""
    recorder, settings = trainings.recorder, trainings.settings
    results: dict[TrainingJob, dict[str, Any]] = {}
    try:
        for job in jobs:
            if settings.seconds_left() < 15 and not settings.tiny:
                recorder.record(job.name, None, note="not run: no time left")
                continue
            model_folder(job.size, settings)
            results[job] = trainings.run_ours(job)
    finally:
        trainings.finish()
    return results
