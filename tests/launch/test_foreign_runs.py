"""Run folders that somebody else made: listed and shown safely, resumed only after a question."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from model_folder import write_model

from swiftbox.cli.main import main
from swiftbox.cli.run import announce
from swiftbox.errors import ConfigError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import home
from swiftbox.launch.prepare import agreed, prepare, prepare_rerun, prepare_resume
from swiftbox.launch.record import record
from swiftbox.launch.run import run
from swiftbox.menu.next_steps import next_steps, result_of
from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import EVENTS, LOG, PIPELINE, SETTLED, STATE
from swiftbox.runs.plain_files import last_lines
from swiftbox.runs.stop import STOP_FILE, request_stop
from swiftbox.runs.summary import pipeline_steps, run_summary
from swiftbox.security.origin import KEY_FILE


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stopped download of this user, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "source")
    settings = ["task=download", "hub=local", "model=source", "local_dir=copy", "output_dir=mine"]
    folder = record(prepare(None, settings)).folder
    run_folder.update_state(folder, status="stopped", pid=None, supervisor=None)
    return folder


@pytest.fixture
def foreign(mine: Path) -> Path:
    """The same run as a stranger's: another key signed it."""
    (home() / KEY_FILE).unlink()
    return mine


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished pipeline of this user with one step."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "source")
    (tmp_path / "p.yaml").write_text(
        "task: pipeline\noutput_dir: out\nsteps:\n- name: copy\n  task: download\n  hub: local\n"
        "  model: source\n  local_dir: copied\n",
        "utf-8",
    )
    ready = record(prepare(tmp_path / "p.yaml"))
    assert run(ready) == 0
    return ready.folder


def test_a_run_of_this_user_resumes_and_reruns_without_a_question(mine: Path) -> None:
    for prepared in (prepare_resume(mine), prepare_rerun(mine)):
        assert prepared.disclosure.foreign is None
        assert not prepared.disclosure.needs_agreement
        assert record(prepared).folder.is_dir()
        run_folder.update_state(mine, status="stopped", pid=None, supervisor=None)


def test_a_run_of_this_user_may_be_moved(mine: Path) -> None:
    moved = mine.rename(mine.with_name("moved"))
    assert prepare_resume(moved).disclosure.foreign is None


@pytest.mark.parametrize("verb", ["resume", "rerun"])
def test_a_run_of_another_user_or_machine_is_asked_for(
    foreign: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", verb, str(foreign)]) == 2
    refused = capsys.readouterr().err
    assert f"{foreign} was not made by your swiftbox on this machine" in refused
    assert "writes into:\n  local_dir: " in refused
    assert "hint: if you trust it, add --yes" in refused
    assert not (foreign.parent / "mine-2").exists()


@pytest.mark.parametrize("owner", ["mine", "foreign"])
def test_what_is_shown_of_a_run_says_whose_record_it_is(
    owner: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    folder: Path = request.getfixturevalue(owner)
    capsys.readouterr()
    assert main(["runs", "show", str(folder)]) == 0
    is_noted = "this record was not made by your swiftbox" in capsys.readouterr().err
    assert is_noted is (owner == "foreign")


def test_an_agreed_run_is_signed_and_not_asked_for_again(foreign: Path) -> None:
    record(agreed(prepare_resume(foreign), lambda _: True))
    run_folder.update_state(foreign, status="stopped", pid=None, supervisor=None)
    assert prepare_resume(foreign).disclosure.foreign is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "trust_remote_code: true\n",
        lambda text: text.replace("local_dir:", "local_dir: /tmp/x #"),
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
    ],
)
def test_an_edited_config_is_asked_for(mine: Path, change: Callable[[str], str]) -> None:
    settled = mine / SETTLED
    settled.write_text(change(settled.read_text("utf-8")), "utf-8")
    assert not run_folder.is_ours(mine)
    if "trust_remote_code" not in settled.read_text("utf-8"):  # no key of a download
        with pytest.raises(ConfigError, match="nobody has agreed"):
            record(prepare_resume(mine))


def test_a_run_that_was_moved_resumes_without_a_note_on_another_run(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = mine.rename(mine.parent / "moved")
    announce(record(prepare_resume(moved)))
    assert capsys.readouterr().err.splitlines()[-1] == f"run folder: {moved}"


def test_edited_steps_of_a_pipeline_are_asked_for(pipeline: Path) -> None:
    assert run_folder.is_ours(pipeline)
    steps = read_json(pipeline / PIPELINE)
    steps["steps"][0]["made"] = {"model": "/elsewhere"}
    write_json(pipeline / PIPELINE, steps)
    prepared = prepare_resume(pipeline, ["copy.ignore_patterns=x"])
    assert "  copy.model: /elsewhere" in prepared.disclosure.lines()
    with pytest.raises(ConfigError, match="nobody has agreed"):
        record(prepared)
    again = prepare(pipeline.parent / "p.yaml")  # would continue the same folder
    assert again.disclosure.foreign is not None


def test_a_result_that_moved_since_the_record_is_made_again(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "p.yaml"]) == 0
    assert [event["says"] for event in parts(pipeline)] == ["begins", "kept"]
    shutil.copytree(tmp_path / "copied", tmp_path / "planted")
    events = pipeline / "steps" / "01-copy" / EVENTS
    events.write_text(events.read_text("utf-8").replace("/copied", "/planted"), "utf-8")
    assert main(["run", "p.yaml"]) == 0
    assert [event["says"] for event in parts(pipeline)][2:] == ["goes on"]
    capsys.readouterr()


