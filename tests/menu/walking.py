"""Walks through the menu by keys; a walk that goes astray ends instead of waiting for keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from socket import socket

import pytest
import yaml
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from swiftbox.menu import home, loop
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create
from swiftbox.serving import address

ENTER, DOWN, UP, CTRL_C, TAB, CLEAR = "\r", "\x1b[B", "\x1b[A", "\x03", "\t", "\x15"

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

RUNS = DOWN * len(home.TASKS) + ENTER


def entry(task: str) -> str:
    """Return the keys that choose a task on the home screen."""
    return DOWN * home.TASKS.index(task) + ENTER


def choice(at: int) -> str:
    """Return the keys that choose the entry of a list at a place."""
    return DOWN * at + ENTER


@contextmanager
def keys(*pressed: str) -> Iterator[None]:
    """Press keys within the block."""
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("".join(pressed))
        typed.close()
        yield


def walk(*pressed: str) -> None:
    """Walk through the menu from the home screen, and out of it."""
    with keys(*pressed):
        assert loop.run() == 0


def saved(path: Path) -> str:
    """Return a YAML without its comments, which follow the help texts."""
    lines = [line.split("  # ")[0].rstrip() for line in path.read_text("utf-8").splitlines()]
    return "\n".join(line for line in lines if not line.startswith("#")) + "\n"


def golden(name: str) -> str:
    """Return the YAML that a walk must save."""
    return (GOLDEN / f"{name}.yaml").read_text("utf-8")


def free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a deployment bind any port: one that another program uses is not the menu's matter."""
    monkeypatch.setattr(address, "listen_on", partial(_bound, address.listen_on))


def _bound(bind: Callable[[str, int], socket], host: str, _port: int) -> socket:
    return bind(host, 0)


def finished_run(folder: Path, *, quantized: bool = False, **settled: object) -> Path:
    """Make the folder of a finished run whose result is a complete model."""
    run = create(folder)
    (run / run_folder.MODEL).mkdir()
    config = {"quantization_config": {"quant_method": "gptq"}} if quantized else {}
    (run / run_folder.MODEL / "config.json").write_text(json.dumps(config))
    (run / run_folder.SETTLED).write_text(yaml.safe_dump({"version": 1, **settled}))
    run_folder.update_state(run, status="done", exit_code=0)
    return run
