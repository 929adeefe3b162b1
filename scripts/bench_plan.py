"""The planner against an exhaustive search: six trainings on this machine, every setting timed.

Each training has a process and one thread, so that as many run at once as there are cores; what is
measured is processor time. Its rows and its tokenizer are made once. Every combination of rows per
forward pass, gradient checkpointing, layout and attention that keeps the rows per update trains
an update, in turns; those near the fastest take more turns. The planner's choice is compared
with the setting of the lowest median. A choice is too slow if it takes more than 1.05 x that, and
the spread of the two medians does not explain the difference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench_models import make_model_of
from bench_train import turn, write_chats, write_pairs

Setting = dict[str, Any]

CONTENDERS = 1.2
"""Settings within this factor of the fastest are timed again."""

TOLERANCE = 1.05
"""A choice counts as the fastest within this factor."""

UPDATES = 1
"""Updates of a timing; the setting that a process times first is timed once more before."""

TIMED_KEYS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "padding_free",
    "attn_implementation",
)


class Job(NamedTuple):
    """One training: its settings, the size of its model and its rows."""

    name: str
    settings: Mapping[str, Any]
    model: str
    rows: Callable[[Path, int], Path]
    rows_per_update: int


def write_long_texts(path: Path, count: int) -> Path:
    """Write texts of more than 1,000 tokens."""
    chooser = random.Random(0)
    vocabulary = (json.__doc__ or "").split()
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(json.dumps({"text": " ".join(chooser.choices(vocabulary, k=700))}) + "\n")
    return path


def write_dialogs(path: Path, count: int) -> Path:
    """Write chats of several turns, of about 100 to 500 tokens."""
    chooser = random.Random(1)
    vocabulary = (json.__doc__ or "").split()
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            messages = []
            for _ in range(chooser.randint(1, 4)):
                messages.append(turn("user", chooser.choices(vocabulary, k=chooser.randint(5, 30))))
                answer = chooser.choices(vocabulary, k=chooser.randint(10, 60))
                messages.append(turn("assistant", answer))
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


JOBS = (
    Job("sft lora, short chats", {"stage": "sft", "tuner_type": "lora"}, "5M", write_chats, 8),
    Job("sft full, dialogs", {"stage": "sft", "tuner_type": "full"}, "5M", write_dialogs, 4),
    Job("dpo lora", {"stage": "dpo", "tuner_type": "lora"}, "5M", write_pairs, 4),
    Job("pt lora, rows of 1,024", {"stage": "pt", "tuner_type": "lora"}, "3M", write_long_texts, 2),
    Job("sft qlora, short chats", {"stage": "sft", "tuner_type": "qlora"}, "5M", write_chats, 8),
    Job("reward lora", {"stage": "reward", "tuner_type": "lora"}, "15M", write_pairs, 2),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--only", default="", help="jobs with this in their name")
    parser.add_argument("--turns", type=int, default=3, help="timings of contenders (default 3)")
    parser.add_argument(
        "--at-once", type=int, default=os.cpu_count() or 1, help="jobs at a time (default: cores)"
    )
    parser.add_argument(
        "--all", action="store_true", help="time what the planner never takes as well: eager"
    )
    parser.add_argument("--json", type=Path, help="write every timing to this file")


def run(options: argparse.Namespace) -> int:
    """Time the jobs, several at once; return 1 if a choice is too slow."""
    jobs = [job for job in JOBS if options.only in job.name]
    with tempfile.TemporaryDirectory() as temporary:
        for size in {job.model for job in jobs}:
            make_model_of(size, Path(temporary) / f"model-{size}")
        with ThreadPoolExecutor(options.at_once) as pool:
            outcomes = []
            for outcome in pool.map(lambda job: measure(job, Path(temporary), options), jobs):
                outcomes.append(outcome)
                print_details(outcome)
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=1))
    print_table(outcomes)
    good = sum(not outcome["too_slow"] for outcome in outcomes)
    print(f"{good} of {len(outcomes)} choices are the fastest or within 5 %, beyond the spread")
    return 0 if good == len(outcomes) else 1


def measure(job: Job, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time a job in a child process with one thread."""
    out = folder / slug_of(job)
    out.mkdir()
    kinds = ["varlen", "sdpa", *(["eager"] if options.all else [])]
    command = [sys.executable, __file__, job.name, str(folder), str(options.turns), *kinds]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    child = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if child.returncode:
        raise SystemExit(child.stderr)
    outcome: dict[str, Any] = json.loads((out / "outcome.json").read_text())
    return outcome


