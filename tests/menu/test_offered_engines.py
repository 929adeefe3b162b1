"""`engine: auto` on a GPU offers vLLM: in the terminal, in the menu, and not without a person."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from made_up import made_up
from model_folder import write_model
from walking import DOWN, ENTER, keys

from swiftbox.cli import run as cli_run
from swiftbox.engines import consent, preconditions
from swiftbox.launch import prepare as preparing
from swiftbox.launch.prepare import Prepared, offered_engines, prepare
from swiftbox.menu import start_questions

OPTIONS = argparse.Namespace(yes=False, plain=False)


@pytest.fixture(autouse=True)
def _room_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preconditions, "require_installable", lambda *_, **__: None)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that were installed; from then on the machine has vLLM."""
    names: list[str] = []

    def install(missing: Any, _consent: Any) -> None:
        names.extend(engine.engine.name for engine in missing)
        machine = made_up("cuda", vllm="0.33.0")
        monkeypatch.setattr(preparing, "machine_for", lambda *_: machine)

    monkeypatch.setattr(consent, "install_missing", install)
    monkeypatch.setattr(start_questions, "install_missing", install)
    return names


def prepared(folder: Path, machine: str = "cuda", **keys: Any) -> Prepared:
    model = folder / "model"
    if not model.exists():
        write_model(model)
    path = folder / "a.yaml"
    lines = {"task": "deploy", "model": model, "hub": "local", "port": 0, **keys}
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()), "utf-8")
    return prepare(path, machine=made_up(machine))


def offered(folder: Path, machine: str = "cuda", **keys: Any) -> list[str]:
    return [row.engine.name for row in offered_engines(prepared(folder, machine, **keys))]


def test_it_is_offered_where_auto_would_take_it(tmp_path: Path) -> None:
    assert offered(tmp_path) == ["vllm"]
    assert offered(tmp_path, "npu") == ["vllm"]
    assert offered(tmp_path, "cpu") == offered(tmp_path, "v100") == offered(tmp_path, "rocm") == []
    assert offered(tmp_path, engine="builtin") == []
    assert offered(tmp_path, tools_in_prompt="true") == []


def test_it_is_not_offered_for_adapters_that_it_refuses(tiny: Path, tmp_path: Path) -> None:
    plain = make_adapter(tiny, tmp_path / "plain")
    dora = make_adapter(tiny, tmp_path / "dora", use_dora=True)
    assert offered(tmp_path, model=tiny, adapter=plain) == ["vllm"]
    assert offered(tmp_path, model=tiny, adapter=dora) == []


@pytest.mark.parametrize(("reply", "engine"), [("y\n", "vllm"), ("\n", "builtin"), ("", "builtin")])
def test_the_command_line_asks_and_goes_by_the_reply(
    reply: str, engine: str, installed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_run, "can_ask", lambda _: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(reply))
    settled = cli_run.with_offers(prepared(tmp_path), OPTIONS)
    assert settled.plan.config.model_dump()["engine"] == engine
    assert installed == ["vllm"] * (engine == "vllm")


def test_without_a_person_the_plan_says_what_is_used(installed: list[str], tmp_path: Path) -> None:
    settled = cli_run.with_offers(prepared(tmp_path), argparse.Namespace(yes=True, plain=False))
    assert installed == []
    assert "engine: builtin" in settled.plan.notes[0].line()
    assert "vllm is not installed" in settled.plan.notes[0].line()


@pytest.mark.parametrize(("pressed", "engine"), [(ENTER, "builtin"), (DOWN + ENTER, "vllm")])
def test_the_menu_asks_too(pressed: str, engine: str, installed: list[str], tmp_path: Path) -> None:
    first = prepared(tmp_path)
    with keys(pressed):
        settled = start_questions.with_offers(first, lambda: preparing.prepare_loaded(first.loaded))
    assert settled.plan.config.model_dump()["engine"] == engine
    assert installed == ["vllm"] * (engine == "vllm")
