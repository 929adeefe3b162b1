"""The fields of the last event of a run, by task; see runs/events.py."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.runs.events import DONE, STOPPED, Fields

_SECONDS = {"seconds": "time since this start"}
_STEP = {"step": "null: there is no optimizer step to resume from"}
_MODEL = {"model": "folder of the result"}
_ADAPTER = {"adapter": "folder of the adapter"}
_CHAIN = (
    {**_SECONDS, "parts": "outputs of each step"},
    {"skipped": "reason of each skipped step"},
)

ENDINGS: Mapping[tuple[str, str], Fields] = {
    (DONE, "train"): Fields(
        "a training is complete",
        {**_SECONDS, **_MODEL, "steps": "number of steps", "loss": "mean training loss"},
        {
            "best_step": "step of the result",
            "metric": "what is judged",
            "best": "its best value",
            "evaluations": "number of evaluations that were compared",
        },
    ),
    (DONE, "download"): Fields(
        "a queue is complete", {**_SECONDS, "fetched": "number of repositories"}
    ),
    (DONE, "merge"): Fields("a merge is complete", {**_SECONDS, **_MODEL}),
    (DONE, "mix"): Fields("a mix is complete", {**_SECONDS, **_MODEL}),
    (DONE, "extract"): Fields("an extraction is complete", {**_SECONDS, **_ADAPTER}),
    (DONE, "quantize"): Fields(
        "a quantization is complete",
        {
            **_SECONDS,
            **_MODEL,
            "bytes_before": "bytes of the weights before",
            "bytes_after": "bytes of the weights after",
            "perplexity_ratio": "after / before",
        },
    ),
    (DONE, "evaluate"): Fields(
        "an evaluation is complete",
        {**_SECONDS, "report": "path of the HTML report", "scored": "number of scores"},
    ),
    (DONE, "chat"): Fields("prompts are answered", {**_SECONDS, "answers": "path of the answers"}),
    (DONE, "starter"): Fields("the demo's model and data are written", {**_SECONDS, **_MODEL}),
    (DONE, "pipeline"): Fields("all steps are done or skipped", *_CHAIN),
    (STOPPED, "train"): Fields(
        "a training saved and stopped",
        {"step": "number of the step"},
        {"checkpoint": "path of the newest checkpoint, or null"},
    ),
    (STOPPED, "evaluate"): Fields(
        "an evaluation stopped",
        _STEP,
        {"scored": "number of scores so far", "of": "number of scores in total"},
    ),
    (STOPPED, "chat"): Fields("a chat run stopped", _STEP, {"answered": "number of answers"}),
    (STOPPED, "deploy"): Fields(
        "a server stopped",
        _STEP,
        {
            **_SECONDS,
            "url": "null",
            "requests": "number of requests",
            "generated_tokens": "number of tokens",
            "failed": "number of failed requests",
        },
    ),
    (STOPPED, "pipeline"): Fields(
        "a pipeline stopped", _STEP, {**_SECONDS, "parts": "number of steps"}
    ),
}
"""How each task ends; the recorder adds `task`. STOPPED without an entry has nothing but `step`."""

UNSAVED = Fields("a run stopped before it could save", _STEP)
"""A stop of a task without an entry for it."""

FAILURE = Fields(
    "a run failed",
    {
        "kind": "crash, refused, out-of-memory, ...",
        "message": "what went wrong",
        "hint": "what to do about it; may be empty",
        "traceback": "of a bug or a crash; else empty",
    },
)
