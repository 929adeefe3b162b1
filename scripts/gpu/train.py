"""Trainings: ours and TRL's alternately, then ours for all shapes; rates, peaks, the estimate."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterable, Mapping, Sequence
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

NEARLY_AS_FAST = 0.95
"""Of the best rate: TRL's settings whose peak is compared as well as that of the fastest."""


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
        """Run a job on both sides in turns: ours, TRL, TRL, ours; record the ratios of medians."""
        ours = [self.run_ours(job)]
        theirs = [self.record_theirs(variant) for variant in variants_of(job)]
        valid = [(variant, result) for variant, result in theirs if "error" not in result]
        if "error" in ours[0] or not valid:
            return
        variant, best = max(valid, key=lambda entry: float(entry[1]["rows_per_s"]))
        again = replace(variant, settled=tuple(best["settled"].items()))
        fastest = [best, self.trl.answer(again)]
        ours.append(self.ours.answer(job))
        passes = [[result for result in side if "error" not in result] for side in (ours, fastest)]
        note = f"passes: {len(passes[0])} of ours, {len(passes[1])} of TRL"
        raw = {"ours": [rate_of(result) for result in passes[0]]}
        raw |= {"trl": [rate_of(result) for result in passes[1]]}
        rates = [statistics.median(side) for side in raw.values()]
        target = FASTER.get((job.stage, job.kind), "") if self.on_device else ""
        self.recorder.record(
            f"{job.name}: ours / TRL, rows/s",
            rates[0] / rates[1],
            "x",
            target=target,
            note=note,
            raw=raw,
        )
        our_peak = statistics.median(result["peak_bytes"] for result in passes[0])
        self.record_peaks(job, our_peak, (best, [result for _, result in valid]))

    def record_theirs(self, job: TrainingJob) -> tuple[TrainingJob, dict[str, Any]]:
        """Run TRL's side of a job; record its rate at its fastest setting."""
        result = self.trl.answer(job)
        kind = " padding_free" * job.padding_free + " packing" * job.packing
        rate, note = result.get("rows_per_s"), result.get("error", "")
        self.recorder.record(f"{job.name}: TRL{kind}", rate, "rows/s", note=note, raw=result)
        return job, result

    def record_peaks(
        self, job: TrainingJob, ours: float, theirs: tuple[dict[str, Any], list[dict[str, Any]]]
    ) -> None:
        """Record our peak over that of TRL's fastest setting, and over its smallest of the fast."""
        best, results = theirs
        tried = [setting for result in results for setting in result["tried"]]
        smallest = smallest_peak(tried)
        limit = "<= 0.7" if self.on_device else ""
        for name, peak in (("fastest", best["peak_bytes"]), ("smallest within 5 %", smallest)):
            self.recorder.record(
                f"{job.name}: ours / TRL, peak, {name}", ours / peak, "x", target=limit
            )

    @property
    def on_device(self) -> bool:
        """Return whether the figures are those of an accelerator, which have targets."""
        return self.settings.device != "cpu"

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


def variants_of(job: TrainingJob) -> list[TrainingJob]:
    """Return a job with each of the ways in which TRL can join its rows."""
    if (job.stage, job.kind) != ("sft", "chat"):
        return [job]
    return [job, replace(job, padding_free=True), replace(job, packing=True)]


def rate_of(result: Mapping[str, Any]) -> float:
    """Return the rows per second of a training."""
    return float(result["rows_per_s"])


def smallest_peak(settings: Sequence[Mapping[str, Any]]) -> int:
    """Return the smallest peak among the settings that are nearly as fast as the fastest."""
    least = NEARLY_AS_FAST * max(map(rate_of, settings))
    return min(int(setting["peak_bytes"]) for setting in settings if rate_of(setting) >= least)


def measure_compared(recorder: Recorder, settings: Settings) -> None:
    """Compare with TRL."""
    compare_jobs(compared_jobs(tiny=settings.tiny), recorder, settings)


def compare_jobs(jobs: Iterable[TrainingJob], recorder: Recorder, settings: Settings) -> None:
    """Run jobs on both sides until the time is over."""
    trainings = Trainings(recorder, settings)
    trainings.ours.start()
    trainings.trl.start()
    try:
        for job in jobs:
            if settings.seconds_left() < 20:
                recorder.record(job.name, None, note="not run: no time left")
                continue
            model_folder(job.size, settings)
            trainings.compare(job)
    finally:
        trainings.finish()


def measure_ours(recorder: Recorder, settings: Settings) -> None:
    """Measure our side for the other shapes; compare those with a target with TRL as well."""
    jobs = list(our_jobs(tiny=settings.tiny))
    run_jobs(jobs, Trainings(recorder, settings))
    compared = [job for job in jobs if (job.stage, job.kind) in FASTER and job.tuner != "qlora"]
    if not settings.tiny:
        compare_jobs(compared, recorder, settings)


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
            if settings.seconds_left() < 15:
                recorder.record(job.name, None, note="not run: no time left")
                continue
            model_folder(job.size, settings)
            results[job] = trainings.run_ours(job)
    finally:
        trainings.finish()
    return results
