"""Kill processes of runs at seeded moments, continue the runs, and compare with uninterrupted ones.

A scenario is run once without a kill. Then it is killed, checked and continued, again and again,
until it is done and equal to the first, byte for byte.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from box import COMMAND, HANG_S, state
from kill_scenarios import SCENARIOS, Scenario
from kill_trees import differences, temporaries

from swiftbox.runs import folder as run_folder

RUN = "run"
SIGNALS = ("KILL", "KILL", "KILL", "TERM", "INT", "STOP", "STOP", "HUP")
ROLES = ("front", "worker", "worker", "other")
EARLY = 0.2
"""The share of kills in the first second, before and while the run folder is made."""

PAUSE_S = 0.5
POLL_S = 0.05
ORPHAN_S = 120
"""The time for an orphan to save and end on a busy machine."""
TRIES = 4
"""A run that was stopped or failed is continued; so many times it may be without progress."""


@dataclass(frozen=True)
class Kill:
    """One kill: which signal, to which process, after which event and how much later."""

    signal: str
    role: str
    after_events: int
    delay_s: float
    continues: bool
    """Whether a paused process is continued; otherwise the front is killed while it is paused."""

    @staticmethod
    def of(chooser: random.Random, scenario: Scenario) -> Kill:
        """Choose a kill for a scenario."""
        early = chooser.random() < EARLY
        return Kill(
            chooser.choice(SIGNALS),
            chooser.choice(ROLES),
            0 if early else chooser.randint(1, scenario.event_count),
            chooser.uniform(0, 1.0 if early else scenario.longest_delay_s),
            chooser.random() < 0.5,
        )

    def __str__(self) -> str:
        """Describe it in a line of the table."""
        then = ("+CONT" if self.continues else "+KILL front") if self.signal == "STOP" else ""
        return f"{self.signal}{then} {self.role} {self.after_events}+{self.delay_s:.2f}s"


@dataclass
class Outcome:
    """What happened after one kill."""

    scenario: str
    kill: Kill
    code: int
    status: str
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the row of the table."""
        problems = "; ".join(self.problems) or "ok"
        return f"{self.scenario:<10} {self.kill!s:<32} {self.code:>4} {self.status:<8} {problems}"


def environment(place: Path, scenario: Scenario) -> dict[str, str]:
    """Return the variables of a place, with its own home."""
    home = {"HOME": str(place), "SWIFTBOX_HOME": str(place / "home"), "SWIFTBOX_LANG": "en"}
    hubs = {"HF_HOME": str(place / "hf"), "MODELSCOPE_CACHE": str(place / "ms")}
    return {**os.environ, **home, **hubs, **scenario.variables}


def living(place: Path) -> list[psutil.Process]:
    """Return the living processes that a place has started, known by their variables."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_ours = process.environ().get("SWIFTBOX_HOME") == str(place / "home")
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
    return processes


@contextlib.contextmanager
def front(place: Path, scenario: Scenario) -> Iterator[subprocess.Popen[bytes]]:
    """Start or continue the run of a place; leave no process whatever happens."""
    with (place.parent / f"{place.name}.out").open("ab") as output:
        process = subprocess.Popen(
            [*COMMAND, *next_command(place), "--plain"],
            cwd=place,
            env=environment(place, scenario),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            for stray in (process, *living(place)):
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    stray.kill()
            process.wait()


def next_command(place: Path) -> tuple[str, ...]:
    """Return what a user types now: run, or resume once there is a run."""
    return ("runs", "resume", RUN) if (place / RUN).exists() else ("run", "a.yaml")


def target(process: subprocess.Popen[bytes], place: Path, role: str) -> psutil.Process | None:
    """Return the process of a role, or a process that is there in its place."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        worker = state(place / RUN)["pid"]
        others = [child.pid for child in living(place) if child.pid not in (process.pid, worker)]
        candidates = {"worker": [worker], "other": others or [worker]}
        for pid in candidates.get(role, []):
            with contextlib.suppress(psutil.Error):
                return psutil.Process(pid)
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process.pid)
    return None


