"""Every event that a run records: its name on disk, when it is emitted, and its fields.

events.jsonl in a run folder holds one JSON object per line. Each has `time` (unix seconds) and
`event` (one of the names below); the rest are the fields listed in COMMON and, for the
last event of a run, in runs/ending_fields.py. Names and fields stay as they are, since old records
are read with the same code; new fields are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

Event = Mapping[str, Any]
"""One line of the record: `time`, `event` and the fields of that event."""


class Emit(Protocol):
    """Records an event of the running task: ``emit(events.NOTE, message="...")``."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Record the event with its fields; `time` is added."""


STAGE: Final = "stage"
NOTE: Final = "note"
WARNING: Final = "warning"
INPUTS: Final = "inputs"
PROGRESS: Final = "progress"
FETCHED: Final = "fetched"
MISSED: Final = "missed"
DATA: Final = "data"
LOADED: Final = "loaded"
START: Final = "start"
STEP: Final = "step"
EVAL: Final = "eval"
CHECKPOINT: Final = "checkpoint"
FIRST_STEP: Final = "first_step"
SMALLER_BATCH: Final = "smaller_batch"
OUT_OF_MEMORY: Final = "out_of_memory"
MERGED: Final = "merged"
EXTRACTING: Final = "extracting"
EXTRACTED: Final = "extracted"
MIXING: Final = "mixing"
MIXED: Final = "mixed"
MEASURING: Final = "measuring"
CONVERTING: Final = "converting"
QUANTIZING: Final = "quantizing"
QUANTIZED: Final = "quantized"
EVALUATING: Final = "evaluating"
SERVED: Final = "served"
ASKING: Final = "asking"
ANSWERS: Final = "answers"
SCORED: Final = "scored"
REPORT: Final = "report"
PARITY: Final = "parity"
SERVING: Final = "serving"
ANSWER: Final = "answer"
MADE: Final = "made"
PART: Final = "part"
INNER: Final = "inner"
DONE: Final = "done"
STOPPED: Final = "stopped"
FAILED: Final = "failed"


class StepAction(StrEnum):
    """What a pipeline does with a step, as `says` of PART records it."""

    KEEP = "kept"
    BEGIN = "begins"
    RESUME = "goes on"
    SERVE = "serves"
    SKIP = "skipped"


ENDING: Final = (DONE, STOPPED, FAILED)
"""The last event of a run is one of these; each carries the `task` that ended."""


@dataclass(frozen=True)
class Fields:
    """The fields of an event, each with its meaning."""

    when: str
    required: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)
    open: bool = False
    """Whether it also holds the content of a report file, which has its own documentation."""


_CANDIDATE = {"candidate": "name of the model", "benchmark": "name of the benchmark"}
_INPUT = {"model": "local folder of the model", "revision": "commit or revision of the model"}
_FAILED_PASS = {
    "step": "number of the step",
    "units_before": "rows of a micro-batch before",
    "tokens": "tokens of the micro-batch that did not fit, with padding",
    "memory_bytes": "peak memory so far",
}
_BEST = {"best": "whether the evaluation is the best so far"}
_PART = (
    {
        "number": "its position, from 1",
        "total": "number of steps",
        "name": "name of the step",
        "task": "task of the step",
        "says": "begins, goes on, serves, kept or skipped",
    },
    {
        "aside": "where its earlier result was moved",
        "used_by": "steps that use the server",
        "why": "of a skipped step",
        "instead": "what it uses in place of skipped results",
    },
)
_REMARK = ({"message": "the text, in the user's language"}, {"key": "the setting it is about"})
_DEVICE = {"device_bytes": "memory of the device, or null"}

