"""`runs`: list, show, follow, stop, resume, rerun and extend recorded runs."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from swiftbox.cli.output import DONE, FAILED, answer, answer_json, answer_text, note, say
from swiftbox.cli.run import launch
from swiftbox.display.row_progress import shown_row_progress
from swiftbox.display.status import health_title, status_title
from swiftbox.formatting import pad
from swiftbox.language import text
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import ENDING
from swiftbox.runs.plain_files import pieces
from swiftbox.runs.summary import best_checkpoint, pipeline_steps, run_summary


def runs(options: argparse.Namespace) -> int:
    """Run an action on runs."""
    actions: dict[str | None, Callable[[argparse.Namespace], int]] = {
        None: list_runs,
        "list": list_runs,
        "show": show_run,
        "logs": print_logs,
        "stop": stop_run,
        "resume": start_again,
        "rerun": start_again,
        "extend": start_again,
    }
    return actions[options.action](options)


def list_runs(options: argparse.Namespace) -> int:
    """List all runs, newest first; ask the servers among them for their health."""
    from swiftbox.serving.client import health_of_all

    rows = [run_summary(run) for run in run_folder.runs()]
    served = [row for row in rows if row["url"]]
    for row in rows:
        row["health"] = None
    for row, health in zip(served, health_of_all([row["url"] for row in served]), strict=True):
        row["health"] = health
    if getattr(options, "json", False):
        answer_json(rows)
        return DONE
    if not rows:
        say(text("no runs yet; `swiftbox demo` makes some", "还没有运行；`swiftbox demo` 可生成"))
    for row in rows:
        answer(run_line(row))
    return DONE


def run_line(row: dict[str, Any]) -> str:
    """Write one run: start, status, steps, loss, name, address."""
    from swiftbox.display.pipeline import step_progress

    started = time.strftime("%m-%d %H:%M", time.localtime(row["started"] or 0))
    status = pad(status_title(row["status"]), 8)
    steps = f"{row['step']}/{row['total_steps']}" if row["step"] else "-"
    if row["parts"]:
        steps = step_progress(row["parts"])
    loss = f"{row['loss']:.4f}" if row["loss"] is not None else "-"
    address = f"  {row['url']}  {health_title(row['health'])}" if row["url"] else ""
    return f"{started}  {status} {steps:>11} {loss:>8}  {row['name']}{address}"


def show_run(options: argparse.Namespace) -> int:
    """Show the record of one run."""
    run = run_folder.find(options.run)
    record = run_summary(run)
    model = run.folder / run_folder.MODEL
    record["checkpoints"] = [path.name for path in run_folder.checkpoints(run.folder)]
    record["best_checkpoint"] = best_checkpoint(run.folder)
    record["model"] = str(model) if model.is_dir() else None
    if ending := run_folder.newest_event(run.folder, *ENDING):
        record["ending"] = ending
    if options.json:
        answer_json(record)
        return DONE
    if not run_folder.is_ours(run.folder):
        note(
            text(
                "this record was not made by your swiftbox on this machine, or was edited since",
                "这份记录不是由你的 swiftbox 在本机生成，或之后被改动过",
            )
        )
    for number, step in enumerate(record.pop("parts"), start=1):
        outputs = "  ".join(f"{key}: {value}" for key, value in (step["made"] or {}).items())
        status = status_title(step["status"])
        line = text(
            f"step {number} {step['name']} ({step['task']}): {status}  {outputs}",
            f"步骤 {number} {step['name']}（{step['task']}）：{status}  {outputs}",
        )
        answer(line.rstrip())
        for remark in filter(None, (step["why"], *(step["instead"] or ()))):
            answer(f"  {remark}")
    for key, value in record.items():
        if value is not None and value != []:
            shown = readable(key, value)
            answer(text(f"{key}: {shown}", f"{SUMMARY_LABELS[key]}：{shown}"))
    return DONE


SUMMARY_LABELS = {
    "name": "名称",
    "status": "状态",
    "step": "步数",
    "total_steps": "总步数",
    "loss": "损失",
    "started": "开始时间",
    "url": "地址",
    "folder": "目录",
    "checkpoints": "检查点",
    "best_checkpoint": "最佳检查点",
    "model": "模型",
    "ending": "结束记录",
}
"""The Chinese label of each key of a run's record."""


def readable(key: str, value: Any) -> str:
    """Write one value of a run's record."""
    if key == "started":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if key == "status":
        return status_title(value)
    if key == "loss":
        return f"{value:.4f}"
    if key == "checkpoints":
        return ", ".join(value)
    if key == "ending":
        value = {name: field for name, field in value.items() if field is not None}
        value.pop("time", None)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def print_logs(options: argparse.Namespace) -> int:
    """Print what a run wrote, or follow it until it ends."""
    from swiftbox.display.live import View
    from swiftbox.launch.run import follow

    run = run_folder.find(options.run)
    if options.follow:
        with View(run_folder.task_of(run.folder), plain=options.plain) as view:
            return follow(run.folder, view.event)
    folders = [run.folder / step["folder"] for step in pipeline_steps(run)]
    for log in (folder / run_folder.LOG for folder in (*folders, run.folder)):
        answer_text(pieces(log))
    return DONE


def stop_run(options: argparse.Namespace) -> int:
    """Ask a run to save and stop, and wait for it."""
    from swiftbox.launch.run import stop

    run = run_folder.find(options.run)
    if not run.is_active:
        say(
            text(
                f"{run.name} is not running ({run.status})",
                f"{run.name} 未在运行（{status_title(run.status)}）",
            )
        )
        return DONE
    if stop(run.folder, timeout_s=options.wait):
        say(text(f"{run.name} has stopped", f"{run.name} 已停止"))
        return DONE
    say(text(f"{run.name} is still saving", f"{run.name} 仍在保存"))
    return FAILED


def start_again(options: argparse.Namespace) -> int:
    """Resume a run in its folder, or rerun or extend it in a new one."""
    from swiftbox.launch.extend import prepare_extend
    from swiftbox.launch.prepare import prepare_rerun, prepare_resume

    actions = {"resume": prepare_resume, "rerun": prepare_rerun, "extend": prepare_extend}
    prepare = actions[options.action]
    with shown_row_progress():
        prepared = prepare(run_folder.find(options.run).folder, options.overrides)
    return launch(prepared, options)
