"""`doctor` and `demo`: what this machine has, and a first run on it."""

from __future__ import annotations

import argparse
from pathlib import Path

from swiftbox.cli.output import DONE, answer_json


def doctor(options: argparse.Namespace) -> int:
    """Show the hardware and software of this machine."""
    from swiftbox.devices.doctor import examine
    from swiftbox.devices.doctor_table import render

    examination = examine(Path.cwd())
    if options.json:
        answer_json(examination.to_dict())
        return DONE
    from rich.console import Console

    Console().print(render(examination))
    return DONE


def demo(options: argparse.Namespace) -> int:
    """Create, train and try the starter model."""
    from swiftbox.display.demo import demo as start

    return start(Path(options.folder), name=options.name)
