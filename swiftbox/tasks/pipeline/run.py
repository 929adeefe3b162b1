"""Run a pipeline: keep unchanged steps, run the others, keep servers running while in use.

Each step is a run inside that of the pipeline, with its folder and its child process. Steps run one
after the other in the thread that calls `run`; the servers that they use run beside them, each in a
thread that supervises its child. pipeline.json is written after every change, so that a pipeline
that was killed resumes where it was. `chain` holds the steps that run, with what they use if others
are skipped; it is computed again when a step fails and is skipped.
"""

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
from swiftbox.language import text
from swiftbox.runs import child, events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.endings import DONE, INTERRUPTED
from swiftbox.runs.events import Emit, Event, StepAction
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import SAVE_TIMEOUT_S, STOP
from swiftbox.runs.supervise import Child, supervise_inside
from swiftbox.tasks.pipeline import state
from swiftbox.tasks.pipeline.fingerprint import fingerprint, identities
from swiftbox.tasks.pipeline.graph import dependencies, task_of, users_of, with_step_name
from swiftbox.tasks.pipeline.skipping import chain_without
from swiftbox.tasks.pipeline.state import StepRecord, step_folder
from swiftbox.tasks.sending import needed_secrets
from swiftbox.tasks.task import Resolved

READY_TIMEOUT_S = 1800.0
"""The time for a server to fetch and load its model."""


