"""Every way to the screen is fed with what strangers may write; nothing of it acts."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from box import COMMAND, HANG_S
from hub.search_server import search_server
from model_folder import write_model
from terminal_attacks import (
    ATTACKS,
    READABLE,
    Screen,
    everything,
    intrusions,
    shown_by,
    standard_terminal,
)

import swiftbox
from swiftbox.chat.answers import AnswerPrinter
from swiftbox.chat.conversation import Conversation
from swiftbox.cli.main import main
from swiftbox.display.lines import DISPLAYS
from swiftbox.display.live import View
from swiftbox.errors import UserError
from swiftbox.menu.terminal import print_error, print_line, print_wrapped
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create

EVIL = everything()
FILE_NAME = "".join(
    ATTACKS[name] for name in ("cursor", "title", "direction", "bell", "8-bit title")
)
FILE_NAME = FILE_NAME.replace("/", "")


# ---- the command line: a case prepares a folder and returns the arguments


def yaml_with_hostile_keys(folder: Path) -> list[str]:
    settings = {"task": "train", EVIL: EVIL, "model": EVIL, "learning_rate": EVIL, "stage": EVIL}
    (folder / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return ["check", "a.yaml"]


def rows_with_hostile_keys(folder: Path) -> list[str]:
    rows = [{EVIL: EVIL}, {"messages": EVIL}, {"messages": [{"role": EVIL, "content": EVIL}]}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_model(folder / "model")
    settings = {"task": "train", "stage": "sft", "model": "./model", "dataset": "./rows.jsonl"}
    (folder / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return ["check", "a.yaml"]


def model_with_hostile_names(folder: Path) -> list[str]:
    write_model(folder / FILE_NAME, model_type=EVIL, architectures=[EVIL])
    settings = {"task": "train", "model": f"./{FILE_NAME}", "dataset": f"./{FILE_NAME}"}
    (folder / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return ["check", "a.yaml"]


def adapter_with_hostile_names(folder: Path) -> list[str]:
    write_model(folder / "model")
    adapter = {"peft_type": EVIL, "base_model_name_or_path": EVIL, "revision": EVIL, "r": EVIL}
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(adapter), "utf-8")
    settings = {"task": "merge", "adapter": "./adapter"}
    (folder / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return ["check", "a.yaml"]


def hostile_run(folder: Path) -> Path:
    run = create(folder / FILE_NAME)
    run_folder.update_state(run, status="failed", task=EVIL, url=None, started=1.0, error=EVIL)
    run_folder.append_event(run, events.FAILED, message=EVIL, hint=EVIL, kind=EVIL, traceback=EVIL)
    (run / run_folder.LOG).write_text(EVIL * 2000, "utf-8")
    return run


def foreign_config(folder: Path) -> list[str]:
    settings = {"base_model": EVIL, EVIL: EVIL, "adapter": EVIL, "sequence_len": EVIL}
    (folder / "axolotl.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return ["import", "axolotl.yaml", "--from", "axolotl"]


CASES: dict[str, Callable[[Path], list[str]]] = {
    "a verb": lambda _: [EVIL],
    "an option": lambda _: ["run", "a.yaml", f"--{EVIL}"],
    "a file name": lambda _: ["check", FILE_NAME],
    "an override": lambda _: ["new", "sft-lora", f"{EVIL}={EVIL}"],
    "the value of an override": lambda _: ["new", "sft-lora", f"model={EVIL.replace(chr(0), '')}"],
    "an output file": lambda _: ["new", "sft-lora", "-o", FILE_NAME],
    "a preset": lambda _: ["new", EVIL],
    "a topic": lambda _: ["guide", EVIL],
    "a task": lambda _: ["schema", EVIL],
    "a query": lambda _: ["models", EVIL],
    "an engine": lambda _: ["engines", "install", EVIL],
    "a run": lambda _: ["runs", "show", EVIL],
    "keys and values of a YAML": yaml_with_hostile_keys,
    "rows": rows_with_hostile_keys,
    "a model folder": model_with_hostile_names,
    "an adapter folder": adapter_with_hostile_names,
    "a config of another tool": foreign_config,
    "the list of runs": lambda folder: [str(hostile_run(folder)), "runs", "list"][1:],
    "the record of a run": lambda folder: ["runs", "show", str(hostile_run(folder))],
    "the log of a run": lambda folder: ["runs", "logs", str(hostile_run(folder))],
    "the events of a run": lambda folder: ["runs", "logs", str(hostile_run(folder)), "-f"],
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("case", CASES)
def test_a_verb_shows_nothing_that_acts(
    case: str, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    monkeypatch.chdir(tmp_path)
    main(CASES[case](tmp_path))
    shown = "".join(capsys.readouterr())
    assert shown.strip()
    assert not intrusions(shown), ascii(shown)


@pytest.mark.parametrize("case", ["keys and values of a YAML", "the record of a run"])
def test_json_for_programs_is_exact_and_safe(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main([*CASES[case](tmp_path), "--json"])
    shown = capsys.readouterr().out
    assert not intrusions(shown), ascii(shown)
    record = json.loads(shown)
    if case == "the record of a run":
        assert record["name"] == FILE_NAME
        assert record["ending"]["message"] == EVIL


@pytest.mark.parametrize("case", ["keys and values of a YAML", "the log of a run", "a query"])
def test_a_real_terminal_gets_nothing_that_acts(case: str, tmp_path: Path) -> None:
    arguments = CASES[case](tmp_path)
    screen = Screen()
    subprocess.run(
        [*COMMAND, *[argument.replace("\0", "") for argument in arguments]],
        cwd=tmp_path, stdin=screen.file, stdout=screen.file, stderr=screen.file,
        timeout=HANG_S, env=dict(os.environ), check=False,
    )  # fmt: skip
    shown = screen.close()
    assert shown.strip()
    assert not intrusions(shown, plain=False), ascii(shown)


def test_search_results_of_a_hub_are_shown_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hit = {"id": f"o/{EVIL}", "downloads": 3, "license": EVIL, "tasks": [EVIL], "tags": [EVIL]}
    with search_server() as hub:
        hub.body = json.dumps(
            {"success": True, "data": {"models": [hit], "total_count": 1}}
        ).encode()
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.chdir(tmp_path)
        main(["models", "qwen", "--online"])
    shown = "".join(capsys.readouterr())
    assert not intrusions(shown), ascii(shown)


# ---- what a run shows


def hostile_events() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each event of each task with hostile text in every field that takes text."""
    from display.test_lines import DECLARED, minimal

    for event, task, declared in DECLARED:
        recorded = _hostile(minimal(event, declared))
        for name in [task] if task else DISPLAYS:
            yield name, {**recorded, "event": event}


