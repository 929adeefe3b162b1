"""The builtin server in the Python of an engine: its address, errors, totals and end arrive."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from box import HANG_S, until
from made_up import made_up
from openai import OpenAI

from swiftbox.config.deploy import DeployConfig
from swiftbox.engines import tool_runner
from swiftbox.errors import RunError
from swiftbox.files import read_json, write_json
from swiftbox.models import inspection
from swiftbox.runs import folder as run_folder
from swiftbox.runs.stop import STOP
from swiftbox.serving import engine_server
from swiftbox.serving.deployment import Deployment
from swiftbox.serving.openers import Opener, opener_for

SETTINGS = {"hub": "local", "port": 0, "dtype": "float32", "engine": "builtin"}

STAND_IN = """
import json, os, signal, sys
def event(name, **fields):
    print(json.dumps({"event": name, **fields}), flush=True)
def main(request):
    print("the key is", os.environ["SWIFTBOX_ENGINE_KEY"], file=sys.stderr)
    event("note", message="loaded")
"""


@pytest.fixture(autouse=True)
def _stop() -> Iterator[None]:
    """Undo what a stop leaves in this process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    STOP.requested.clear()
    STOP.can_save.clear()


class Recorded:
    """The deployment of a model in a run folder, and the events that it records."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.events: list[dict[str, Any]] = []
        write_json(folder / run_folder.MACHINE, made_up("cpu").to_dict())
        config = DeployConfig(model=str(model), **SETTINGS)  # type: ignore[arg-type]
        self.deployment = Deployment(
            config, folder, "sk-secret-1", "tiny", model, {}, self.emit, self.started
        )

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def started(self, url: str, **details: Any) -> None:
        self.emit("serving", url=url, **details)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run our Python as the engine's, with a stand-in for the server; return what writes it."""
    monkeypatch.setattr(tool_runner, "engine_python", lambda _name: Path(sys.executable))
    packages = tmp_path / "stand-in"
    for folder in ("swiftbox", "swiftbox/serving"):
        (packages / folder).mkdir(parents=True)
        (packages / folder / "__init__.py").touch()
    monkeypatch.setattr(engine_server, "_link_to_package", lambda _folder: packages)

    def write(body: str) -> None:
        code = STAND_IN + textwrap.indent(textwrap.dedent(body), "    ")
        (packages / "swiftbox" / "serving" / "engine_server.py").write_text(code, "utf-8")

    return write


def test_address_and_totals_arrive_and_a_stop_reaches_the_child(
    child: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    child(
        """
        def end(*_):
            json.dump({"totals": {"requests": 3}}, open(request["result"], "w"))
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        event("server_started", url="http://127.0.0.1:9", slots=2, pid=os.getpid())
        while True:
            signal.pause()
        """
    )
    run = Recorded(tmp_path, tmp_path)
    pids = []

    def stop_when_started() -> None:
        try:
            until(lambda: len(run.events) == 2, what="the address")
            pids.append(run.events[1].pop("pid"))
        finally:
            STOP.requested.set()

    waiting = threading.Thread(target=stop_when_started)
    waiting.start()
    totals = engine_server.serve_in_engine(run.deployment, "gptq")
    waiting.join(HANG_S)
    serving = {"event": "serving", "url": "http://127.0.0.1:9", "slots": 2}
    assert run.events == [{"event": "note", "message": "loaded"}, serving]
    assert totals == {"requests": 3}
    assert not psutil.pid_exists(pids[0])
    written = "".join(path.read_text() for path in (tmp_path / "engine").glob("*.json"))
    assert "sk-secret" not in written + capfd.readouterr().err


def test_the_error_of_the_child_is_that_of_the_run(child: Any, tmp_path: Path) -> None:
    child(
        """
        json.dump({"error": "no memory", "hint": "use less"}, open(request["result"], "w"))
        return 1
        """
    )
    with pytest.raises(RunError, match="no memory") as caught:
        engine_server.serve_in_engine(Recorded(tmp_path, tmp_path).deployment, "gptq")
    assert caught.value.hint == "use less"


def test_the_error_of_a_killed_child_names_its_engine(child: Any, tmp_path: Path) -> None:
    child("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RunError, match=r"serve \(gptq\) was ended by SIGKILL") as caught:
        engine_server.serve_in_engine(Recorded(tmp_path, tmp_path).deployment, "gptq")
    assert "swiftbox engines test gptq" in caught.value.hint


def test_an_engine_imports_swiftbox_and_nothing_else_of_ours(tmp_path: Path) -> None:
    for _start in range(2):
        packages = engine_server._link_to_package(tmp_path)
        assert os.listdir(packages) == ["swiftbox"]
        assert (packages / "swiftbox").resolve() == Path(engine_server.__file__).parents[1]


@pytest.mark.parametrize(("symmetric", "engine"), [(True, ""), (False, "compress")])
def test_packed_zero_points_are_read_by_the_engine_even_if_the_package_is_here(
    symmetric: bool, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "version_of", lambda _: "0.19.0")
    weights = {"num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group"}
    quantization = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    assert opener_for({"quantization_config": quantization}) == Opener(engine)


def test_an_incomplete_loader_in_our_environment_leaves_the_model_to_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {"gptqmodel": "7.6.0"}
    monkeypatch.setattr(inspection, "version_of", installed.get)
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    assert opener_for(config) == Opener("gptq")  # transformers needs optimum too
    installed["optimum"] = "2.3.0"
    assert opener_for(config) == Opener()


@pytest.mark.parametrize("settings", [None, [], {}, {"quant_method": None}, {"config_groups": 3}])
def test_other_settings_are_loaded_by_our_own_python(settings: Any) -> None:
    assert opener_for({"quantization_config": settings}) == Opener()
    assert opener_for({}) == Opener()


def test_the_child_answers_and_compares_as_our_own_process_does(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Recorded(tmp_path, tiny)
    monkeypatch.setenv("SWIFTBOX_ENGINE_KEY", "sk-secret-1")
    output: list[str] = []

    def ask_and_stop() -> None:
        def address() -> str:
            output.append(capfd.readouterr().out)
            lines = "".join(output).splitlines()
            started = [json.loads(line) for line in lines if "server_started" in line]
            return started[0]["url"] if started else ""

        try:
            url = until(address, what="the address")
            with OpenAI(base_url=f"{url}/v1", api_key="sk-secret-1", timeout=HANG_S) as client:
                client.completions.create(model="tiny", prompt="a", max_tokens=2)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_and_stop)
    asking.start()
    request = {
        "config": run.deployment.config.model_dump(mode="json"),
        "folder": str(tmp_path),
        "name": "tiny",
        "model": str(tiny),
        "adapters": {},
        "result": str(tmp_path / "result.json"),
    }
    code = engine_server.main(request)
    asking.join(HANG_S)
    assert code == 0
    assert read_json(tmp_path / "result.json")["totals"]["requests"] == 1
    lines = "".join(output).splitlines()
    (compared,) = [json.loads(line) for line in lines if '"parity"' in line and "models" in line]
    assert [row["differences"] for row in compared["models"]] == [[]]
    assert compared["models"][0]["answered_by"] == "memory"
