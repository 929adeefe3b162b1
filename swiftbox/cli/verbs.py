"""What each verb does; answers go to stdout, talk to stderr."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.display import pipeline as part_lines
from swiftbox.errors import ConfigError, UserError
from swiftbox.files import write_atomic, write_json
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder

if TYPE_CHECKING:  # tasks and engines are loaded only to run
    from swiftbox.engines.consent import Consent
    from swiftbox.launch.prepare import Prepared
    from swiftbox.launch.record import Ready


def say(line: str) -> None:
    """Write a line of talk; a reader that has left misses it, and nothing else happens."""
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(line + "\n")


def answer(line: str) -> None:
    """Write a line of the answer."""
    sys.stdout.write(line + "\n")


def run(options: argparse.Namespace) -> int:
    """Run a YAML."""
    from swiftbox.launch.prepare import prepare

    return launch(prepare(Path(options.file), options.overrides), options)


def consent_of(options: argparse.Namespace) -> Consent:
    """Return what is asked before an engine is installed: --yes agrees, else the terminal does."""
    from swiftbox.engines import consent

    return consent.agree if options.yes else consent.ask


def launch(prepared: Prepared, options: argparse.Namespace) -> int:
    """Run what was prepared, with the live view or detached."""
    from swiftbox.engines.consent import install_missing
    from swiftbox.launch.record import record

    install_missing(prepared.engines, consent_of(options))
    return run_recorded(record(prepared), options)


def run_recorded(ready: Ready, options: argparse.Namespace) -> int:
    """Announce a recorded run, then run it with the live view or detached."""
    from swiftbox.display.live import View
    from swiftbox.launch import run as launching

    _announce(ready, options)
    if options.detach:
        return launching.run(ready, detach=True)
    with View(plain=options.plain) as view:
        return launching.run(ready, on_event=view.event)


def _announce(ready: Ready, options: argparse.Namespace) -> None:
    """Print the decisions of the plan, the remarks, and where the run is recorded."""
    folder, planned = ready.folder, ready.plan
    for note in planned.notes:
        say(f"  {note.key}: {note.value}  # {note.why}")
    for line in (*ready.prepared.remarks, *ready.prepared.outline):
        say(line)
    output_dir = planned.config.output_dir
    if output_dir != "auto" and Path(output_dir).expanduser().resolve() != folder.resolve():
        say(
            text(
                f"note: {output_dir} holds another run, which stays as it is",
                f"提示：{output_dir} 中已有另一次运行，保持不变",
            )
        )
    say(text(f"run folder: {folder}", f"运行目录：{folder}"))
    if options.detach:
        say(text("follow it with", "跟踪运行：") + f" swiftbox runs logs {folder.name} -f")


def check(options: argparse.Namespace) -> int:
    """Find every mistake of a YAML without running it."""
    from swiftbox.devices.imagined import imagined
    from swiftbox.launch.prepare import prepare

    try:
        machine = imagined(options.on) if options.on else None
        prepared = prepare(Path(options.file), options.overrides, machine=machine)
    except UserError as error:
        if options.json:
            answer(json.dumps({"ok": False, "error": error.message, "hint": error.hint}))
            return 2
        raise
    checked = prepared.rows
    if options.json:
        answer(json.dumps(_as_json(prepared), ensure_ascii=False))
        return 0
    for line in prepared.loaded.notes:
        say(text(f"note: {line}", f"提示：{line}"))
    for line in prepared.remarks:
        say(line)
    for note in prepared.plan.notes:
        answer(f"{note.key}: {note.value}  # {note.why}")
    if checked is not None:
        answer(checked.summary())
    for fit in (prepared.estimate, prepared.forecast):
        for line in fit.lines() if fit is not None else ():
            answer(line)
    for one in prepared.engines:
        answer(one.line())
    answer("command: " + " ".join(prepared.plan.command))
    if options.preview:
        from swiftbox.display.preview import show
        from swiftbox.tasks.load import of_training

        show(of_training(prepared.plan.config))
    return 0


def _as_json(prepared: Any) -> dict[str, Any]:
    return {
        "ok": True,
        "notes": list(prepared.loaded.notes),
        "remarks": list(prepared.remarks),
        "config": prepared.plan.config.model_dump(mode="json"),
        "reasons": {note.key: note.why for note in prepared.plan.notes},
        "command": list(prepared.plan.command),
        "rows": prepared.rows.rows if prepared.rows else None,
        "data": prepared.rows.data() if prepared.rows else None,
        "fit": prepared.estimate.to_dict() if prepared.estimate else None,
        "engines": [one.to_dict() for one in prepared.engines],
        "whole": prepared.forecast.to_dict() if prepared.forecast else None,
    }


def new(options: argparse.Namespace) -> int:
    """Write a YAML from a preset."""
    from swiftbox.config.presets import presets, without_example_adapter
    from swiftbox.config.writing import write
    from swiftbox.tasks.load import load

    known = presets()
    if options.preset is None:
        for name, path in known.items():
            answer(f"{name:<14} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
        return 0
    if options.preset not in known:
        raise ConfigError(
            text(f"no preset named {options.preset}", f"没有名为 {options.preset} 的预设"),
            hint=text(f"there are: {', '.join(known)}", f"可选：{', '.join(known)}"),
        )
    loaded = load(known[options.preset], options.overrides)
    config = without_example_adapter(loaded.config, options.overrides)
    shown = options.output or "FILE"
    content = write(
        config,
        header=[
            text(f"Run: swiftbox run {shown}", f"运行：swiftbox run {shown}"),
            f"yaml-language-server: $schema={_schema_file(loaded.config.task).as_uri()}",
        ],
        keys=loaded.asked if config is loaded.config else loaded.asked - {"adapter"},
    )
    if options.output:
        _write_new(Path(options.output), content, force=options.force)
    else:
        sys.stdout.write(content)
    return 0


def _write_new(target: Path, content: str, *, force: bool) -> None:
    """Write a YAML that is not there yet, and say what comes next."""
    if target.exists() and not force:
        raise ConfigError(
            text(f"{target} exists", f"{target} 已存在"),
            hint=text("--force overwrites it", "--force 可覆盖"),
        )
    try:
        write_atomic(target, content)
    except OSError as error:
        raise ConfigError(
            text(
                f"cannot write {target}: {error.strerror}", f"无法写入 {target}：{error.strerror}"
            ),
            hint=text("choose another file with -o", "请用 -o 另选文件"),
        ) from None
    say(
        text(
            f"wrote {target}; next: swiftbox check {target}",
            f"已写入 {target}；下一步：swiftbox check {target}",
        )
    )


def import_file(options: argparse.Namespace) -> int:
    """Turn a config of another tool into a YAML of ours, with an account of every key."""
    from swiftbox.converters.report import as_json, lines_of, yaml_of
    from swiftbox.converters.translating import import_config

    try:
        imported = import_config(Path(options.file), options.overrides, asked=options.tool)
    except UserError as error:
        if options.json:
            answer(json.dumps({"ok": False, "error": error.message, "hint": error.hint}))
            return 2
        raise
    content = yaml_of(imported, options.output or "FILE")
    if not options.json:
        for line in lines_of(imported):
            say(line)
    if options.output:
        _write_new(Path(options.output), content, force=options.force)
    if options.json:
        account = as_json(imported, content, options.output)
        answer(json.dumps(account, ensure_ascii=False, default=str))
    elif not options.output:
        sys.stdout.write(content)
    return 0


def _schema_file(task: str) -> Path:
    """Write the schema of the installed version where editors can find it."""
    from swiftbox.language import home
    from swiftbox.tasks.schema import schema_of

    path = home() / f"schema-{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, schema_of(task))
    return path.resolve()


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a task."""
    from swiftbox.tasks import TASKS
    from swiftbox.tasks.schema import schema_of

    if options.task not in TASKS:
        raise ConfigError(
            text(f"no task named {options.task}", f"没有名为 {options.task} 的任务"),
            hint=text(f"there are: {', '.join(TASKS)}", f"可选：{', '.join(TASKS)}"),
        )
    answer(json.dumps(schema_of(options.task), ensure_ascii=False, indent=2))
    return 0