KEPT_WORDS = ("kept", "begins", "goes on", "serves", "training", "memory", "note", "base")
"""Words of the record that stand for something, such as the action of a step."""


def _hostile(value: Any) -> Any:
    if isinstance(value, str):
        return value if value in KEPT_WORDS else value + EVIL
    if isinstance(value, dict):
        return {key: _hostile(field) for key, field in value.items()}
    return [_hostile(part) for part in value] if isinstance(value, list) else value


def test_a_live_display_in_a_terminal_shows_nothing_that_acts() -> None:
    def show(terminal: Any) -> None:
        for task, event in hostile_events():
            with View(task, stream=terminal) as view:
                assert not view.plain
                view.event({"event": "stage", "name": EVIL, "detail": EVIL})
                view.event(event)

    shown = shown_by(show)
    assert len(shown) > 10_000
    assert not intrusions(shown, plain=False)


def test_plain_lines_of_events_show_nothing_that_acts() -> None:
    for task, event in hostile_events():
        stream = io.StringIO()
        with View(task, plain=True, stream=stream) as view:
            view.event(event)
        assert not intrusions(stream.getvalue()), (task, event["event"])


def test_markup_of_the_display_library_in_an_event_is_text() -> None:
    def show(terminal: Any) -> None:
        with View("train", stream=terminal) as view:
            view.event({"event": "note", "message": "[bold red]x[/bold red] [/] [link=a]b[/link]"})

    assert "[bold red]x[/bold red] [/] [link=a]b[/link]" in shown_by(show)


def test_a_preview_of_rows_shows_nothing_that_acts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from swiftbox.display.row_preview import print_texts
    from swiftbox.tasks.previewed_rows import PreviewedText
    from swiftbox.templates.parts import TextPart

    parts = (TextPart(EVIL, 1.0), TextPart(f"{READABLE} [/]", 0.0))
    print_texts([PreviewedText(f"[/red]{EVIL}", 1, "chosen", parts)], None)
    shown = capsys.readouterr().out
    assert not intrusions(shown)
    assert "[/red]" in shown


def test_the_answers_of_the_demo_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    from swiftbox.display.demo import show_answers

    show_answers([{"question": EVIL, "before": f"{EVIL} [/]", "after": "[red]x[/red]"}])
    shown = capsys.readouterr().out
    assert not intrusions(shown)
    assert "[red]x[/red]" in shown


# ---- chat


