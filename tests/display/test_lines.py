"""The lines of every event, by the task that emitted it, in both languages."""

from __future__ import annotations

import io
from typing import Any

import pytest

from swiftbox.display.lines import DISPLAYS, lines_of, status_line
from swiftbox.display.live import View
from swiftbox.runs import ending_fields, events
from swiftbox.tasks import TASKS

SMALLER = {
    "step": 3, "units": 4, "units_before": 8, "accumulation": 4, "tokens": 9000,
    "memory_bytes": 2**30,
}  # fmt: skip
RESULT = {"model": "/r/model", "seconds": 125.0}
PARITY = {
    "model": "mine", "prompts": 5, "trained": True, "answers": 4, "answered_by": "training",
    "ties": 1, "skipped": 0, "differences": [],
}  # fmt: skip
QUANTIZED = {
    "bytes_before": 2**30, "bytes_after": 2**28, "bytes_expected": 2**28, "share": 0.25,
    "layers": 28, "described": "bnb 4 bit", "perplexity_before": 10.0, "perplexity_after": 10.5,
    "perplexity_ratio": 1.05, "max_perplexity_ratio": 1.1, "tokens": 4096,
}  # fmt: skip
SCORE = {
    "candidate": "tuned", "benchmark": "ceval", "value": 0.5, "low": 0.4, "high": 0.6,
    "count": 80, "seconds": 61.0,
}  # fmt: skip
FETCHED = {
    "what": "o/n", "kind": "model", "path": "/p", "files": 3, "bytes": 2**30,
    "fetched_bytes": 2**29, "from": {"commit": "0123456789abcdef"},
}  # fmt: skip
PART = {"number": 2, "total": 3, "name": "b", "task": "merge"}
PROGRESS = {
    "what": "o/n", "kind": "model", "bytes": 5, "total_bytes": 10, "bytes_per_s": 2.0,
    "eta_s": None, "files_done": 0, "files_total": 1,
    "files": [{"path": "a", "bytes": 5, "size": 10}],
}  # fmt: skip
DATA = {
    "rows": 9, "held_out": 1, "bad": 0, "cut": 1, "dropped": 0, "nothing_to_learn": 0,
    "tokens": 90, "trained_tokens": 40, "percentiles": {"50%": 9}, "max_length": 16, "preview": [],
}  # fmt: skip
STEP = {
    "step": 3, "total_steps": 5, "epoch": 0.5, "loss": 1.5, "learning_rate": None,
    "grad_norm": None, "tokens_per_s": 100.0, "memory_bytes": 2**20, "eta_s": 9.0, "metrics": {},
}  # fmt: skip