def event_count(place: Path) -> int:
    """Return how many events the run of a place has recorded."""
    try:
        return (place / RUN / "events.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def strike(place: Path, scenario: Scenario, kill: Kill) -> tuple[int, str]:
    """Start or continue a run, kill as planned, and wait; return the exit code and who was hit."""
    before = event_count(place)
    with front(place, scenario) as process:
        while event_count(place) < before + kill.after_events and process.poll() is None:
            time.sleep(POLL_S)
        time.sleep(kill.delay_s)
        victim = target(process, place, kill.role)
        hit = send(process, victim, kill) if victim is not None else "nobody"
        process.wait(HANG_S)
        end = time.monotonic() + ORPHAN_S
        while (orphans := living(place)) and time.monotonic() < end:
            time.sleep(5 * POLL_S)
        if orphans:
            hit += f", orphans {[orphan.pid for orphan in orphans]}"
        return process.returncode, hit


def send(process: subprocess.Popen[bytes], victim: psutil.Process, kill: Kill) -> str:
    """Send the signal of a kill; return who got it."""
    hit = "front" if victim.pid == process.pid else "child"
    with contextlib.suppress(psutil.Error):
        victim.send_signal(signal.Signals[f"SIG{kill.signal}"])
        if kill.signal == "STOP":
            time.sleep(PAUSE_S)
            if kill.continues:
                victim.send_signal(signal.SIGCONT)
            else:
                process.kill()
                return f"{hit}+front"
    return hit


def listed(place: Path) -> list[run_folder.Run]:
    """Return the runs that `runs list` shows in a place."""
    before = os.environ.get("SWIFTBOX_HOME")
    os.environ["SWIFTBOX_HOME"] = str(place / "home")
    try:
        return list(run_folder.runs())
    finally:
        os.environ.pop("SWIFTBOX_HOME")
        if before is not None:
            os.environ["SWIFTBOX_HOME"] = before


def problems_after(place: Path, code: int, hit: str) -> tuple[str, list[str]]:
    """Return the status after a kill, and what is wrong: orphans, the list, the exit code."""
    problems = [hit] if "orphans" in hit else []
    rows = listed(place)
    if not (place / RUN).exists():
        problems += ["listed without a folder"] if rows else []
        problems += [f"left {path}" for path in temporaries(place)]
        return "none", problems
    if [row.folder for row in rows] != [(place / RUN).resolve()]:
        return "?", [*problems, f"listed as {[row.name for row in rows]}"]
    status = rows[0].status
    if status in run_folder.ACTIVE:
        problems.append(f"is {status} without a process")
    if "front" not in hit and code != rows[0].state.get("exit_code"):
        problems.append(f"exit code {code}, recorded {rows[0].state.get('exit_code')}")
    if "front" not in hit and code not in (0, 1, 130):
        problems.append(f"exit code {code}")
    return status, problems


def finish(place: Path, scenario: Scenario) -> list[str]:
    """Continue a run until it is done; return what is wrong."""
    for _ in range(TRIES):
        if (place / RUN).exists() and state(place / RUN)["status"] == "done":
            return []
        with front(place, scenario) as process:
            process.wait(HANG_S)
    done = (place / RUN).exists() and state(place / RUN)["status"] == "done"
    return [] if done else [f"not done after {TRIES} tries, see {place}.out"]


def run_scenario(scenario: Scenario, root: Path, count: int, seed: int) -> Iterator[Outcome]:
    """Kill a scenario so many times; yield what happened."""
    root.mkdir(parents=True)
    uninterrupted = scenario.place(root / "single")
    assert finish(uninterrupted, scenario) == [], (root / "single.out").read_text("utf-8")
    chooser = random.Random(f"{seed} {scenario.name}")
    round_number, place = 0, scenario.place(root / "cut-00")
    for number in range(1, count + 1):
        kill = Kill.of(chooser, scenario)
        code, hit = strike(place, scenario, kill)
        status, problems = problems_after(place, code, hit)
        outcome = Outcome(scenario.name, kill, code, status, problems)
        if status == "done" or number == count:
            outcome.problems += finish(place, scenario) or differences(uninterrupted, place)
            round_number += 1
            place = scenario.place(root / f"cut-{round_number:02}") if number < count else place
        yield outcome


def shares(count: int, names: Sequence[str]) -> dict[str, int]:
    """Spread kills over scenarios by their weights, at least one each."""
    weights = {name: SCENARIOS[name].weight for name in names}
    total = sum(weights.values())
    spread = {name: max(1, count * weight // total) for name, weight in weights.items()}
    spread[names[0]] += max(0, count - sum(spread.values()))
    return spread
