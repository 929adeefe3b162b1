"""`run`, and what every verb shares that starts a run: the live display or the background."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.cli.agreement import ask_of, show
from swiftbox.cli.output import FAILED, note, say
from swiftbox.display.row_progress import shown_row_progress
from swiftbox.language import text

if TYPE_CHECKING:  # tasks and engines are loaded only to run
    from swiftbox.engines.consent import Consent
    from swiftbox.launch.prepare import Prepared
    from swiftbox.launch.record import Ready


def run(options: argparse.Namespace) -> int:
    """Run a YAML."""
    from swiftbox.launch.prepare import prepare

    with shown_row_progress():
        prepared = prepare(Path(options.file), options.overrides)
    return launch(prepared, options)


def launch(prepared: Prepared, options: argparse.Namespace) -> int:
    """Say what it does outside its folder and ask; install engines, record it, and run it."""
    from swiftbox.engines.consent import install_missing
    from swiftbox.launch.prepare import agreed
    from swiftbox.launch.record import record

    prepared = with_offers(prepared, options)
    show(prepared.disclosure)
    prepared = agreed(prepared, ask_of(options))
    install_missing(prepared.engines, consent_of(options))
    return run_recorded(record(prepared), options)


def with_offers(prepared: Prepared, options: argparse.Namespace) -> Prepared:
    """Ask whether to install engines that a run can do without; prepare it again if it may.

    Without a terminal nobody is asked: the plan says what is used instead, and why.
    """
    from swiftbox.engines.consent import install_missing, offer
    from swiftbox.launch.prepare import offered_engines, prepare_loaded

    engines = offered_engines(prepared) if can_ask(options) else ()
    if not engines or not offer(engines):
        return prepared
    install_missing(engines, lambda _: True)
    return replace(prepare_loaded(prepared.loaded), new_folder=prepared.new_folder)


def consent_of(options: argparse.Namespace) -> Consent:
    """Return the function that asks for consent to an installation; with --yes it agrees."""
    from swiftbox.engines import consent

    return consent.agree if options.yes else consent.ask


def run_recorded(ready: Ready, options: argparse.Namespace) -> int:
    """Announce a recorded run; run it with the live display, or in the background."""
    from swiftbox.display.live import View
    from swiftbox.launch import run as launcher

    announce(ready)
    if options.detach:
        command = f"swiftbox runs logs {ready.folder.name} -f"
        say(text(f"follow it with {command}", f"跟踪运行：{command}"))
        return launcher.run(ready, detach=True)
    with View(ready.plan.config.task, plain=options.plain) as view:
        code = launcher.run(ready, on_event=view.event)
    if code == FAILED and can_ask(options):
        from swiftbox.menu.failure_screen import continue_after_failures

        return continue_after_failures(ready.folder, code)
    return code


def can_ask(options: argparse.Namespace) -> bool:
    """Tell whether a person sits at the terminal and wants to be asked."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return not (options.yes or options.plain) and all(stream.isatty() for stream in streams)


def is_same_folder(name: str, folder: Path) -> bool:
    """Tell whether a name in a YAML is that of a folder."""
    return Path(name).expanduser().resolve() == folder.resolve()


def announce(ready: Ready) -> None:
    """Report the settled values and the run folder."""
    for decision in ready.plan.notes:
        say(f"  {decision.line()}")
    for line in (*ready.prepared.remarks, *ready.prepared.outline):
        say(line)
    requested = ready.plan.config.output_dir
    is_new = ready.prepared.resumes is None
    if is_new and requested != "auto" and not is_same_folder(requested, ready.folder):
        note(
            text(
                f"{requested} holds another run, which is left unchanged",
                f"{requested} 中已有另一次运行，保持不变",
            )
        )
    say(text(f"run folder: {ready.folder}", f"运行目录：{ready.folder}"))
