"""The planner against an exhaustive search: six trainings on this machine, every setting timed.

Each training runs in a child process with every combination of rows per forward pass, gradient
checkpointing, layout and attention that keeps the rows per update. All combinations are timed once,
those near the fastest several times in turns; the medians are compared with the planner's choice.
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
from pathlib import Path
from typing import Any, NamedTuple

from bench_models import make_model_of
from bench_train import turn, write_chats, write_pairs

Setting = dict[str, Any]

CONTENDERS = 1.25
"""Settings within this factor of the fastest are timed again."""

TOLERANCE = 1.05
"""A choice counts as the fastest within this factor, which is the noise of these timings."""

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
    Job("sft lora, short chats", {"stage": "sft", "tuner_type": "lora"}, "15M", write_chats, 16),
    Job("sft full, dialogs", {"stage": "sft", "tuner_type": "full"}, "5M", write_dialogs, 8),
    Job("dpo lora", {"stage": "dpo", "tuner_type": "lora"}, "5M", write_pairs, 4),
    Job("pt lora, rows of 1,024", {"stage": "pt", "tuner_type": "lora"}, "5M", write_long_texts, 4),
    Job("sft qlora, short chats", {"stage": "sft", "tuner_type": "qlora"}, "5M", write_chats, 16),
    Job("reward lora", {"stage": "reward", "tuner_type": "lora"}, "15M", write_pairs, 4),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--only", default="", help="jobs with this in their name")
    parser.add_argument("--repeats", type=int, default=3, help="timings of contenders (default 3)")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="one thread, and its processor time: for a machine that does other work as well",
    )
    parser.add_argument("--json", type=Path, help="write every timing to this file")


def run(options: argparse.Namespace) -> int:
    """Time the jobs one after another; return 1 if a choice is too slow."""
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        for job in JOBS:
            if options.only in job.name:
                outcomes.append(measure(job, Path(temporary), options))
                print_outcome(outcomes[-1])
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=1))
    good = sum(outcome["ratio"] <= TOLERANCE for outcome in outcomes)
    print(f"{good} of {len(outcomes)} choices are the fastest or within 5 %")
    return 0 if good == len(outcomes) else 1


def measure(job: Job, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time a job in a child process."""
    out = folder / "outcome.json"
    command = [sys.executable, __file__, job.name, str(folder), str(options.repeats)]
    threads = "1" if options.processor_time else str(os.cpu_count() or 1)
    env = {**os.environ, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    env["SWIFTBOX_BENCH_CLOCK"] = "processor" if options.processor_time else "wall"
    child = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if child.returncode:
        raise SystemExit(child.stderr)
    outcome: dict[str, Any] = json.loads(out.read_text())
    return outcome


def print_outcome(outcome: dict[str, Any]) -> None:
    """Print the planner's choice beside the fastest settings."""
    print(f"{outcome['job']}: {len(outcome['timings'])} settings, {outcome['seconds']:.0f} s")
    ranked = sorted(outcome["timings"], key=lambda timing: timing["seconds"])
    for timing in (*ranked[:3], ranked[-1]):
        print(f"  {timing['seconds']:8.3f} s  {described(timing)}")
    print(f"  chosen: {outcome['chosen_seconds']:.3f} s  {described(outcome['chosen'])}")
    print(f"  {outcome['ratio']:.2f} x the fastest", flush=True)


def described(setting: Mapping[str, Any]) -> str:
    """Write a setting in one line."""
    rows, passes = (setting[key] for key in TIMED_KEYS[:2])
    layout = "joined" if setting["padding_free"] == "true" else "padded"
    checkpointing = setting["gradient_checkpointing"]
    return f"{rows} x {passes}, {layout}, {setting['attn_implementation']}, {checkpointing}"


# ---- the child


def main() -> None:
    """Time the settings of one job; write the outcome."""
    name, folder, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    job = next(job for job in JOBS if job.name == name)
    began = time.perf_counter()
    requested = request_of(job, folder)
    chosen = planned(requested)
    bench = Bench(requested, folder)
    settings = list(every_setting(job))
    timings = {json.dumps(setting): [bench.seconds(setting)] for setting in settings}
    for _ in range(repeats - 1):
        fastest = min(map(statistics.median, timings.values()))
        for key, seconds in timings.items():
            is_chosen = json.loads(key) == chosen
            if statistics.median(seconds) <= CONTENDERS * fastest or is_chosen:
                seconds.append(bench.seconds(json.loads(key)))
    medians = {key: statistics.median(seconds) for key, seconds in timings.items()}
    chosen_seconds = medians[json.dumps(chosen)]
    outcome = {
        "job": name,
        "seconds": time.perf_counter() - began,
        "timings": [{**json.loads(key), "seconds": value} for key, value in medians.items()],
        "chosen": chosen,
        "chosen_seconds": chosen_seconds,
        "ratio": chosen_seconds / min(medians.values()),
    }
    (folder / "outcome.json").write_text(json.dumps(outcome))


def every_setting(job: Job) -> Iterator[Setting]:
    """Yield every combination that keeps the rows per update."""
    rows = job.rows_per_update
    for batch in (size for size in range(1, rows + 1) if rows % size == 0):
        for checkpointing in ("false", "true", "selective"):
            for padding_free in ("true", "false"):
                for attention in ("varlen", "sdpa", "eager"):
                    if attention == "varlen" and padding_free == "false":
                        continue  # it is for joined rows
                    values = (batch, rows // batch, checkpointing, padding_free, attention)
                    yield dict(zip(TIMED_KEYS, values, strict=True))


def request_of(job: Job, folder: Path) -> dict[str, Any]:
    """Return the settings that a user would give: all others are auto."""
    model = make_model_of(job.model, folder / f"model-{job.model}")
    slug = "".join(letter if letter.isalnum() else "-" for letter in job.name)
    data = job.rows(folder / f"{slug}.jsonl", job.rows_per_update * 8)
    return {
        "task": "train",
        "hub": "local",
        "model": str(model),
        "dataset": str(data),
        "max_length": 1024,
        "dtype": "float32",
        "gradient_accumulation_steps": job.rows_per_update,
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
    """Return the settled config of settings, as `run` would train it."""
    from swiftbox.launch.prepare import prepare

    values = {key: value for key, value in settings.items() if value is not None}
    return prepare(
        None, [f"{key}={json.dumps(value)}" for key, value in values.items()]
    ).plan.config


class Bench:
    """Times updates of one training with different settings, through our own trainer."""

    def __init__(self, requested: Mapping[str, Any], folder: Path) -> None:
        from swiftbox.core.data.cache import ExampleEncoder
        from swiftbox.core.data.prepare import load_tokenizer, prepare_rows
        from swiftbox.data.files import dataset_hash
        from swiftbox.methods import METHODS
        from swiftbox.tasks.training_check import sources_of

        self.config, self.folder = prepared({**requested, "max_steps": 3}), folder
        self.method = METHODS[self.config.stage]
        sources = sources_of(self.config)
        self.tokenizer = load_tokenizer(Path(self.config.model), self.config)
        encoder = ExampleEncoder.of(self.method, self.tokenizer, self.config)
        self.parts = prepare_rows(encoder, sources, silent, data_hash=dataset_hash(sources))
        by_processor = os.environ.get("SWIFTBOX_BENCH_CLOCK") == "processor"
        self.clock = time.process_time if by_processor else time.perf_counter

    def seconds(self, setting: Setting) -> float:
        """Return the seconds of an update, after one to warm up."""
        trainer = self._trainer(self.config.model_copy(update=setting))
        stopwatch = stopwatch_of(self.clock)
        trainer.add_callback(stopwatch)
        trainer.train()
        return float(stopwatch.stamps[2] - stopwatch.stamps[1])

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
        base_model = session.load_base(model, config, head, arguments.device, silent)
        start = AdapterStart(None, session.PEFT_TASKS[head], None)
        network = adapted_network(base_model, config, start, silent)
        session.prepare_network(network, config, arguments.device, silent)
        inputs = TrainerInputs(config, self.method, network, self.tokenizer, arguments, model, None)
        recorder = RunRecorder(folder, silent, 1)
        trainer, _ = session.offline_trainer(inputs, self.parts, recorder)
        return trainer


def stopwatch_of(clock: Callable[[], float]) -> Any:
    """Return a callback that records when each update begins."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.stamps: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.stamps.append(clock())

    return Stopwatch()


def silent(event: str, **values: Any) -> None:
    """Ignore an event."""


if __name__ == "__main__":
    main()