def parts(folder: Path) -> list[dict[str, object]]:
    return [event for event in run_folder.every_event(folder) if event["event"] == "part"]


def test_pickles_in_a_strangers_checkpoints_are_named(foreign: Path) -> None:
    sharded = foreign / "checkpoints" / "checkpoint-3" / "pytorch_model_fsdp_0"
    sharded.mkdir(parents=True)
    (sharded / ".metadata").touch()
    (line,) = [
        line for line in prepare_resume(foreign).disclosure.lines() if "have pickles" in line
    ]
    assert line.endswith(f"when they are loaded: {sharded / '.metadata'}")


@pytest.mark.parametrize(
    "place", ["/etc", "../../x", "steps/../../x", "steps", "steps/a/b", "steps/..", "steps/earlier"]
)
def test_a_step_outside_the_pipeline_is_refused(pipeline: Path, place: str) -> None:
    steps = read_json(pipeline / PIPELINE)
    steps["steps"][0]["folder"] = place
    write_json(pipeline / PIPELINE, steps)
    assert pipeline_steps(run_folder.find(str(pipeline))) == []
    from swiftbox.tasks.pipeline import state

    with pytest.raises(RunError, match="not the folder of a step"):
        state.read(pipeline)


def test_a_step_behind_a_link_is_refused(pipeline: Path, tmp_path: Path) -> None:
    step = pipeline / "steps" / "01-copy"
    step.rename(tmp_path / "elsewhere")
    step.symlink_to(tmp_path / "elsewhere")
    assert pipeline_steps(run_folder.find(str(pipeline))) == []
    with pytest.raises(RunError, match="links and special files"):
        prepare_resume(pipeline, ["copy.ignore_patterns=x"])


LINKED = (SETTLED, EVENTS, LOG, ".lock", "inputs.json", "checkpoints", "model", "asked.yaml")


@pytest.mark.parametrize("name", [*LINKED, "checkpoints/checkpoint-1", "steps", STOP_FILE])
def test_a_link_in_a_run_folder_is_refused(mine: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "valuable").write_text("kept", "utf-8")
    path = mine / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target / "valuable" if "." in name or name == STOP_FILE else target)
    with pytest.raises(RunError, match="links and special files"):
        prepare_resume(mine)
    assert (target / "valuable").read_text("utf-8") == "kept"


def test_nothing_is_written_through_a_link(mine: Path, tmp_path: Path) -> None:
    target = tmp_path / "valuable"
    for name, write in (
        (EVENTS, lambda: run_folder.append_event(mine, "note", message="x")),
        (STOP_FILE, lambda: request_stop(mine)),
        (".lock", lambda: run_folder.run_lock(mine).__enter__()),
    ):
        target.write_text("kept", "utf-8")
        os.utime(target, (1, 1))
        (mine / name).unlink(missing_ok=True)
        (mine / name).symlink_to(target)
        with pytest.raises(RunError):
            write()
        assert (target.read_text("utf-8"), target.stat().st_mtime) == ("kept", 1)


def test_a_state_behind_a_link_does_not_count(mine: Path, tmp_path: Path) -> None:
    (mine / STATE).rename(tmp_path / "other.json")
    (mine / STATE).symlink_to(tmp_path / "other.json")
    assert run_folder.find(str(mine)).status == "lost"
    before = (tmp_path / "other.json").read_bytes()
    run_folder.update_state(mine, status="done")
    assert (tmp_path / "other.json").read_bytes() == before


