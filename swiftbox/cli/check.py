"""`check`: every mistake of a YAML, and what running it would do, without running it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.cli.output import DONE, answer, answer_json, note, say
from swiftbox.display.row_progress import shown_row_progress
from swiftbox.language import text

if TYPE_CHECKING:
    from swiftbox.launch.prepare import Prepared
    from swiftbox.tasks.previewed_rows import RowChoice


def check(options: argparse.Namespace) -> int:
    """Find every mistake of a YAML without running it."""
    from swiftbox.devices.hypothetical import hypothetical_machine
    from swiftbox.launch.prepare import prepare

    machine = hypothetical_machine(options.on) if options.on else None
    with shown_row_progress():
        prepared = prepare(Path(options.file), options.overrides, machine=machine)
    choice = _row_choice(options)
    if options.json:
        answer_json({**as_json(prepared), **_preview(prepared, choice)})
        return DONE
    report(prepared)
    if choice is not None:
        from swiftbox.display.row_preview import show
        from swiftbox.tasks.load import require_training

        show(require_training(prepared.plan.config), choice)
    return DONE


def _row_choice(options: argparse.Namespace) -> RowChoice | None:
    """Return the rows to preview; None without a preview."""
    if not (options.preview or options.rows is not None or options.line):
        return None
    from swiftbox.tasks.previewed_rows import USUAL_ROWS, RowChoice

    return RowChoice(options.rows or USUAL_ROWS, tuple(options.line))


def _preview(prepared: Prepared, choice: RowChoice | None) -> dict[str, Any]:
    """Return what a preview adds to the report for programs."""
    if choice is None:
        return {}
    from swiftbox.display import row_preview
    from swiftbox.tasks.load import require_training

    return row_preview.as_json(require_training(prepared.plan.config), choice)


def report(prepared: Prepared) -> None:
    """Print the plan with its reasons, the rows, the estimates, missing engines, the command."""
    for line in prepared.loaded.notes:
        note(line)
    for line in prepared.remarks:
        say(line)
    for decision in prepared.plan.notes:
        answer(decision.line())
    if prepared.rows is not None:
        answer(prepared.rows.summary())
    for estimate in (prepared.estimate, prepared.forecast):
        for line in estimate.lines() if estimate is not None else ():
            answer(line)
    for line in prepared.disclosure.lines():
        answer(line)
    if prepared.disclosure.needs_agreement:
        note(asks())
    for engine in prepared.engines:
        answer(engine.line())
    answer(text("command: ", "命令：") + " ".join(prepared.plan.command))


def asks() -> str:
    """Return the remark that the start will be asked for."""
    return text(
        "`run` asks before it starts this; without a terminal it needs --yes",
        "`run` 启动前会询问；没有终端时需要 --yes",
    )


def as_json(prepared: Prepared) -> dict[str, Any]:
    """Return the report for programs."""
    rows = prepared.rows
    return {
        "ok": True,
        "notes": list(prepared.loaded.notes),
        "remarks": list(prepared.remarks),
        "config": prepared.plan.config.model_dump(mode="json"),
        "reasons": {decision.key: decision.why for decision in prepared.plan.notes},
        "command": list(prepared.plan.command),
        "rows": rows.rows if rows else None,
        "data": rows.data() if rows else None,
        "fit": prepared.estimate.to_dict() if prepared.estimate else None,
        "effects": prepared.disclosure.to_dict(),
        "engines": [engine.to_dict() for engine in prepared.engines],
        "whole": prepared.forecast.to_dict() if prepared.forecast else None,
    }
