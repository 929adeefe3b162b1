"""The loop that answers requests: they join and leave between two steps of the model.

One thread owns the model and runs the loop; `submit`, `cancel`, `call` and `close` may be called
from any thread. A request moves from the queue to a prefill, which reads its prompt in parts, and
then to the decode batch of its adapter; short prompts are read between two parts of a long one.

If the caches of all batches outgrow their space, the newest sequence is preempted: it returns to
the front of the queue and is read again later. So do the sequences of a step for which memory runs
out, with a lower limit; a single one that still does not fit ends with an error. If the device
itself fails, all requests end, and the loop with them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from swiftbox.core.generation import device_access
from swiftbox.core.generation.batch import DecodeBatch, GeneratedSequence, Prefill, PrefillEntry
from swiftbox.core.generation.decode_batches import DecodeBatches
from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.device_watch import DeviceWatch
from swiftbox.core.generation.entry_queue import EntryQueue
from swiftbox.core.generation.network import Network
from swiftbox.core.generation.reading_pace import ReadingPace
from swiftbox.core.generation.requests import (
    DEVICE_FAILURE,
    GRAMMAR_FAILURE,
    OUT_OF_MEMORY,
    Counters,
    Delta,
    QueueFull,
    Request,
    SchedulerLimits,
    ShuttingDown,
    Ticket,
)
from swiftbox.core.generation.sampling import SampledToken
from swiftbox.runs.diagnosis import is_out_of_memory

IDLE_S = 1.0
"""Longest sleep without work; a new request wakes the loop."""


@dataclass
class Scheduler:
    """Admits requests to batches, generates their tokens, and delivers their text."""

    network: Network
    limits: SchedulerLimits
    path: DecodePath = field(default_factory=DecodePath)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._prefill: Prefill | None = None
        self._short: Prefill | None = None
        """Prompts that are read between two parts of a long one."""
        self._device = self.network.model.device
        self._pace = ReadingPace(self._device)
        self._watch = DeviceWatch(self._device, self._end_with)
        self._batches = DecodeBatches(self.network.layers, self.limits, self.path)
        self._queue = EntryQueue(self._batches)
        self.cell_limit = self._batches.limit
        self.failure = ""
        """Why the loop ended before it was closed; empty if it did not."""
        self._ended_rows = 0
        self._closing = False
        self._ended = False
        self._thread = threading.Thread(target=self._loop, name="generation", daemon=True)

    # ---- from any thread

    def start(self) -> None:
        """Start to answer requests."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the loop runs."""
        return self._thread.is_alive() and not self.failure

    @property
    def running(self) -> int:
        """Return the number of sequences that have a slot."""
        return len(self._batches.rows()) + len(self._reading_rows())

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait for a slot."""
        return len(self._queue)

    def submit(self, request: Request) -> Ticket:
        """Accept a request; raise QueueFull or ShuttingDown if that is not possible."""
        ticket = Ticket(request, time.monotonic(), len(request.samplings))
        entry = PrefillEntry.of(ticket, self.network.tokenizers[request.adapter])
        with self._changed:
            if self._closing or not self.alive:
                raise ShuttingDown
            if self.waiting and self.waiting >= self.limits.queue:
                self.counters.refused += 1
                raise QueueFull
            self.counters.requests += 1
            self.counters.prompt_tokens += len(request.prompt)
            self._queue.add(entry)
            self._changed.notify()
        return ticket

    def probe_if_idle(self) -> None:
        """Start to compute something if nothing is, so that a failed device is noticed."""
        if self.alive and not (self.running or self.waiting):
            self._watch.probe()

    def _end_with(self, failure: str) -> None:
        """End the loop, since the device failed."""
        with self._changed:
            self.failure = self.failure or failure
            self._ended = True
            self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Cancel a request; its slots are free before the next step."""
        with self._changed:
            if ticket.unfinished and not ticket.cancelled:
                ticket.cancelled = True
                self._changed.notify()

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a function in the loop's thread between two steps."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing or not self.alive:
                raise ShuttingDown
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def close(self, within_s: float) -> None:
        """Stop accepting, finish requests within that time, cancel the rest, and end the loop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        deadline = time.monotonic() + within_s
        while self.alive and (self.running or self.waiting) and time.monotonic() < deadline:
            time.sleep(0.02)
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=within_s + 5)

    # ---- in the loop's thread

    def _loop(self) -> None:
        try:
            with torch.inference_mode():
                while not self._ended:
                    self._wait_for_work()
                    self._run_jobs()
                    self._drop_cancelled()
                    if self._ended:
                        break
                    self._attempt(self._read_short, lambda: self._take(self._short))
                    self._attempt(self._read, lambda: self._take(self._prefill))
                    for batch in self._batches:
                        adapter = batch.adapter
                        self._attempt(
                            partial(self._step, adapter), partial(self._batches.discard, adapter)
                        )
        except BaseException as error:
            self.failure = self.failure or f"{type(error).__name__}: {error}"
            raise
        finally:
            self._end_all()

    def _wait_for_work(self) -> None:
        with self._changed:
            idle = not (self._jobs or self._prefill or self._batches)
            if idle and not (self._queue or self._ended):
                self._changed.wait(IDLE_S)

    def _run_jobs(self) -> None:
        while self._jobs:
            job, future = self._jobs.popleft()
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001 - passed to the caller
                future.set_exception(error)

    def _attempt(
        self, step: Callable[[], None], take_out: Callable[[], list[PrefillEntry]]
    ) -> None:
        """Run a step of some sequences, which `take_out` removes if it fails: others continue."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - one request must not end the server
            self._recover(error, take_out)

    def _recover(self, error: Exception, take_out: Callable[[], list[PrefillEntry]]) -> None:
        """Free what a failed step holds; repeat it later if only memory was missing."""
        self.counters.last_error = f"{type(error).__name__}: {error}"
        has_no_memory = is_out_of_memory(error)
        if has_no_memory:
            self.counters.out_of_memory += 1
            self._batches.shrink()
        else:
            self.failure = self.failure or device_access.device_failure(self._device)
        entries = take_out()
        if has_no_memory:
            entries = [*entries, *self._batches.discard_reserved()]
        self._batches.free_idle()
        device_access.release_memory(error)
        if self.failure:
            self._fail(entries, DEVICE_FAILURE)
            self._ended = True
        elif has_no_memory and (len(entries) > 1 or self._prefill or self._batches):
            self._send_back(entries, wait=False)
        else:
            self._fail(entries, OUT_OF_MEMORY if has_no_memory else type(error).__name__)

    def _fail(self, entries: Sequence[PrefillEntry], error: str) -> None:
        for row in [row for entry in entries for row in entry.rows]:
            self._deliver(row, Delta(row.index, finish="error", error=error))
            self.counters.failed += 1

    def _take(self, prefill: Prefill | None) -> list[PrefillEntry]:
        """Return what is to be read again after a prefill failed."""
        if prefill is None:
            return []
        self._stop_reading(prefill)
        return self._batches.discard_joining(prefill)

    def _send_back(self, entries: Sequence[PrefillEntry], *, wait: bool = True) -> None:
        """Return sequences to the front of the queue, the oldest first.

        With `wait` they are read only after another one ended: before, they would not fit for long.
        """
        with self._changed:
            self._queue.send_back(entries, after=self._ended_rows + 1 if wait else 0)
        self.counters.sent_back += len(entries)

    def _drop_cancelled(self) -> None:
        with self._changed:
            entries = self._queue.remove_cancelled()
        self._end_rows([row for entry in entries for row in entry.rows], "cancelled")
        for batch in self._batches:
            cancelled = [row for row in batch.rows if row.ticket.cancelled]
            for row in cancelled:
                batch.drop(row)
            self._end_rows(cancelled, "cancelled")
            if not batch.rows:
                self._batches.close(batch.adapter)
        rows = self._reading_rows()
        if rows and all(row.ticket.cancelled for row in rows):
            self._prefill = None
            self._end_rows(rows, "cancelled")

    def forget(self, adapter: str) -> None:
        """Remove an adapter and cancel its requests; to be run between two steps, by `call`."""
        batch = self._batches.find(adapter)
        with self._changed:
            waiting = [row for entry in self._queue for row in entry.rows]
        for row in [*(batch.rows if batch else ()), *waiting, *self._reading_rows()]:
            row.ticket.cancelled |= row.ticket.request.adapter == adapter
        self._drop_cancelled()
        self._batches.discard(adapter)  # its idle cache, whose graphs hold the adapter's weights
        self.network.remove(adapter)

    def _end_rows(self, rows: Sequence[GeneratedSequence], finish: str) -> None:
        for row in rows:
            self._deliver(row, Delta(row.index, finish=finish, tokens=row.count))

    def _read(self) -> None:
        """Read a part of the next prompts, unless the other answers have to continue first."""
        if self._prefill is None:
            with self._changed:
                entries = self._queue.take(self.limits.rows - self.running, self._ended_rows)
            if not entries:
                return
            self._prefill = Prefill.of(entries, self.network.layers, self._device)
        prefill = self._prefill
        if self._batches and prefill.is_long and not self._pace.may_read():
            return
        logits = self._pace.run(lambda: self._read_part(prefill))
        if logits is not None:
            self._join(prefill, logits)

    def _read_short(self) -> None:
        """Read short prompts that have arrived while a long one is being read."""
        if self._prefill is None:
            return
        with self._changed:
            entries = self._queue.take_short(self.limits.rows - self.running, self._prefill)
        if entries:
            self._short = Prefill.of(entries, self.network.layers, self._device)
            self._join(self._short, self._read_part(self._short))

    def _read_part(self, prefill: Prefill) -> Any:
        """Return the logits (R, V) that follow the prompts if this was the last part."""
        return prefill.step(self.network.use(prefill.adapter), self._pace.part(prefill.length))

    def _join(self, prefill: Prefill, logits: torch.Tensor) -> None:
        """Add prompts that were read to the batch of their adapter, and handle their tokens."""
        if not self._batches.has_space(prefill.entries, reserve=0):
            self._stop_reading(prefill)  # the batches grew meanwhile
            self._send_back(prefill.entries)
            return
        batch = self._batches.open(prefill.adapter)
        first_tokens = batch.join(prefill, logits)
        self._stop_reading(prefill)
        self._handle_tokens(batch, first_tokens)

    def _stop_reading(self, prefill: Prefill) -> None:
        if prefill is self._short:
            self._short = None
        else:
            self._prefill = None

    def _reading_rows(self) -> list[GeneratedSequence]:
        """Return the sequences whose prompts are being read."""
        prefills = [prefill for prefill in (self._prefill, self._short) if prefill]
        return [row for prefill in prefills for entry in prefill.entries for row in entry.rows]

    def _step(self, adapter: str) -> None:
        if self._batches.find(adapter) is None:
            return
        entries = self._batches.preempt(adapter)
        if entries:
            self._send_back(entries)
        batch = self._batches.find(adapter)
        if batch is None:
            return
        tokens = batch.step(partial(self.network.use, adapter))
        self.counters.steps += 1
        self._batches.limit.succeed()
        self._handle_tokens(batch, tokens)

    def _handle_tokens(
        self, batch: DecodeBatch, tokens: Sequence[tuple[GeneratedSequence, SampledToken]]
    ) -> None:
        """Add new tokens to their sequences, deliver the text, and drop what has ended."""
        now = time.monotonic()
        for row, sampled in tokens:
            self.counters.generated_tokens += 1
            if row.ticket.first_token is None:
                row.ticket.first_token = now
                self.counters.first_token_s += now - row.ticket.arrived
                self.counters.first_tokens += 1
            finish = row.add(sampled)
            text = row.transcript.finish() if finish else row.transcript.release()
            logs = row.new_logs(finish)
            if finish:
                batch.drop(row)
            if text or logs or finish:
                error = GRAMMAR_FAILURE if finish == "error" else ""
                self._deliver(row, Delta(row.index, text, logs, finish, row.count, error))
        if not batch.rows:
            self._batches.close(batch.adapter)

    def _deliver(self, row: GeneratedSequence, delta: Delta) -> None:
        ticket = row.ticket
        if delta.finish:
            self._ended_rows += 1
            ticket.unfinished -= 1
            if not ticket.unfinished and ticket.cancelled:
                self.counters.cancelled += 1
            elif not ticket.unfinished:
                self.counters.finished += 1
        if not ticket.cancelled or delta.finish:
            ticket.request.deliver(delta)

    def _end_all(self) -> None:
        """End every request that has not ended: cancelled, or with the device's failure."""
        with self._changed:
            self._closing = True
            entries = list(self._queue.clear())
        waiting = [row for entry in entries for row in entry.rows]
        rows = [*self._batches.rows(), *waiting, *self._reading_rows()]
        self._prefill = self._short = None
        for batch in self._batches:
            self._batches.discard(batch.adapter)
        if self.failure:
            self._fail([PrefillEntry((), rows, "")], DEVICE_FAILURE)
        else:
            self._end_rows(rows, "cancelled")
        while self._jobs:
            self._jobs.popleft()[1].set_exception(ShuttingDown())
