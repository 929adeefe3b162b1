"""Every verb runs in a folder of traps: no module of the current folder is imported, and all work.

`python -P -m swiftbox` starts as the installed command does; `python -m swiftbox` puts the current
folder first, and Python itself imports a few modules before swiftbox can drop it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import HANG_S, LONGEST_RUN_S, until
from tiny import write_chats
from traps import BEFORE_US, set_traps

from swiftbox.cli.parser import parser

SAFE = (sys.executable, "-P", "-m", "swiftbox")
USUAL = (sys.executable, "-m", "swiftbox")

YAML = "task: download\nhub: local\nmodel: {folder}\nlocal_dir: copy\noutput_dir: runs/copy\n"
"""A run with a worker and without torch."""

LIGHT: dict[str, tuple[str, ...]] = {
    "check": ("check", "copy.yaml"),
    "run": ("run", "copy.yaml", "--yes"),
    "new": ("new", "sft-lora", "-o", "new.yaml"),
    "import": ("import", "foreign.yaml", "--from", "llamafactory"),
    "schema": ("schema", "merge"),
    "download": ("download", "{folder}", "hub=local", "local_dir=copy-2"),
    "models": ("models",),
    "datasets": ("datasets",),
    "convert": ("convert", "{folder}"),
    "runs list": ("runs", "list"),
    "runs show": ("runs", "show", "runs/copy"),
    "runs logs": ("runs", "logs", "runs/copy"),
    "runs stop": ("runs", "stop", "runs/copy"),
    "runs resume": ("runs", "resume", "runs/copy", "--yes"),
    "runs rerun": ("runs", "rerun", "runs/copy", "--yes"),
    "runs extend": ("runs", "extend", "runs/copy", "num_train_epochs=2"),
    "engines list": ("engines", "list"),
    "engines install": ("engines", "install", "nothing"),
    "engines remove": ("engines", "remove", "gptq"),
    "engines test": ("engines", "test", "gptq"),
    "chat": ("chat", "nothing"),
    "doctor": ("doctor",),
    "demo": ("demo", "--name", "{"),
    "guide": ("guide", "start"),
}
"""For each verb: a command line without torch."""

REFUSED = {
    "runs resume": 2,  # the run is complete
    "convert": 2,  # no adapter
    "engines install": 2,
    "engines test": 1,
    "chat": 2,
    "runs extend": 2,
    "demo": 2,
}
"""Exit codes of the command lines that end with an error."""


def verbs(top: argparse.ArgumentParser) -> Iterator[str]:
    """Yield every verb with its action, as the parser has them."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                inner = list(verbs(verb))
                yield from (f"{name} {rest}" for rest in inner) if inner else [name]


def ran(command: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=LONGEST_RUN_S
    )


@pytest.fixture
def desk(tmp_path: Path, tiny: Path) -> Path:
    """A working folder with the files that the verbs need."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "copy.yaml").write_text(YAML.format(folder=tiny))
    (folder / "foreign.yaml").write_text("stage: sft\nmodel_name_or_path: a/b\ndataset: x\n")
    return folder


def test_every_verb_is_tried_among_traps() -> None:
    assert set(verbs(parser())) == set(LIGHT)


@pytest.mark.parametrize(
    ("start", "names"),
    [(SAFE, tuple(LIGHT)), (USUAL, ("check", "run", "models", "doctor"))],
    ids=["installed", "module"],
)
def test_no_verb_imports_from_the_current_folder(
    start: tuple[str, ...], names: tuple[str, ...], desk: Path, tiny: Path
) -> None:
    marks = set_traps(desk, skip=frozenset() if start == SAFE else BEFORE_US)
    wrong = []
    for name in names:
        arguments = (part.replace("{folder}", str(tiny)) for part in LIGHT[name])
        done = ran((*start, *arguments), desk)
        if done.returncode != REFUSED.get(name, 0):
            wrong.append(f"{name}: {done.returncode} {done.stdout} {done.stderr}")
        if imported := marks.read_text():
            wrong.append(f"{name} imported {imported}")
            marks.write_text("")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_training_and_chat_import_nothing_from_the_current_folder(desk: Path, tiny: Path) -> None:
    rows = write_chats(desk / "rows.jsonl", 8)
    marks = set_traps(desk)
    settings = {"model": str(tiny), "dataset": str(rows), "tuner_type": "lora", "max_steps": 1}
    (desk / "train.yaml").write_text(
        json.dumps({"stage": "sft", **settings, "max_length": 128, "output_dir": "runs/tuned"})
    )
    train = ran((*SAFE, "run", "train.yaml", "--yes"), desk)
    assert train.returncode == 0, train.stdout + train.stderr
    chat = ran((*SAFE, "chat", "runs/tuned", "--message", "hello"), desk)
    assert chat.returncode == 0, chat.stdout + chat.stderr
    assert marks.read_text() == ""


def is_complete(path: Path) -> bool:
    """Return whether a JSON file is there and written to its end."""
    try:
        return bool(json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return False


@pytest.mark.slow
def test_the_demo_imports_nothing_from_the_current_folder(desk: Path) -> None:
    marks = set_traps(desk)
    process = subprocess.Popen(
        (*SAFE, "demo", "--name", "Ada"),
        cwd=desk,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    try:
        model = desk / "swiftbox-demo" / "model" / "config.json"
        until(lambda: is_complete(model) or process.poll() is not None, what="the demo's model")
        assert is_complete(model)
    finally:
        process.terminate()
        process.wait(timeout=HANG_S)
    assert marks.read_text() == ""