def runs(options: argparse.Namespace) -> int:
    """Do what is asked of the runs."""
    actions = {
        None: _list_runs,
        "list": _list_runs,
        "show": _show_run,
        "logs": _logs,
        "stop": _stop_run,
        "resume": _again,
        "rerun": _again,
    }
    return actions[options.action](options)


def _list_runs(options: argparse.Namespace) -> int:
    from swiftbox.serving.client import healths

    rows = [run_folder.run_summary(one) for one in run_folder.runs()]
    served = [row for row in rows if row["url"]]
    told = healths([row["url"] for row in served])
    of_row = {row["folder"]: one for row, one in zip(served, told, strict=True)}
    for row in rows:
        row["health"] = of_row.get(row["folder"])
    if getattr(options, "json", False):
        answer(json.dumps(rows, ensure_ascii=False))
        return 0
    if not rows:
        say(text("no runs yet; `swiftbox demo` makes some", "还没有运行；`swiftbox demo` 可生成"))
    for row in rows:
        started = time.strftime("%m-%d %H:%M", time.localtime(row["started"] or 0))
        steps = f"{row['step']}/{row['total_steps']}" if row["step"] else "-"
        if row["parts"]:
            steps = part_lines.progress(row["parts"])
        loss = f"{row['loss']:.4f}" if row["loss"] is not None else "-"
        where = f"  {row['url']}  {row['health']}" if row["url"] else ""
        answer(f"{started}  {row['status']:<8} {steps:>11} {loss:>8}  {row['name']}{where}")
    return 0