LINES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    (
        "train", {"event": "done", **RESULT, "steps": 5, "loss": 1.5},
        ["done: 5 steps in 2 min 5 s, mean loss 1.5000", "model: /r/model"],
        ["完成：5 步，用时 2 分 5 秒，平均损失 1.5000", "模型：/r/model"],
    ),
    (
        "train", {"event": "data", **DATA, "cut": 0, "unused": {"id": 9, "b": 2}, "cut_rows": 2},
        [
            "  tokens per row: 50% 9",
            "  9 training rows, 1 held out; 40 of 90 tokens are learned",
            "  columns not used: b (2), id (9)",
            "  2 rows cut off after the last answer",
        ],
        [
            "  每行 token 数：50% 9",
            "  训练 9 行，留出 1 行；90 个 token 中学习 40 个",
            "  未使用的列：b (2), id (9)",
            "  2 行在最后的回答之后截断",
        ],
    ),
    (
        "train", {"event": "stopped", "step": 4},
        ["stopped at step 4; `swiftbox runs resume` continues"],
        ["在第 4 步停止；`swiftbox runs resume` 可继续"],
    ),
    (
        "train", {"event": "eval", "step": 4, "loss": 2.5, "metrics": {"rewards/margins": 0.25}},
        ["  step 4  held-out loss 2.5000  margin 0.25"],
        ["  第 4 步  留出集损失 2.5000  差距 0.25"],
    ),
    (
        "train", {"event": "smaller_batch", **SMALLER},
        [
            "! out of memory at step 3 with 9,000 tokens; the step is repeated with "
            "per_device_train_batch_size 8 -> 4 and gradient_accumulation_steps 4: "
            "the same rows per update"
        ],
        [
            "! 第 3 步内存不足（9,000 个 token）；改用 per_device_train_batch_size 8 -> 4、"
            "gradient_accumulation_steps 4 重算该步，每次更新的总行数不变"
        ],
    ),
    (
        "train",
        {"event": "first_step", "seconds": 9.5, "phases": {"start": 4.5, "data": 1, "model": 4}},
        ["  first step after 9.5 s (starting 4.5 s, loading the model 4.0 s, "
            "reading the data 1.0 s)"],
        ["  首步用时 9.5 秒（启动 4.5 秒，加载模型 4.0 秒，读取数据 1.0 秒）"],
    ),
    (
        "merge", {"event": "done", **RESULT},
        ["done in 2 min 5 s", "model: /r/model"],
        ["完成，用时 2 分 5 秒", "模型：/r/model"],
    ),
    (
        "quantize", {"event": "quantized", **QUANTIZED},
        [
            "  weights 1.0 GiB -> 256.0 MiB (25%; 256.0 MiB expected), 28 layers bnb 4 bit",
            "  perplexity 10 -> 10.5 on 4,096 held-out tokens: x 1.0500 (limit 1.1)",
        ],
        [
            "  权重 1.0 GiB -> 256.0 MiB（25%；预期 256.0 MiB），28 层 bnb 4 bit",
            "  困惑度 10 -> 10.5（留出的 4,096 个 token）：1.0500 倍（上限 1.1）",
        ],
    ),
    (
        "download", {"event": "fetched", **FETCHED},
        ["  o/n: 3 files, 1.0 GiB (512.0 MiB downloaded, commit 0123456789ab)", "  /p"],
        ["  o/n：3 个文件，1.0 GiB（下载 512.0 MiB，提交 0123456789ab）", "  /p"],
    ),
    (
        "download", {"event": "fetched", **FETCHED, "fetched_bytes": 0, "from": None},
        ["  o/n: 3 files, 1.0 GiB (already on this machine)", "  /p"],
        ["  o/n：3 个文件，1.0 GiB（本机已有）", "  /p"],
    ),
    (
        "download", {"event": "done", "fetched": 2, "seconds": 0.44},
        ["done: 2 fetched in 0.4 s"],
        ["完成：获取 2 个，用时 0.4 秒"],
    ),
    (
        "evaluate", {"event": "scored", **SCORE},
        ["  tuned: ceval 50.0 % (40.0-60.0), 80 questions in 1 min 1 s"],
        ["  tuned：ceval 50.0 %（40.0-60.0），80 题，1 分 1 秒"],
    ),
    (
        "evaluate", {"event": "stopped", "step": None, "scored": 1, "of": 4},
        ["stopped with 1 of 4 scores; `swiftbox runs resume` continues"],
        ["已停止：4 项得分已完成 1 项；`swiftbox runs resume` 可继续"],
    ),
    (
        "deploy", {"event": "parity", "models": [PARITY]},
        [
            "  mine: tokens of 5 prompts match those of its training; 4 greedy answers match "
            "those of its training (1 diverge at a tie within rounding)"
        ],
        [
            "  mine：5 个提示的 token 与训练时一致；4 个贪心回答与训练时一致"
            "（1 个在舍入平局处分开）"
        ],
    ),
    (
        "deploy", {"event": "stopped", "step": None, "seconds": 3600.0},
        ["server stopped after 1 h"],
        ["服务运行 1 小时后停止"],
    ),
    (
        "chat", {"event": "answer", "prompt": "hi", "answers": [{"name": "a", "text": "yes\nno "}]},
        ["> hi", "a: yes", "no"],
        ["> hi", "a: yes", "no"],
    ),
    (
        "starter", {"event": "made", "texts": 7, "conversations": 8},
        ["  7 texts, 8 conversations"],
        ["  7 篇文本，8 段对话"],
    ),
    (
        "pipeline", {"event": "part", "says": "begins", **PART, "aside": "steps/earlier/02-b-1"},
        ["== step 2/3 b", "  changed, rerunning; previous result kept in steps/earlier/02-b-1"],
        ["== 步骤 2/3 b", "  有改动，重新执行；之前的结果保留在 steps/earlier/02-b-1"],
    ),
    (
        "pipeline", {"event": "part", "says": "goes on", **PART, "aside": None},
        ["== step 2/3 b: resumes"],
        ["== 步骤 2/3 b：继续"],
    ),
    (
        "pipeline", {"event": "done", "seconds": 5.0, "parts": [{"name": "b", "model": "/m"}]},
        ["done in 5.0 s", "  b.model: /m"],
        ["完成，用时 5.0 秒", "  b.model: /m"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("task", "event", "english", "chinese"), LINES)
def test_an_event_has_its_lines_in_both_languages(
    task: str,
    event: dict[str, Any],
    english: list[str],
    chinese: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert lines_of(event, task) == english
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert lines_of(event, task) == chinese


def test_an_ending_is_shown_by_the_task_that_it_names() -> None:
    """A merge inside a pipeline ends with the lines of a merge."""
    done = {"event": "done", "task": "merge", **RESULT}
    assert lines_of(done, "pipeline") == lines_of(done, "merge")


def test_an_ending_of_an_old_record_is_shown_by_the_task_of_the_run() -> None:
    done = {"event": "done", **RESULT, "steps": 5, "loss": 1.5}
    assert lines_of(done, "train")[0].startswith("done: 5 steps")


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_run_that_was_killed_while_stopping_says_that_it_stopped(task: str) -> None:
    """Its supervisor records the stop, and knows no figures."""
    (line,) = lines_of({"event": "stopped", "task": task, "step": None}, task)
    assert "stopped" in line


@pytest.mark.parametrize("task", [*sorted(DISPLAYS), ""])
def test_every_task_shows_phases_notes_warnings_and_failures(task: str) -> None:
    assert lines_of({"event": "stage", "name": "model", "detail": "m"}, task) == [
        "> loading the model: m"
    ]
    assert lines_of({"event": "stage", "name": "new", "detail": ""}, task) == ["> new"]
    assert lines_of({"event": "note", "message": "n"}, task) == ["  n"]
    assert lines_of({"event": "warning", "message": "w"}, task) == ["! w"]
    failed = {"event": "failed", "kind": "refused", "message": "M\nN", "hint": "H", "traceback": ""}
    assert lines_of(failed, task) == ["error: M", "N", "hint: H"]


def test_an_event_that_is_not_shown_has_no_lines() -> None:
    assert lines_of({"event": "inputs", "model": "/m", "revision": None}, "train") == []
    assert lines_of({"event": "an event of a later version"}, "train") == []


SAMPLES: dict[str, Any] = {
    **SCORE, **FETCHED, **PROGRESS, **DATA, **STEP, **QUANTIZED, **PART, **RESULT,
    "detail": "", "adapter": "a", "message": "m", "kind": "crash", "hint": "", "traceback": "",
    "done": 1, "of": 2, "inner": {"event": "note", "message": "n"}, "says": "begins",
    "candidates": ["base"], "benchmarks": ["ceval"], "models": ["mine"], "url": "http://h",
    "engine": "builtin", "prompt": "hi", "answers": [{"name": "a", "text": "yes"}],
    "texts": 7, "conversations": 8, "fetched": 2, "report": "/r.html", "scored": 4,
    "parts": [{"name": "b", "model": "/m"}], "steps": 5, "revision": None, "epochs": 1.0,
    "resumed_from": None, "device": "cpu", **SMALLER, "phases": {"model": 3.2},
}  # fmt: skip
"""A value of each required field."""

OTHER_SAMPLES: dict[str, dict[str, Any]] = {
    "fetched": FETCHED,
    "parity": {"models": [PARITY]},
    "report": {
        "remarks": [], "candidates": [{"name": "base"}], "differences": [],
        "benchmarks": [{"name": "ceval", "title": "C-Eval", "metric": "accuracy"}],
        "scores": [{**SCORE, "candidate": "base"}],
    },
}  # fmt: skip
"""Values of the fields that mean something else in that event."""


def minimal(event: str, declared: events.Fields) -> dict[str, Any]:
    """Return an event with its required fields alone, as an older version may have recorded it."""
    values = {**SAMPLES, **OTHER_SAMPLES.get(event, {})}
    return {"event": event, **{name: values[name] for name in declared.required}}


DECLARED = [
    *((event, "", declared) for event, declared in events.COMMON.items()),
    *((event, task, declared) for (event, task), declared in ending_fields.ENDINGS.items()),
    (events.FAILED, "", ending_fields.FAILURE),
]


@pytest.mark.parametrize(("event", "task", "declared"), DECLARED)
def test_an_event_is_shown_from_its_required_fields_alone(
    event: str, task: str, declared: events.Fields
) -> None:
    recorded = minimal(event, declared)
    for name in [task] if task else DISPLAYS:
        lines_of(recorded, name)
        status_line(recorded, name)
        view = View(name, plain=True, stream=io.StringIO())
        view.event(recorded)
        view.panel(80)


@pytest.mark.parametrize("says", ["kept", "begins", "goes on", "serves"])
def test_a_step_of_a_pipeline_is_shown_from_the_required_fields_of_its_event(says: str) -> None:
    assert lines_of({"event": "part", **PART, "says": says}, "pipeline")[0].startswith(
        "== step 2/3"
    )


def test_only_the_task_that_reports_an_event_has_a_status_line() -> None:
    answers = {"event": "answers", "candidate": "c", "benchmark": "b", "count": 3, "total": 9}
    assert status_line(answers, "evaluate") == "  c: b 3/9 answered"
    assert status_line(answers, "train") is None


def test_the_events_of_a_step_are_shown_by_its_task() -> None:
    stream = io.StringIO()
    with View("pipeline", plain=True, stream=stream) as view:
        for event in (
            {"event": "part", "says": "begins", **PART, "aside": None},
            {"event": "inner", "of": "b", "inner": {"event": "done", **RESULT}},
            {"event": "done", "task": "pipeline", "seconds": 5.0, "parts": []},
        ):
            view.event(event)
    assert stream.getvalue().splitlines() == [
        "== step 2/3 b",
        "done in 2 min 5 s",
        "model: /r/model",
        "done in 5.0 s",
    ]