def print_details(outcome: Mapping[str, Any]) -> None:
    """Print the fastest settings and the slowest one."""
    print(f"{outcome['job']}: {len(outcome['timings'])} settings, {outcome['seconds']:.0f} s")
    ranked = sorted(outcome["timings"], key=lambda timing: timing["seconds"])
    for timing in (*ranked[:3], ranked[-1]):
        print(f"  {timing['seconds']:8.3f} s  {described(timing)}")
    sys.stdout.flush()


def print_table(outcomes: list[dict[str, Any]]) -> None:
    """Print the planner's choice beside the fastest setting of each job."""
    print(f"\n{'':24}{'chosen':42}{'fastest':42}{'ratio':>6}{'spread':>8}")
    for outcome in outcomes:
        cells = (
            f"{outcome[name]['seconds']:.3f} s  {described(outcome[name])}"
            for name in ("chosen", "fastest")
        )
        listed = "".join(f"{cell:42}" for cell in cells)
        ratio, spread = outcome["ratio"], outcome["spread"]
        note = "  too slow" if outcome["too_slow"] else ""
        print(f"{outcome['job']:24}{listed}{ratio:>6.2f}{spread:>7.1%}{note}")


def described(setting: Mapping[str, Any]) -> str:
    """Write a setting in one line."""
    rows, passes = (setting[key] for key in TIMED_KEYS[:2])
    layout = "joined" if setting["padding_free"] == "true" else "padded"
    checkpointing = {"false": "keep", "true": "recompute"}.get(setting["gradient_checkpointing"])
    parts = (f"{rows} x {passes}", layout, setting["attn_implementation"])
    return ", ".join([*parts, checkpointing or "selective"])


def slug_of(job: Job) -> str:
    """Return a name for the folder of a job."""
    return "".join(letter if letter.isalnum() else "-" for letter in job.name)


# ---- the child


def main() -> None:
    """Time the settings of one job; write the outcome."""
    name, folder, turns, *kinds = sys.argv[1:]
    job = next(job for job in JOBS if job.name == name)
    began = time.perf_counter()
    requested = request_of(job, Path(folder))
    chosen = planned(requested)
    timings = timed(Bench(requested, Path(folder)), list(every_setting(job, kinds)), chosen, turns)
    outcome = {"job": name, "seconds": time.perf_counter() - began, **compared(timings, chosen)}
    (Path(folder) / slug_of(job) / "outcome.json").write_text(json.dumps(outcome))


def timed(
    bench: Bench, settings: list[Setting], chosen: Setting, turns: str
) -> dict[str, list[float]]:
    """Return the seconds of an update with each setting; those near the fastest in more turns."""
    bench.seconds(settings[0])
    timings: dict[str, list[float]] = {json.dumps(setting): [] for setting in settings}
    for _ in range(int(turns)):
        medians = [statistics.median(seconds) for seconds in timings.values() if seconds]
        limit = CONTENDERS * min(medians) if medians else float("inf")
        for key, seconds in timings.items():
            setting = json.loads(key)
            if not seconds or statistics.median(seconds) <= limit or setting == chosen:
                seconds.append(bench.seconds(setting))
    return timings


def compared(timings: Mapping[str, list[float]], chosen: Setting) -> dict[str, Any]:
    """Return the chosen and the fastest setting, their ratio, and the spread of that ratio."""
    medians = {key: statistics.median(seconds) for key, seconds in timings.items()}
    chosen_key, fastest_key = json.dumps(chosen), min(medians, key=lambda key: medians[key])
    ratio = medians[chosen_key] / medians[fastest_key]
    spread = sum(deviation(timings[key]) for key in {chosen_key, fastest_key})
    return {
        "timings": [
            {**json.loads(key), "seconds": medians[key], "all": seconds}
            for key, seconds in timings.items()
        ],
        "chosen": {**chosen, "seconds": medians[chosen_key]},
        "fastest": {**json.loads(fastest_key), "seconds": medians[fastest_key]},
        "ratio": ratio,
        "spread": spread,
        "too_slow": ratio > TOLERANCE + spread,
    }


def deviation(seconds: list[float]) -> float:
    """Return the error of a median: half the range of the timings over the root of their number."""
    half_range = (max(seconds) - min(seconds)) / 2
    return float(half_range / len(seconds) ** 0.5 / statistics.median(seconds))