def _show_run(options: argparse.Namespace) -> int:
    one = run_folder.find(options.run)
    found = run_folder.run_summary(one)
    kept = [path.name for path in run_folder.checkpoints(one.folder)]
    model = one.folder / run_folder.MODEL
    found |= {"checkpoints": kept, "model": str(model) if model.is_dir() else None}
    ending = [
        event
        for event in run_folder.read_events(one.folder)[0]
        if event.get("event") in events.ENDING
    ]
    if ending:
        found["ending"] = ending[-1]
    if options.json:
        answer(json.dumps(found, ensure_ascii=False))
        return 0
    for number, part in enumerate(found.pop("parts"), start=1):
        made = "  ".join(f"{key}: {value}" for key, value in (part["made"] or {}).items())
        answer(f"step {number} {part['name']} ({part['task']}): {part['status']}  {made}".rstrip())
    for key, value in found.items():
        if value is not None and value != []:
            answer(f"{key}: {_shown(key, value)}")
    return 0


def _shown(key: str, value: Any) -> str:
    if key == "started":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if key == "ending":
        told = {name: one for name, one in value.items() if one is not None and name != "time"}
        return json.dumps(told, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def _logs(options: argparse.Namespace) -> int:
    from swiftbox.display.live import View
    from swiftbox.launch.run import follow

    one = run_folder.find(options.run)
    if not options.follow:
        places = [one.folder / part["folder"] for part in run_folder.pipeline_steps(one)]
        for log in (place / run_folder.LOG for place in (*places, one.folder)):
            if log.is_file():
                sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
        return 0
    with View(plain=options.plain) as view:
        return follow(one.folder, view.event)


def _stop_run(options: argparse.Namespace) -> int:
    from swiftbox.launch.run import stop

    one = run_folder.find(options.run)
    if not one.is_active:
        say(
            text(
                f"{one.name} is not running ({one.status})", f"{one.name} 未在运行（{one.status}）"
            )
        )
        return 0
    if stop(one.folder, timeout_s=options.wait):
        say(text(f"{one.name} has stopped", f"{one.name} 已停止"))
        return 0
    say(text(f"{one.name} is still saving", f"{one.name} 仍在保存"))
    return 1


def _again(options: argparse.Namespace) -> int:
    from swiftbox.launch.prepare import prepare_rerun, prepare_resume

    prepare = prepare_resume if options.action == "resume" else prepare_rerun
    return launch(prepare(run_folder.find(options.run).folder, options.overrides), options)


def doctor(options: argparse.Namespace) -> int:
    """Say what this machine has and lacks."""
    from swiftbox.devices.doctor import examine, render

    found = examine(Path.cwd())
    if options.json:
        answer(json.dumps(found.to_dict(), ensure_ascii=False))
        return 0
    from rich.console import Console

    Console().print(render(found))
    return 0


def demo(options: argparse.Namespace) -> int:
    """Make, train and try the starter model."""
    from swiftbox.display.demo import demo as start

    return start(Path(options.folder), name=options.name)