class PipelineRun:
    """A running pipeline: its steps, their records, and its running servers."""

    def __init__(self, config: PipelineConfig, folder: Path, emit: Emit) -> None:
        self.config, self.folder, self.emit = config, folder, emit
        self.machine = Machine.from_dict(read_record(folder / run_folder.MACHINE))
        self.failed: dict[str, str] = {}
        self.chain = chain_without(config, self.failed)
        self.numbers = {step.name: number for number, step in enumerate(config.steps, start=1)}
        self.records = self._initial_records()
        self.servers: dict[str, child.BackgroundRun] = {}
        self.began = time.monotonic()

    def run(self) -> Path | None:
        """Run all steps; return the folder, None when stopped.

        Raises RunError if a step fails and is not skipped, or if none is left.
        """
        STOP.can_save.set()  # a stop is passed to the running step, which saves
        self._write_records()
        try:
            for step in self.config.steps:
                if STOP.requested.is_set() or not self._run_step(step):
                    steps = len(self.records)
                    self.emit(events.STOPPED, step=None, parts=steps, seconds=self._seconds())
                    return None
                self._close_unused_servers(after=step)
        finally:
            for server in self.servers.values():
                server.close()
            run_folder.update_state(self.folder, url=None)
        self._emit_done()
        return self.folder

    def _emit_done(self) -> None:
        """Record the outputs of all steps, and those that were skipped."""
        records = self.records.values()
        skipped = {record.name: record.why for record in records if record.status == state.SKIPPED}
        if len(skipped) == len(records):
            name, why = next(iter(skipped.items()))
            raise self._failure(self.records[name], why, "")
        parts = [
            {"name": record.name, **record.outputs}
            for record in records
            if record.status != state.SKIPPED
        ]
        extra = {"skipped": skipped} if skipped else {}
        self.emit(events.DONE, seconds=self._seconds(), parts=parts, **extra)

    def _initial_records(self) -> dict[str, StepRecord]:
        """Return the records of an earlier start, with new ones for steps added since."""
        earlier = state.read(self.folder)
        records = {}
        for step in self.config.steps:
            record = earlier.get(step.name)
            if record is None or record.task != step.config.task:
                folder = step_folder(self.numbers[step.name], step.name)
                record = StepRecord(step.name, step.config.task, folder)
            records[step.name] = record
        return records

    def _write_records(self) -> None:
        state.write(self.folder, self.records)

    def _set_status(self, record: StepRecord, status: str) -> None:
        record.status = status
        self._write_records()

    def _folder_of(self, name: str) -> Path:
        return self.folder / self.records[name].folder

    def _seconds(self) -> float:
        return round(time.monotonic() - self.began, 1)

    def _announce(self, step: PipelineStep, action: StepAction, **details: Any) -> None:
        self.emit(
            events.PART,
            says=action.value,
            number=self.numbers[step.name],
            total=len(self.config.steps),
            name=step.name,
            task=step.config.task,
            **details,
        )

    def _run_step(self, step: PipelineStep) -> bool:
        """Run a step, or keep its result; return whether the next one may start."""
        record = self.records[step.name]
        if step.name in self.chain.skipped:
            return self._skip(step, self.chain.skipped[step.name])
        step = self.steps[step.name]
        current = fingerprint(step, self.records)
        is_same = record.fingerprint == current
        if is_same and record.status == state.SKIPPED and step.skip is None:
            return self._skip_failed(step, record.why)
        record.why, record.instead = "", list(self.chain.changes.get(step.name, ()))
        if is_same and record.status == state.DONE and self._has_outputs(step):
            self._announce(step, StepAction.KEEP)
            return True
        if task_of(step).serves and self.numbers[step.name] < len(self.config.steps):
            record.fingerprint = current  # it starts with the first step that uses it
            return True
        if not self._wait_for_orphan(record):
            return False
        resumes = is_same and self._folder_of(step.name).exists()
        aside = None if resumes else state.set_aside(self.folder, record)
        if not resumes:
            record.folder = step_folder(self.numbers[step.name], step.name)
        record.fingerprint, record.finished, record.outputs = current, None, {}
        self._set_status(record, state.RUNNING)
        action = StepAction.RESUME if resumes else StepAction.BEGIN
        instead = {"instead": record.instead} if record.instead else {}
        self._announce(step, action, aside=aside, **instead)
        return self._run_in_folder(step, aside)

    @property
    def steps(self) -> Mapping[str, PipelineStep]:
        """Return the steps that run, by name."""
        return {step.name: step for step in self.chain.config.steps}

    def _skip(self, step: PipelineStep, why: str, fingerprint: str = "") -> bool:
        """Record that a step is skipped; one with its fingerprint stays so when it resumes."""
        record = self.records[step.name]
        record.why, record.fingerprint, record.outputs = why, fingerprint, {}
        record.instead, record.finished = [], None
        self._set_status(record, state.SKIPPED)
        self._announce(step, StepAction.SKIP, why=why)
        return True

    def _skip_failed(self, step: PipelineStep, why: str) -> bool:
        """Skip a step that failed, and let later ones use what there is."""
        current = fingerprint(step, self.records)
        self.failed[step.name] = why
        self.chain = chain_without(self.config, self.failed)
        return self._skip(step, why, current)

    def _fail(self, step: PipelineStep, message: str, hint: str, *, refused: bool = False) -> bool:
        """Skip a step that failed if the settings say so; raise RunError otherwise.

        A step that is refused with what it uses in place of a skipped result is skipped as well.
        """
        if self.config.policy_of(step) == "skip" or (refused and step.name in self.chain.changes):
            return self._skip_failed(step, first_line(message))
        raise self._failure(self.records[step.name], message, hint)

    def _wait_for_orphan(self, record: StepRecord) -> bool:
        """Wait for an orphaned child of the step to save and exit; return whether it did."""
        message = text(
            f"waiting for an orphaned process of {record.name} to save and exit",
            f"等待 {record.name} 遗留的进程保存并退出",
        )
        return child.wait_for_orphan(
            self.folder / record.folder,
            timeout_s=SAVE_TIMEOUT_S,
            stop=STOP.requested,
            on_wait=lambda: self.emit(events.NOTE, message=message),
        )

    def _outputs_of(self, step: PipelineStep) -> dict[str, str]:
        """Return the outputs of a finished step; raise UserError if one is missing."""
        folder = self._folder_of(step.name)
        outputs = task_of(step).outputs(step.config)
        return {name: find_output(folder) for name, find_output in outputs.items()}

    def _has_outputs(self, step: PipelineStep) -> bool:
        """Return whether all outputs of a step exist and are unchanged."""
        try:
            outputs = self._outputs_of(step)
        except UserError:
            return False
        record, folder = self.records[step.name], self._folder_of(step.name)
        files = identities(outputs)
        # The record is signed, the folder of the step is not: another place counts as changed.
        is_recorded = all(
            record.outputs.get(name) == outputs[name] or Path(outputs[name]).is_relative_to(folder)
            for name in files
        )
        return is_recorded and record.identities == files and folder.is_dir()

    def _run_in_folder(self, step: PipelineStep, aside: str | None) -> bool:
        """Run a step in its folder; return whether the next may start. Raises RunError if not."""
        record, folder = self.records[step.name], self._folder_of(step.name)
        began = time.monotonic()
        child.wait_for_orphan(folder)
        try:
            if not self._start_servers_of(step):
                self._set_status(record, state.STOPPED)
                return False
            process = self._record_nested(step)
            self._note_changes(step, aside)
            code = supervise_inside(
                folder, process, STOP.requested, lambda event: self._pass_on(step, event)
            )
        except UserError as error:
            return self._fail(step, error.message, error.hint, refused=True)
        record.seconds = round(time.monotonic() - began, 1)
        if code == INTERRUPTED:
            self._set_status(record, state.STOPPED)
            return False
        if code != DONE:
            return self._fail(step, *recorded_failure(folder))
        record.finished, record.outputs = round(time.time(), 3), self._outputs_of(step)
        record.identities = identities(record.outputs)
        self._set_status(record, state.DONE)
        return True

    def _record_nested(self, step: PipelineStep) -> Child:
        """Write what the child of a step needs into its folder; return the child to start."""
        folder, resolved = self._folder_of(step.name), self._resolved(step)
        child.record_nested(folder, resolved.config, self.machine)
        secrets = needed_secrets(resolved.config)
        return child.child_of(folder, resolved.processes, resolved.env, secrets)

    def _resolved(self, step: PipelineStep) -> Resolved:
        """Resolve a step with the outputs of earlier ones; check what was unknown before."""
        task = task_of(step)
        values = substitute(step.config.model_dump(mode="json"), self._value_of)
        config: TaskConfig = type(step.config).model_validate(values)
        resolved = task.resolve(config, self.machine)
        folder = {"output_dir": str(self._folder_of(step.name))}
        config = task.with_absolute_paths(resolved.config).model_copy(update=folder)
        if step.name in self.chain.changes or any(references_in(step.config.model_dump())):
            task.check(config, lambda remark: self.emit(events.NOTE, message=str(remark)))
        return replace(resolved, config=config)

    def _note_changes(self, step: PipelineStep, aside: str | None) -> None:
        """Record the settings that differ from those of the result that was moved aside."""
        if aside is None:
            return
        before = state.settings_in(self.folder / aside)
        now = state.settings_in(self._folder_of(step.name))
        changed = [key for key in now if before and before.get(key) != now[key]]
        for key in changed:
            message = f"{key}: {before.get(key)} -> {now[key]}"
            self.emit(events.NOTE, message=with_step_name(step.name, message), key=key)

    def _value_of(self, reference: OutputReference) -> str:
        return self._outputs_of(self.steps[reference.step])[reference.output]

    def _pass_on(self, step: PipelineStep, event: Event) -> None:
        """Record an event of a step; a stop is recorded as that of the pipeline."""
        if event["event"] == events.SERVING:
            run_folder.update_state(self.folder, url=event["url"])
        if event["event"] != events.STOPPED:
            self.emit(events.INNER, of=step.name, inner=dict(event))

    def _start_servers_of(self, step: PipelineStep) -> bool:
        """Start the servers that a step uses; return whether they run, False if stopped."""
        for name in dependencies(step):
            if not task_of(self.steps[name]).serves:
                continue
            if name not in self.servers and not self._start_server(self.steps[name]):
                return False
            if not self.servers[name].is_alive:
                raise self.servers[name].failure()
        return True

    def _start_server(self, step: PipelineStep) -> bool:
        folder = self._folder_of(step.name)
        child.wait_for_orphan(folder)
        process = self._record_nested(step)
        self._announce(step, StepAction.SERVE, used_by=users_of(self.chain.config, step.name))
        server = self.servers[step.name] = child.BackgroundRun(folder, process)
        self._set_status(self.records[step.name], state.RUNNING)
        ready = server.wait_for(events.SERVING, timeout_s=READY_TIMEOUT_S, stop=STOP.requested)
        if ready is not None:
            self._pass_on(step, ready)
        return ready is not None

    def _close_unused_servers(self, *, after: PipelineStep) -> None:
        """Stop the servers that no step after this one uses."""
        later = {step.name for step in self.config.steps[self.numbers[after.name] :]}
        for name in list(self.servers):
            if not later & set(users_of(self.chain.config, name)):
                server = self.servers.pop(name)
                ended = state.DONE if server.is_alive else state.FAILED
                server.close()
                run_folder.update_state(self.folder, url=None)
                self._set_status(self.records[name], ended)

    def _failure(self, record: StepRecord, message: str, hint: str) -> RunError:
        self._set_status(record, state.FAILED)
        resume = text(
            f"`swiftbox runs resume {self.folder}` continues with {record.name}; "
            f"add {record.name}.key=value to change a setting, "
            f"or {record.name}.skip=true to skip it",
            f"`swiftbox runs resume {self.folder}` 从 {record.name} 继续；"
            f"其后可加 {record.name}.key=value 修改设置，或加 {record.name}.skip=true 跳过它",
        )
        return RunError(
            with_step_name(record.name, message), hint="\n".join(filter(None, (hint, resume)))
        )


def first_line(message: str) -> str:
    """Return the first line of a message."""
    return next(iter(message.splitlines()), "")


def recorded_failure(folder: Path) -> tuple[str, str]:
    """Return the message and the hint of the last failure that a run recorded."""
    last: Mapping[str, Any] = run_folder.newest_event(folder, events.FAILED)
    return str(last.get("message") or text("failed", "失败")), str(last.get("hint") or "")
