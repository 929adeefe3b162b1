"""A tool's events, result, errors and last lines arrive; no process is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from box import HANG_S, until

from swiftbox.engines import tool_runner
from swiftbox.engines.tool_runner import ToolRun, ToolStopped, run_tool
from swiftbox.engines.tools import evalscope
from swiftbox.errors import MachineError, RunError

Write = Callable[..., None]

HEAD = """
import json, os, sys
request = json.load(open(sys.argv[1]))
"""
END = """
json.dump({"doubled": 2 * request["number"]}, open(request["result"], "w"))
"""
FAMILY = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(json.dumps({"event": "family", "pids": [os.getpid(), child.pid]}))
import signal
"""


@pytest.fixture
def write(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the script of the tool `double`."""
    assert toy.is_dir()
    (tmp_path / "tools").mkdir()
    monkeypatch.setattr(tool_runner, "TOOLS", tmp_path / "tools")

    def write_script(*parts: str) -> None:
        script = "".join(map(textwrap.dedent, (HEAD, *parts)))
        (tmp_path / "tools" / "double.py").write_text(script, encoding="utf-8")

    return write_script


def call(folder: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    recorded: list[dict[str, Any]] = []

    def emit(event: str, **fields: Any) -> None:
        recorded.append({"event": event, **fields})

    return run_tool(ToolRun("toy", "double", folder, **options), {"number": 21}, emit), recorded


def test_events_are_recorded_and_other_output_is_logged(
    write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(
        """
        import toy
        assert toy.double(1) == 2
        print(json.dumps({"event": "progress", "time": 1, "done": 1}))
        print("plain words: 中文")
        print('{"not": "an event"}')
        print('{"torn')
        sys.stderr.write("5%\\r10%\\n")
        """,
        END,
    )
    result, recorded = call(tmp_path)
    assert result == {"doubled": 42}
    assert recorded == [{"event": "progress", "done": 1}]
    log = capfd.readouterr().err
    for line in ("plain words: 中文", '{"not": "an event"}', '{"torn', "10%"):
        assert line in log
    request = json.loads((tmp_path / "double.request.json").read_text())
    assert request == {"number": 21, "result": str(tmp_path / "double.result.json")}


def test_events_arrive_while_the_tool_runs(write: Write, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    write(f'print(json.dumps({{"event": "ready"}}))\nopen({str(gate)!r}).read()\n' + END)

    def emit(event: str, **_fields: Any) -> None:
        assert event == "ready"
        gate.write_text("continue")  # the tool waits for this: the event came before its end

    assert run_tool(ToolRun("toy", "double", tmp_path), {"number": 1}, emit) == {"doubled": 2}


def test_the_tool_runs_in_the_environment_of_the_engine(
    write: Write, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    monkeypatch.setenv("TOY_WORKERS", "7")
    write(
        """
        import shutil
        names = ("PYTHONPATH", "VIRTUAL_ENV", "TOY_WORKERS", "MY_KEY")
        values = {name: os.environ.get(name) for name in names}
        values |= {"prefix": sys.prefix, "pip": shutil.which("pip"), "stdin": sys.stdin.read()}
        values["folder"] = os.getcwd()
        json.dump(values, open(request["result"], "w"))
        """
    )
    result, _ = call(tmp_path, env={"MY_KEY": "sk-secret"})
    assert result == {
        "PYTHONPATH": None,
        "VIRTUAL_ENV": None,
        "TOY_WORKERS": "7",
        "MY_KEY": "sk-secret",
        "prefix": str(toy),
        "pip": str(toy / "bin" / "pip"),
        "stdin": "",
        "folder": str(tmp_path),
    }
    assert "sk-secret" not in (tmp_path / "double.request.json").read_text()


def test_a_secret_in_a_request_is_a_bug_that_is_not_written(write: Write, tmp_path: Path) -> None:
    write(END)
    with pytest.raises(ValueError, match="the value of MY_KEY"):
        run_tool(ToolRun("toy", "double", tmp_path, {"MY_KEY": "sk-1"}), {"key": "sk-1"}, print)
    assert not (tmp_path / "double.request.json").exists()


def test_an_error_in_the_result_is_a_user_error(write: Write, tmp_path: Path) -> None:
    write('json.dump({"error": "no such model", "hint": "name one"}, open(request["result"], "w"))')
    with pytest.raises(RunError, match=r"^no such model$") as failed:
        call(tmp_path)
    assert failed.value.hint == "name one"


def test_a_crash_is_reported_with_the_last_lines(write: Write, tmp_path: Path) -> None:
    (tmp_path / "double.result.json").write_text('{"doubled": 1}')  # of an earlier run
    write("print('getting ready')\nraise ValueError('no such kernel')")
    with pytest.raises(RunError, match=r"double \(toy\) ended with code 1") as failed:
        call(tmp_path)
    assert "getting ready" in failed.value.message
    assert "ValueError: no such kernel" in failed.value.message
    assert "swiftbox engines test toy" in failed.value.hint


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("print('did nothing')", "ended without a result\ndid nothing"),
        ("open(request['result'], 'w').write('{torn')", "ended without a result"),
        (END + "sys.exit(3)", "ended with code 3"),
    ],
)
def test_an_end_without_a_complete_result_is_an_error(
    write: Write, tmp_path: Path, body: str, ending: str
) -> None:
    write(body)
    with pytest.raises(RunError) as failed:
        call(tmp_path)
    assert ending in failed.value.message


def test_an_engine_that_is_not_installed_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="engine gptq: not installed") as refused:
        run_tool(ToolRun("gptq", "gptq", tmp_path), {}, print)
    assert refused.value.hint == "swiftbox engines install gptq"
    assert list(tmp_path.iterdir()) == []


def ended(pids: list[int]) -> bool:
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_stop_ends_the_tool_and_its_children(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    monkeypatch.setattr(tool_runner, "STOP_GRACE_S", 0.5)
    ignore_sigterm = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    write(
        FAMILY
        + ignore_sigterm
        + "print(json.dumps({'event': 'ready'}))\nwhile True: signal.pause()\n"
    )
    stop, pids = threading.Event(), []

    def emit(event: str, **fields: Any) -> None:
        pids.extend(fields.get("pids", []))
        if event == "ready":
            stop.set()

    with pytest.raises(ToolStopped):
        run_tool(ToolRun("toy", "double", tmp_path), {}, emit, stop)
    assert len(pids) == 2
    until(lambda: ended(pids), what="the end of the family")


def test_a_tool_may_save_when_it_is_asked_to_stop(write: Write, tmp_path: Path) -> None:
    write(
        """
        import signal
        def save(number, frame):
            open(request["result"] + ".part", "w").write("half")
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        print(json.dumps({"event": "ready"}))
        while True: signal.pause()
        """
    )
    stop = threading.Event()
    with pytest.raises(ToolStopped):
        run_tool(ToolRun("toy", "double", tmp_path), {}, lambda _event: stop.set(), stop)
    assert (tmp_path / "double.result.json.part").read_text() == "half"


def test_a_child_that_outlives_its_tool_is_killed(write: Write, tmp_path: Path) -> None:
    write(FAMILY + END)
    result, recorded = call(tmp_path)
    assert result == {"doubled": 42}
    until(lambda: ended(recorded[0]["pids"]), what="the end of the child")


CALLER = """
import sys, toy_engine
from swiftbox import engines
from pathlib import Path
from swiftbox.engines import tool_runner
engines.ENGINES["toy"] = toy_engine.TOY
tool_runner.TOOLS = Path(sys.argv[1]) / "tools"
def emit(event, **fields):
    print(*fields["pids"], flush=True)
tool_runner.run_tool(tool_runner.ToolRun("toy", "double", Path(sys.argv[1])), {}, emit)
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_the_tool_and_its_children_end_with_their_caller(
    write: Write, tmp_path: Path, signal_number: signal.Signals
) -> None:
    write(FAMILY + "while True: signal.pause()\n")
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert caller.stdout is not None
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(pids) == 2
        assert not ended(pids)
        caller.send_signal(signal_number)
        caller.communicate(timeout=HANG_S)
        until(lambda: ended(pids), what="the end of the family")
    finally:
        if caller.poll() is None:
            caller.kill()
            caller.communicate()


def test_a_key_that_a_tool_prints_is_not_in_the_log(
    write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf-secret-token")
    write('print("with", os.environ["MY_KEY"], "HF_TOKEN" in os.environ)\n', END)
    call(tmp_path, env={"MY_KEY": "sk-secret"})
    assert "with $MY_KEY False" in capfd.readouterr().err


def test_evalscope_leaves_no_key_in_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(evalscope.KEY, "sk-secret")
    settings = tmp_path / "configs" / "task_config.yaml"
    log = tmp_path / "logs" / "eval.log"
    for path in (settings, log):
        path.parent.mkdir()
        path.write_bytes(b"api_key: sk-secret\n\xff\n")
    evalscope.forget_keys(tmp_path)
    for path in (settings, log):
        assert path.read_bytes() == f"api_key: ${evalscope.KEY}\n".encode() + b"\xff\n"
