"""`download`: writes the YAML of `task: download` from the command line, and runs it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from swiftbox.cli.output import DONE, answer_json
from swiftbox.cli.run import run_recorded
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder


def download(options: argparse.Namespace) -> int:
    """Fetch models, or datasets, as `task: download` does."""
    from swiftbox.engines.consent import install_missing, refuse
    from swiftbox.launch.prepare import prepare
    from swiftbox.launch.record import record

    prepared = prepare(None, settings_of(options))
    install_missing(prepared.engines, refuse)
    ready = record(prepared)
    code = run_recorded(ready, options)
    if options.json:
        answer_json({"ok": code == DONE, **outcome(ready.folder)})
    return code


def settings_of(options: argparse.Namespace) -> list[str]:
    """Return the settings of the YAML that the options stand for."""
    ids = [word for word in options.ids if "=" not in word]
    settings = {
        "task": "download",
        "dataset" if options.dataset else "model": ids or None,
        "hub": options.hub,
        "revision": options.revision,
        "local_dir": options.to,
    }
    return [
        *(f"{key}={json.dumps(value)}" for key, value in settings.items() if value is not None),
        *(word for word in options.ids if "=" in word),
        *options.overrides,
    ]


def outcome(folder: Path) -> dict[str, Any]:
    """Return the fetched and failed ids that a download recorded."""
    recorded = list(run_folder.every_event(folder))

    def fields_of(kind: str) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in event.items() if key not in ("time", "event")}
            for event in recorded
            if event["event"] == kind
        ]

    return {
        "run": folder.name,
        "run_folder": str(folder),
        "status": run_folder.find(str(folder)).status,
        "fetched": fields_of(events.FETCHED),
        "missed": fields_of(events.MISSED),
    }
