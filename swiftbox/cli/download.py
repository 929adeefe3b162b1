"""What the verbs of the hubs do: `download` writes the YAML in your stead, and runs it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from swiftbox.cli.verbs import answer, run_recorded
from swiftbox.errors import UserError
from swiftbox.runs import folder as run_folder


def download(options: argparse.Namespace) -> int:
    """Fetch models, or datasets, as `task: download` does."""
    from swiftbox.engines.consent import install_missing, refuse
    from swiftbox.launch.prepare import prepare
    from swiftbox.launch.record import record

    try:
        prepared = prepare(None, settings_of(options))
        install_missing(prepared.engines, refuse)
        ready = record(prepared)
        code = run_recorded(ready, options)
    except UserError as error:
        if not options.json:
            raise
        answer(json.dumps({"ok": False, "error": error.message, "hint": error.hint}))
        return 2
    if options.json:
        answer(json.dumps({"ok": code == 0, **outcome(ready.folder)}, ensure_ascii=False))
    return code


def settings_of(options: argparse.Namespace) -> list[str]:
    """Return the settings of the YAML that the options stand for."""
    ids = [one for one in options.ids if "=" not in one]
    given = {
        "task": "download",
        "dataset" if options.dataset else "model": ids or None,
        "hub": options.hub,
        "revision": options.revision,
        "local_dir": options.to,
    }
    return [
        *(f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None),
        *(one for one in options.ids if "=" in one),
        *options.overrides,
    ]


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a download's record says it fetched and missed."""
    events, _ = run_folder.read_events(folder)

    def of(kind: str) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in one.items() if key not in ("time", "event")}
            for one in events
            if one["event"] == kind
        ]

    return {
        "run": folder.name,
        "run_folder": str(folder),
        "status": run_folder.find(str(folder)).status,
        "fetched": of("fetched"),
        "missed": of("missed"),
    }