def test_answers_of_a_model_act_on_no_terminal_however_they_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from swiftbox.chat import answers
    from swiftbox.serving.client import Endpoint
    from swiftbox.serving.questions import AnswerPiece, Participant

    content = EVIL + READABLE
    pieces = [AnswerPiece(number, letter, None) for letter in content for number in (0, 1)]
    pieces += [AnswerPiece(0, "", "stop"), AnswerPiece(1, "", "error", error=EVIL)]
    monkeypatch.setattr(answers, "ask_all", lambda *_: iter(pieces))
    names = [Participant(EVIL, Endpoint("http://127.0.0.1:9"), EVIL, 0.0) for _ in range(2)]
    for columns in ("80", "160"):
        monkeypatch.setenv("COLUMNS", columns)
        conversation = Conversation(2, "")
        shown = shown_by(
            lambda terminal, conversation=conversation: AnswerPrinter(
                names, 9, terminal, terminal
            ).ask("hi", conversation)
        )
        assert not intrusions(shown), columns
        assert "中文" in shown
        assert conversation.answers == [[content.strip()] * 2]  # the record keeps what was said


# ---- the menu


def test_lines_and_errors_of_the_menu_show_nothing_that_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with standard_terminal(monkeypatch) as screen:
        print_line(EVIL)
        print_wrapped(EVIL)
        print_error(UserError(EVIL, hint=EVIL))
        monkeypatch.undo()
        shown = screen.close()
    assert not intrusions(shown)


def test_lists_of_the_menu_show_nothing_that_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output.vt100 import Vt100_Output

    from swiftbox.menu.options.models import ModelOptions
    from swiftbox.menu.picker import Picker
    from swiftbox.menu.questions import select, select_many

    write_model(tmp_path / FILE_NAME)
    monkeypatch.chdir(tmp_path)
    screen = Screen()
    output = Vt100_Output.from_pty(screen.file, term="xterm")
    with create_pipe_input() as typed, create_app_session(input=typed, output=output):
        monkeypatch.setattr("sys.stdout", screen.file)
        typed.send_text("\r \r")
        select(EVIL, [(1, EVIL), (2, EVIL)])
        select_many(EVIL, [(1, EVIL)], [])
        typed.send_text("./\x1b[B\t\r")
        Picker(EVIL, ModelOptions(lambda: None), lambda _: "").pick()
        monkeypatch.undo()
    shown = screen.close()
    assert "good\x08" not in shown
    assert not intrusions(shown.replace("\x08", ""), plain=False), ascii(shown)  # moves the cursor


# ---- the law


WRITERS = {
    "cli/agreement.py": 1,
    "security/template_trial.py": 1,  # JSON
    "cli/arguments.py": 1,  # the help
    "cli/output.py": 6,
    "chat/terminal.py": 1,
    "core/tuners/attach.py": 1,  # log.txt
    "core/tuners/trial_attach.py": 1,  # JSON
    "core/weights/quantize.py": 1,  # log.txt
    "core/weights/trial_load.py": 1,  # JSON
    "core/weights/skeleton.py": 1,  # JSON for the process that started it
    "core/weights/starter_model.py": 1,  # JSON
    "core/weights/unpickle.py": 1,  # JSON
    "devices/probe_child.py": 1,  # JSON
    "display/chat_session.py": 1,
    "display/demo.py": 3,
    "display/live.py": 2,
    "display/row_preview.py": 5,
    "display/row_progress.py": 1,
    "engines/consent.py": 2,
    "engines/tool_runner.py": 1,  # log.txt
    "evaluation/own_rows/measure.py": 1,  # JSON for the process that started it
    "serving/engine_server.py": 2,  # JSON, and log.txt
    "menu/entry.py": 1,
    "menu/loop.py": 1,
    "menu/terminal.py": 1,
    "quantization/conversion_trial.py": 1,  # JSON
    "quantization/processes.py": 1,  # log.txt
    "worker.py": 1,
    "cli/guide.py": 1,
    "cli/machine.py": 1,
}
"""The modules that write to the standard streams, and how often. Before adding to it, write with
answer, say, print_line or View, which filter what strangers wrote."""


def test_only_known_places_write_to_the_standard_streams() -> None:
    package = Path(swiftbox.__file__).parent
    counts: dict[str, int] = {}
    for path in package.rglob("*.py"):
        if "engines/tools" in path.as_posix():
            continue  # their output is read by the process that started them
        count = sum(map(_writes, ast.walk(ast.parse(path.read_text("utf-8")))))
        if count:
            counts[path.relative_to(package).as_posix()] = count
    assert {name: count for name, count in counts.items() if count > WRITERS.get(name, 0)} == {}


def _writes(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called in ("print", "write_answer") or called.endswith(
        ("stdout.write", "stderr.write", "console.print", "Console().print", "stream.write")
    )