COMMON: Mapping[str, Fields] = {
    STAGE: Fields(
        "a phase of the run begins",
        {"name": "fetch, data, model, train, ..."},
        {"detail": "what it works on", "kind": "of a download: model or dataset"},
    ),
    NOTE: Fields("a decision or a fact worth a line", *_REMARK),
    WARNING: Fields("something that the user should look at", *_REMARK),
    INPUTS: Fields(
        "names of models and datasets are resolved to local files",
        _INPUT,
        {
            "adapter": "local folder or folders of the adapters, or null",
            "teacher": "local folder of a distillation's teacher",
            "teacher_revision": "its commit or revision, or null",
            "adapters": "local folder of each served adapter by its name",
            "dataset_sha256": "hash of the training rows",
            "val_dataset_sha256": "hash of the rows that are held out by name, or null",
        },
    ),
    PROGRESS: Fields(
        "a download is under way, every half second at most",
        {
            "what": "name of the repository",
            "kind": "model or dataset",
            "bytes": "bytes on disk",
            "total_bytes": "bytes of all files",
            "bytes_per_s": "mean over the last seconds",
            "eta_s": "seconds left, or null",
            "files_done": "number of complete files",
            "files_total": "number of files",
            "files": "path, bytes and size of each file under way",
        },
    ),
    FETCHED: Fields(
        "a model or dataset of the queue is complete",
        {
            "what": "name of the repository",
            "kind": "model or dataset",
            "path": "local folder",
            "files": "number of files",
            "bytes": "bytes of all files",
            "fetched_bytes": "bytes that came over the network",
        },
        {"from": "hub, id, revision and commit"},
    ),
    MISSED: Fields(
        "a model or dataset of the queue could not be fetched",
        {
            "what": "name of the repository",
            "kind": "model or dataset",
            "message": "what went wrong",
            "hint": "what to do about it",
        },
    ),
    DATA: Fields(
        "the rows are encoded, cut and split",
        {
            "rows": "number of training rows",
            "held_out": "number of rows of the held-out set",
            "bad": "number of bad rows that were skipped",
            "cut": "number of truncated rows",
            "dropped": "number of rows that were longer than max_length",
            "nothing_to_learn": "number of rows without a token to learn",
            "tokens": "number of tokens of the training rows",
            "trained_tokens": "number of tokens that have a label",
            "percentiles": "row length in tokens by percentile",
            "max_length": "the setting",
            "preview": "three rows as the model sees them",
        },
        {
            "preferences": "report on the preference rows, or null",
            "account": "what the chat template did to the rows: counts, and first places",
            "unused": "columns that nobody read, with the number of rows that fill them",
            "cut_rows": "number of rows with turns after the last answer, which are cut off",
            "held_out_from": "datasets that are held out by name",
            "held_out_report": "their account, unused columns and cut_rows, or null",
            "turns": "conversations with a row for each turn, their rows and tokens; or null",
        },
    ),
    LOADED: Fields(
        "the base model of a training is in memory",
        {"seconds": "time to read it", "bytes": "of its weights", "device": "cpu, cuda:0, ..."},
    ),
    START: Fields(
        "training begins or resumes",
        {
            "total_steps": "number of optimizer steps",
            "epochs": "number of epochs",
            "rows": "number of training rows",
            "resumed_from": "step of the checkpoint, or null",
            "memory_bytes": "peak memory so far",
        },
    ),
    STEP: Fields(
        "an optimizer step is logged",
        {
            "step": "number of the step, from 1",
            "total_steps": "number of optimizer steps",
            "epoch": "epochs so far, a fraction",
            "loss": "training loss",
            "learning_rate": "or null",
            "grad_norm": "or null",
            "tokens_per_s": "mean over the last steps",
            "memory_bytes": "peak memory so far",
            "eta_s": "seconds left",
            "metrics": "what the method watches, by name",
        },
    ),
    EVAL: Fields(
        "the loss on the held-out set is measured",
        {"step": "number of the step", "loss": "held-out loss", "metrics": "by name"},
        _BEST,
    ),
    CHECKPOINT: Fields(
        "a checkpoint is complete", {"step": "number of the step", "path": "its folder"}, _BEST
    ),
    FIRST_STEP: Fields(
        "the first optimizer step of this start is complete",
        {
            "seconds": "since the process began, with its imports",
            "phases": "seconds of each phase until then: start, data, model, train, ...",
        },
    ),
    SMALLER_BATCH: Fields(
        "the memory ran out; the step is repeated, and later ones run, in smaller micro-batches",
        {"units": "rows of a micro-batch now", "accumulation": "micro-batches now", **_FAILED_PASS},
        _DEVICE,
    ),
    OUT_OF_MEMORY: Fields("the memory ran out, and the run ends", _FAILED_PASS, _DEVICE),
    MERGED: Fields("a merged model passed its checks", open=True),
    EXTRACTING: Fields("the factors of a layer are computed", {"done": "so far", "of": "in all"}),
    EXTRACTED: Fields("an extracted adapter passed its checks", open=True),
    MIXING: Fields("a weight is mixed", {"done": "so far", "of": "in all"}),
    MIXED: Fields("a mix passed its checks", open=True),
    MEASURING: Fields("a text is measured", {"done": "texts so far", "of": "number of texts"}),
    CONVERTING: Fields("GGUF is written", {"done": "bytes so far", "of": "bytes of the model"}),
    QUANTIZING: Fields("a layer is done", {"done": "so far", "of": "in all"}, {"unit": "kind"}),
    QUANTIZED: Fields(
        "a quantized model passed its checks",
        {
            "bytes_before": "bytes of the weights before",
            "bytes_after": "bytes of the weights after",
            "bytes_expected": "bytes that the settings imply",
            "share": "bytes_after / bytes_before",
            "layers": "number of quantized layers",
            "described": "method and bits for people",
            "perplexity_before": "on the held-out tokens",
            "perplexity_after": "on the held-out tokens",
            "perplexity_ratio": "after / before",
            "max_perplexity_ratio": "the setting",
            "tokens": "number of held-out tokens",
        },
        open=True,
    ),
    EVALUATING: Fields(
        "an evaluation knows what it compares",
        {"candidates": "names of the models", "benchmarks": "names of the benchmarks"},
        {"rows": "name of the user's own rows, or null"},
    ),
    SERVED: Fields(
        "an evaluation's server is ready",
        {"url": "its address", "models": "names of the models", "engine": "builtin or vllm"},
    ),
    ASKING: Fields(
        "a benchmark begins for a model", _CANDIDATE, {"total": "number of questions, or null"}
    ),
    ANSWERS: Fields(
        "some questions of a benchmark are answered",
        {**_CANDIDATE, "count": "number of answers"},
        {
            "total": "number of questions, or null",
            "per_s": "answers per second over the last ones, or null",
            "eta_s": "seconds left, or null",
        },
    ),
    SCORED: Fields(
        "a benchmark of a model has its score",
        {
            **_CANDIDATE,
            "value": "the score, 0 to 1",
            "low": "lower end of the 95 % interval",
            "high": "upper end of the 95 % interval",
            "count": "number of questions",
            "seconds": "time it took, or null",
        },
    ),
    REPORT: Fields(
        "an evaluation is complete",
        {
            "candidates": "name and settings of each model",
            "benchmarks": "name, title and metric of each benchmark",
            "scores": "score of each model on each benchmark",
            "differences": "difference of each model from the first, by benchmark",
            "remarks": "how to read the scores",
        },
        open=True,
    ),
    PARITY: Fields(
        "a server was compared with the training",
        {"models": "result of each served model"},
        {"seconds": "time it took"},
    ),
    SERVING: Fields(
        "a deployment accepts requests",
        {"url": "its address", "engine": "builtin or vllm", "models": "names of the models"},
        {
            "max_model_len": "longest context in tokens",
            "slots": "concurrent requests",
            "page": "address of its page for browsers, if it has one",
        },
    ),
    ANSWER: Fields(
        "a prompt of a chat run is answered",
        {"prompt": "the prompt", "answers": "name and text of each participant's answer"},
    ),
    MADE: Fields(
        "the demo's data is written",
        {"texts": "number of texts", "conversations": "number of conversations"},
    ),
    PART: Fields("a step of a pipeline begins, resumes, serves, is kept or skipped", *_PART),
    INNER: Fields(
        "a step of a pipeline emitted an event",
        {"of": "name of the step", "inner": "the event"},
    ),
}
"""Events other than endings: the same fields, whichever task emits them."""