@pytest.mark.parametrize("name", [EVENTS, LOG, SETTLED, STATE, PIPELINE])
@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_special_files_hang_no_verb(
    mine: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mine / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            os.chdir(mine)
            server.bind(name)
            os.chdir(mine.parent)
    for verb in (["list"], ["list", "--json"], ["show", str(mine)], ["logs", str(mine)]):
        assert main(["runs", *verb]) in (0, 2), verb
    assert main(["runs", "resume", str(mine)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_record_of_gigabytes_does_not_fill_the_memory(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = json.dumps({"event": "step", "step": 7, "total_steps": 9, "loss": 1.0}).encode()
    with (mine / EVENTS).open("wb") as file:
        file.truncate(5 * 2**30)  # one line of zeros; it takes no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + step + b"\n")
    with (mine / LOG).open("wb") as file:
        file.truncate(5 * 2**30)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    with (mine / "state.json").open("ab") as file:
        file.truncate(2**30)
    before = psutil.Process().memory_info().rss
    assert main(["runs", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["step"], row["total_steps"], row["status"]) == (7, 9, "lost")
    assert main(["runs", "show", str(mine)]) == 0
    assert last_lines(mine / LOG, 1) == ["last"]
    assert psutil.Process().memory_info().rss - before < 200 * 2**20


HOSTILE_STATES = (
    {"status": ["running"], "started": "yesterday"},
    {"status": "running", "started": 1e300, "pid": 1},
    {"status": "running", "pid": os.getpid(), "pid_started": None},
    {"status": "running", "pid": -1, "supervisor": 0, "started": float("nan")},
    {"status": {"a": 1}, "started": [1], "url": {"x": 1}},
    {"status": "done", "started": True, "url": "http://169.254.169.254"},
)


@pytest.mark.parametrize("state", HOSTILE_STATES)
def test_a_broken_state_is_listed_and_shown(
    mine: Path, state: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(mine / STATE, state)
    for verb in (["list"], ["list", "--json"], ["show", str(mine)], ["show", str(mine), "--json"]):
        assert main(["runs", *verb]) == 0, verb
    capsys.readouterr()
    row = run_summary(run_folder.find(str(mine)))
    assert row["url"] is None
    assert row["status"] in ("lost", "done")


def test_a_config_of_nested_aliases_is_listed_and_followed(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    (mine / SETTLED).write_text(f"a0: &a0 [x]\n{nested}task: *a39\nmodel: *a39\n", "utf-8")
    assert run_folder.task_of(mine) == ""
    assert next_steps(result_of(mine)) == []
    assert main(["runs", "logs", "-f", "--plain", str(mine)]) == 0
    assert main(["runs", "rerun", str(mine)]) == 2
    assert "Traceback" not in capsys.readouterr().err


HOSTILE_STEPS = (
    {"steps": 1},
    {"steps": ["a", 1, None, {}]},
    {"steps": [{"name": 1, "task": None, "folder": ["x"], "status": {}}]},
    {"steps": [{"name": "a", "task": "b", "folder": "steps/01-a", "status": "x", "made": [1]}]},
    {"steps": [{"name": "a", "task": "b", "folder": "steps/a\0b", "status": "x"}]},
    {"steps": [{"name": "a", "task": "b", "folder": "steps/01-a", "seconds": "x"}]},
)


@pytest.mark.parametrize("steps", HOSTILE_STEPS)
def test_broken_steps_are_listed_and_shown(
    mine: Path, steps: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(mine / PIPELINE, steps)
    for verb in (["list"], ["list", "--json"], ["show", str(mine)], ["logs", str(mine)]):
        assert main(["runs", *verb]) == 0, verb
    capsys.readouterr()


HOSTILE_EVENTS = (
    b'{"event": "step"}\n',
    b'{"event": "step", "step": "a", "loss": [], "total_steps": {}}\n',
    b'{"event": ["step"]}\n',
    b'{"event": "inner", "inner": 1}\n{"event": "inner", "inner": {"event": "step"}}\n',
    b'{"event": "part", "says": 1}\n',
    b'{"event": "done"}\n',
    b'{"event": "failed", "message": 1, "hint": [], "traceback": {}}\n',
    b"[" * 100_000 + b"\n",
    b"\xff\xfe\n\0\n",
)


@pytest.mark.parametrize("events", HOSTILE_EVENTS, ids=range(len(HOSTILE_EVENTS)))
def test_broken_events_are_listed_shown_and_followed(
    mine: Path, events: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / EVENTS).write_bytes(events)
    for verb in (
        ["list"],
        ["list", "--json"],
        ["show", str(mine)],
        ["logs", str(mine)],
        ["logs", "-f", "--plain", str(mine)],
    ):
        assert main(["runs", *verb]) in (0, 1), verb
    capsys.readouterr()


def test_the_address_in_a_strangers_folder_is_not_asked(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = {"pid": os.getpid(), "pid_started": psutil.Process().create_time()}
    write_json(mine / STATE, {"status": "running", "url": "http://evil.example", **process})
    requests: list[str] = []
    monkeypatch.setattr(
        "swiftbox.serving.client.health_of_all", lambda urls: requests.extend(urls) or []
    )
    assert main(["runs", "list"]) == 0
    capsys.readouterr()
    assert requests == []
    run_folder.update_state(mine, url="http://127.0.0.1:9")
    assert run_folder.find(str(mine)).url == "http://127.0.0.1:9"


def test_a_register_link_to_a_strangers_folder_leads_to_a_question(
    foreign: Path, tmp_path: Path
) -> None:
    shutil.copytree(foreign, tmp_path / "shared" / "theirs")
    link = home() / "runs" / "theirs@0"
    link.symlink_to(tmp_path / "shared" / "theirs")
    loop = home() / "runs" / "loop"
    loop.symlink_to(loop)
    assert {run.name for run in run_folder.runs()} == {"mine", "theirs"}
    assert prepare_resume(run_folder.find("theirs").folder).disclosure.needs_agreement
