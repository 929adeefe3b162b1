"""Carry out a pipeline: keep what holds, do the rest, keep servers going while steps use them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.config.pipeline import PipelineConfig, PipelineStep
from swiftbox.config.references import OutputReference, references_in, substitute
from swiftbox.config.task import TaskConfig
from swiftbox.devices.machine import Machine
from swiftbox.errors import RunError, UserError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.runs import child as nested
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.stop import SAVE_TIMEOUT_S, STOP
from swiftbox.runs.supervise import DONE, INTERRUPTED
from swiftbox.tasks.pipeline import state
from swiftbox.tasks.pipeline.state import Places, Record
from swiftbox.tasks.pipeline.task import task_of, users_of
from swiftbox.tasks.task import Resolved

READY_WITHIN_S = 1800.0
"""For a server to fetch and load its model."""

KEPT_BACK = ("stopped",)
"""Events of a step that are not passed on: the pipeline says them itself."""


class Pipeline:
    """One pipeline on its way: its steps, what is remembered of them, the servers that run."""

    def __init__(self, config: PipelineConfig, folder: Path, emit: Emit) -> None:
        self.config, self.folder, self.emit = config, folder, emit
        self.machine = Machine.from_dict(read_json(folder / run_folder.MACHINE))
        self.places = Places(folder)
        self.before = state.read(folder)
        self.records: dict[str, Record] = {}
        self.servers: dict[str, nested.BackgroundRun] = {}
        self.began = time.monotonic()

    def carry_out(self) -> Path | None:
        """Do all steps; return the folder, None when stopped. Raises RunError for a failed step."""
        STOP.can_save.set()  # a stop is ours to carry out: the step saves, and is gone on with
        for number, step in enumerate(self.config.steps, start=1):
            self.records[step.name] = self._remembered(number, step)
        self._remember()
        try:
            for number, step in enumerate(self.config.steps, start=1):
                if STOP.requested.is_set() or not self._step(number, step):
                    self._stopped()
                    return None
                self._close_unused(number)
        finally:
            for server in self.servers.values():
                server.close()
            run_folder.update_state(self.folder, url=None)
        parts = [{"name": one.name, **one.made} for one in self.records.values()]
        self.emit(events.DONE, seconds=self._seconds(), parts=parts)
        return self.folder

    def _remembered(self, number: int, step: PipelineStep) -> Record:
        known = self.before.get(step.name)
        if known is not None and known.task == step.config.task:
            return replace(known)
        return Record(step.name, step.config.task, state.name_of(number, step.name))

    def _remember(self) -> None:
        state.write(self.folder, self.records)

    def _seconds(self) -> float:
        return round(time.monotonic() - self.began, 1)

    def _stopped(self) -> None:
        self.emit(events.STOPPED, step=None, parts=len(self.records), seconds=self._seconds())

    def _say(self, number: int, step: PipelineStep, says: str, **more: Any) -> None:
        total = len(self.config.steps)
        known = {"number": number, "total": total, "name": step.name, "task": step.config.task}
        self.emit(events.PART, says=says, **known, **more)

    def _step(self, number: int, step: PipelineStep) -> bool:
        """Do a step, or keep it; tell whether the next one may begin."""
        record = self.records[step.name]
        mark = state.mark(step, self.records)
        if record.mark == mark and record.status == state.DONE and self._is_there(step, record):
            self._say(number, step, "kept")
            return True
        if task_of(step).serves and number < len(self.config.steps):
            record.mark = mark  # begun when the first step that uses it is
            return True
        if not self._alone(record):
            return False
        goes_on = record.mark == mark and self.places.of(record).exists()
        aside = None if goes_on else self._set_aside(record)
        record.folder = record.folder if goes_on else state.name_of(number, step.name)
        record.mark, record.status, record.finished, record.made = mark, state.RUNNING, None, {}
        self._remember()
        self._say(number, step, "goes on" if goes_on else "begins", aside=aside)
        return self._carry(step, record)

    def _alone(self, record: Record) -> bool:
        """Wait for a step that was left behind to save and end; tell whether it did."""
        message = text(
            f"{record.name} was left behind, and still runs: waiting for it to save and end",
            f"{record.name} 遗留的进程仍在运行：等待其保存并结束",
        )
        return nested.wait_for_orphan(
            self.places.of(record),
            timeout_s=SAVE_TIMEOUT_S,
            stop=STOP.requested,
            on_wait=lambda: self.emit(events.NOTE, message=message),
        )

    def _set_aside(self, record: Record) -> str | None:
        moved = self.places.set_aside(record)
        return str(moved.relative_to(self.folder)) if moved else None

    def _is_there(self, step: PipelineStep, record: Record) -> bool:
        """Tell whether all that a step made is still where it was, as it was."""
        place = self.places.of(record)
        try:
            made = {name: give(place) for name, give in task_of(step).outputs(step.config).items()}
        except UserError:
            return False
        return place.is_dir() and record.seen == state.made_by(made)

    def _carry(self, step: PipelineStep, record: Record) -> bool:
        """Carry a step out in its folder; raise RunError when it fails."""
        place, began = self.places.of(record), time.monotonic()
        nested.wait_for_orphan(place)
        try:
            if not self._servers_for(step):
                self._mark_status(record, state.STOPPED)
                return False
            settled = self._settled(step)
            nested.record_nested(place, settled.config, self.machine)
            child = nested.child_of(place, settled.processes, settled.env)
            code = nested.run_nested(
                place, child, STOP.requested, lambda one: self._pass_on(step, one)
            )
        except UserError as error:
            raise self._failure(step, record, error.message, error.hint) from None
        record.seconds = round(time.monotonic() - began, 1)
        if code == INTERRUPTED:
            record.status = state.STOPPED
            self._remember()
            return False
        if code != DONE:
            raise self._failure(step, record, *_last_words(place))
        record.status, record.finished = state.DONE, round(time.time(), 3)
        outputs = task_of(step).outputs(step.config)
        record.made = {name: give(place) for name, give in outputs.items()}
        record.seen = state.made_by(record.made)
        self._remember()
        return True

    def _pass_on(self, step: PipelineStep, event: Mapping[str, Any]) -> None:
        if event.get("event") == events.SERVING:
            run_folder.update_state(self.folder, url=event["url"])
        if event.get("event") not in KEPT_BACK:
            self.emit(events.INNER, of=step.name, inner=dict(event))

    def _settled(self, step: PipelineStep) -> Resolved:
        """Settle a step with what the earlier ones made; check what could not be checked before."""
        task = task_of(step)
        values = substitute(step.config.model_dump(mode="json"), self._made)
        config: TaskConfig = type(step.config).model_validate(values)
        resolved = task.resolve(config, self.machine)
        there = {"output_dir": str(self.places.of(self.records[step.name]))}
        config = task.with_absolute_paths(resolved.config).model_copy(update=there)
        resolved = replace(resolved, config=config)
        if any(references_in(step.config.model_dump())):
            task.check(resolved.config, lambda one: self.emit(events.NOTE, message=str(one)))
        return resolved

    def _made(self, one: OutputReference) -> str:
        """Return what a reference stands for."""
        step = next(step for step in self.config.steps if step.name == one.step)
        return task_of(step).outputs(step.config)[one.output](
            self.places.of(self.records[one.step])
        )

    def _servers_for(self, step: PipelineStep) -> bool:
        """Begin the servers that a step uses; tell whether they are up, not when stopped."""
        for name in dict.fromkeys(one.step for one in references_in(step.config.model_dump())):
            number, used = next(
                (at, one) for at, one in enumerate(self.config.steps, 1) if one.name == name
            )
            if not task_of(used).serves:
                continue
            if name in self.servers:
                if not self.servers[name].is_alive:
                    raise self.servers[name].failure()
                continue
            record = self.records[name]
            place = self.places.of(record)
            nested.wait_for_orphan(place)
            settled = self._settled(used)
            nested.record_nested(place, settled.config, self.machine)
            self._say(number, used, "serves", used_by=users_of(self.config, name))
            self.servers[name] = nested.BackgroundRun(
                place, nested.child_of(place, settled.processes, settled.env)
            )
            self._mark_status(record, state.RUNNING)
            up = self.servers[name].wait_for(
                events.SERVING, timeout_s=READY_WITHIN_S, stop=STOP.requested
            )
            if up is None:
                return False
            self._pass_on(used, up)
        return True

    def _close_unused(self, done: int) -> None:
        """Stop the servers that no later step uses."""
        later = {one.name for one in self.config.steps[done:]}
        for name in list(self.servers):
            if not later & set(users_of(self.config, name)):
                self.servers.pop(name).close()
                run_folder.update_state(self.folder, url=None)
                self._mark_status(self.records[name], state.DONE)

    def _mark_status(self, record: Record, status: str) -> None:
        record.status = status
        self._remember()

    def _failure(self, step: PipelineStep, record: Record, message: str, hint: str) -> RunError:
        self._mark_status(record, state.FAILED)
        go_on = text(
            f"`swiftbox runs resume {self.folder}` goes on with {step.name}; "
            f"{step.name}.key=value behind it changes a setting",
            f"`swiftbox runs resume {self.folder}` 从 {step.name} 继续；"
            f"其后可加 {step.name}.key=value 修改设置",
        )
        said = f"{step.name}: {message}"
        return RunError(said, hint="\n".join(one for one in (hint, go_on) if one))


def _last_words(place: Path) -> tuple[str, str]:
    """Return what a step said when it failed, and the hint that it gave."""
    found = [one for one in run_folder.read_events(place)[0] if one.get("event") == events.FAILED]
    last: Mapping[str, Any] = found[-1] if found else {}
    return str(last.get("message") or text("failed", "失败")), str(last.get("hint") or "")