def every_setting(job: Job, kinds: list[str]) -> Iterator[Setting]:
    """Yield every combination that keeps the rows per update."""
    rows = job.rows_per_update
    for batch in (size for size in range(1, rows + 1) if rows % size == 0):
        for checkpointing in ("false", "true", "selective"):
            for padding_free in ("true", "false"):
                for attention in kinds:
                    if attention == "varlen" and padding_free == "false":
                        continue  # it is for joined rows
                    values = (batch, rows // batch, checkpointing, padding_free, attention)
                    yield dict(zip(TIMED_KEYS, values, strict=True))


def request_of(job: Job, folder: Path) -> dict[str, Any]:
    """Return the settings that a user would give: all others are auto."""
    data = job.rows(folder / slug_of(job) / "rows.jsonl", job.rows_per_update * 8)
    return {
        "task": "train",
        "hub": "local",
        "model": str(folder / f"model-{job.model}"),
        "dataset": str(data),
        "max_length": 1024,
        "dtype": "float32",
        "gradient_accumulation_steps": job.rows_per_update,
        "max_steps": UPDATES,
        "val_size": 0,
        "save_steps": 0,
        "report_to": "none",
        "precompute_ref_log_probs": "false" if job.settings["stage"] == "dpo" else None,
        **job.settings,
    }


def planned(requested: Mapping[str, Any]) -> Setting:
    """Return the planner's setting."""
    config = prepared(requested)
    return {key: getattr(config, key) for key in TIMED_KEYS}


def prepared(settings: Mapping[str, Any]) -> Any:
    """Return the settled config of settings, as `run` would train it on one core."""
    from swiftbox.devices.probe import probe
    from swiftbox.launch.prepare import prepare

    machine = replace(probe(Path.cwd()), cores=1)
    values = {key: value for key, value in settings.items() if value is not None}
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return prepare(None, overrides, machine=machine).plan.config


class Bench:
    """Times updates of one training with different settings, through the trainer of `run`."""

    def __init__(self, requested: Mapping[str, Any], folder: Path) -> None:
        from swiftbox.core.data.cache import ExampleEncoder
        from swiftbox.core.data.prepare import load_tokenizer, prepare_rows
        from swiftbox.data.files import dataset_hash
        from swiftbox.methods import METHODS
        from swiftbox.tasks.training_check import sources_of

        self.config, self.folder = prepared(requested), folder
        self.method = METHODS[self.config.stage]
        sources = sources_of(self.config)
        self.tokenizer = load_tokenizer(Path(self.config.model), self.config)
        encoder = ExampleEncoder.of(self.method, self.tokenizer, self.config)
        self.parts = prepare_rows(encoder, sources, silent, data_hash=dataset_hash(sources))

    def seconds(self, setting: Setting) -> float:
        """Return the processor time of an update."""
        trainer = self._trainer(self.config.model_copy(update=setting))
        stopwatch = stopwatch_of(time.process_time)
        trainer.add_callback(stopwatch)
        trainer.train()
        return float(stopwatch.end - stopwatch.begin) / UPDATES

    def _trainer(self, config: Any) -> Any:
        """Return the trainer of a config, made as the session makes it."""
        from transformers import set_seed

        from swiftbox.core.training import session
        from swiftbox.core.training.atomic_checkpoints import RunRecorder
        from swiftbox.core.training.trainer_inputs import TrainerInputs
        from swiftbox.core.tuners.attach import AdapterStart, adapted_network

        folder, model, head = self.folder, Path(config.model), self.method.head
        arguments = session.training_arguments(config, folder, evaluates=False)
        set_seed(config.seed)
        choice = session.HeadChoice(head)
        base_model = session.load_base(model, config, choice, arguments.device, silent)
        start = AdapterStart(None, session.PEFT_TASKS[head], None)
        network = adapted_network(base_model, config, start, silent)
        session.prepare_network(network, config, arguments.device, silent)
        inputs = TrainerInputs(config, self.method, network, self.tokenizer, arguments, model, None)
        recorder = RunRecorder(folder, silent, 1)
        trainer, _ = session.offline_trainer(inputs, self.parts.both, recorder)
        return trainer


def stopwatch_of(clock: Callable[[], float]) -> Any:
    """Return a callback that records when the first update begins and the last one ends."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        begin = end = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begin = self.begin or clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.end = clock()

    return Stopwatch()


def silent(event: str, **values: Any) -> None:
    """Ignore an event."""


if __name__ == "__main__":
    main()
