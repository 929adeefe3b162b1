"""The loop that answers requests: they come and go between two steps of the model."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from swiftbox.core.generation.batch import Batch, Entry, Reading, Row
from swiftbox.core.generation.network import Network
from swiftbox.core.generation.sampling import Chooser, Pick
from swiftbox.core.generation.tickets import (
    Closing,
    Counters,
    Delta,
    Limits,
    QueueFull,
    Request,
    Ticket,
)
from swiftbox.core.generation.transcript import Transcript

READ_TOKENS = 2048
"""Tokens of prompts, padding included, that are read together."""

FOR_LONGER = 64
"""Places kept free for each row that is let in, so that it is not sent back at once."""

IDLE_S = 1.0
"""Longest sleep without work; whoever brings some wakes the loop."""


@dataclass
class Scheduler:
    """Lets requests into batches, steps them, and hands out what they say."""

    network: Network
    limits: Limits
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Ticket, Entry]] = deque()
        self._back: deque[Entry] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._reading: Reading | None = None
        self._batches: dict[str, Batch] = {}
        self._closing = False
        self._ended = False
        self._thread = threading.Thread(target=self._loop, name="generation", daemon=True)

    # ---- from any thread

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Tell whether the loop runs."""
        return self._thread.is_alive()

    @property
    def running(self) -> int:
        """Return the sequences that have a slot."""
        reading = self._reading
        rows = sum(len(batch.rows) for batch in list(self._batches.values()))
        return rows + (sum(len(one.rows) for one in reading.entries) if reading else 0)

    @property
    def waiting(self) -> int:
        """Return the requests without one."""
        return len(self._waiting) + len(self._back)

    def submit(self, request: Request) -> Ticket:
        """Take a request; raise QueueFull or Closing when it cannot be taken."""
        ticket = Ticket(request, time.monotonic(), len(request.samplings))
        tokenizer = self.network.tokenizers[request.adapter]
        rows = [
            Row(
                ticket,
                index,
                request.prompt,
                Chooser(sampling, request.prompt, index),
                Transcript(tokenizer, sampling.stop),
            )
            for index, sampling in enumerate(request.samplings)
        ]
        with self._changed:
            if self._closing or not self.alive:
                raise Closing
            if self.waiting and self.waiting >= self.limits.queue:
                self.counters.refused += 1
                raise QueueFull
            self.counters.requests += 1
            self.counters.prompt_tokens += len(request.prompt)
            self._waiting.append((ticket, Entry(request.prompt, rows, request.adapter)))
            self._changed.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Give a request up; its slots are free before the next step."""
        with self._changed:
            if ticket.left and not ticket.cancelled:
                ticket.cancelled = True
                self._changed.notify()

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Do something with the network between two steps."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing or not self.alive:
                raise Closing
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def close(self, within_s: float) -> None:
        """Take nothing new, finish what is there within that time, cancel the rest, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        until = time.monotonic() + within_s
        while self.alive and (self.running or self.waiting) and time.monotonic() < until:
            time.sleep(0.02)
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self.alive:
            self._thread.join(timeout=within_s + 5)

    # ---- in the loop's thread

    def _loop(self) -> None:
        with torch.inference_mode():
            while not self._ended:
                self._sleep()
                self._do_jobs()
                self._drop_cancelled()
                if self._ended:
                    break
                self._guarded(self._read, lambda: self._reading and self._reading.entries)
                for adapter in list(self._batches):
                    self._guarded(
                        lambda name=adapter: self._step(name),  # type: ignore[misc]
                        lambda name=adapter: self._taken_apart(name),  # type: ignore[misc]
                    )
            self._give_up()

    def _sleep(self) -> None:
        with self._changed:
            idle = not (self._jobs or self._reading or self._batches)
            if idle and not (self._waiting or self._back or self._ended):
                self._changed.wait(IDLE_S)

    def _do_jobs(self) -> None:
        while self._jobs:
            job, future = self._jobs.popleft()
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                future.set_exception(error)

    def _guarded(self, work: Callable[[], None], rows_of: Callable[[], Any]) -> None:
        """Do a piece of work; when it fails, those it was for are told and the others go on."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - one request must not end the server
            self.counters.last_error = f"{type(error).__name__}: {error}"
            entries = rows_of() or []
            if self._reading and entries is self._reading.entries:
                self._reading = None
            for row in itertools.chain.from_iterable(one.rows for one in entries):
                self._deliver(row, Delta(row.index, finish="error", error=type(error).__name__))
                self.counters.failed += 1
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _taken_apart(self, adapter: str) -> list[Entry]:
        batch = self._batches.pop(adapter, None)
        return [Entry((), batch.rows, adapter)] if batch else []

    def _drop_cancelled(self) -> None:
        with self._changed:
            for ticket, entry in [one for one in self._waiting if one[0].cancelled]:
                self._waiting.remove((ticket, entry))
                self._end_rows(entry.rows, "cancelled")
        for entry in [one for one in self._back if one.rows[0].ticket.cancelled]:
            self._back.remove(entry)
            self._end_rows(entry.rows, "cancelled")
        for adapter, batch in list(self._batches.items()):
            gone = [row for row in batch.rows if row.ticket.cancelled]
            for row in gone:
                batch.drop(row)
            self._end_rows(gone, "cancelled")
            if not batch.rows:
                del self._batches[adapter]
        reading = self._reading
        if reading and all(one.rows[0].ticket.cancelled for one in reading.entries):
            self._reading = None
            self._end_rows([row for one in reading.entries for row in one.rows], "cancelled")

    def forget(self, adapter: str) -> None:
        """Let an adapter go with all who want it; done between two steps, through `call`."""
        with self._changed:
            for ticket, _ in self._waiting:
                ticket.cancelled |= ticket.request.adapter == adapter
        batch = self._batches.get(adapter)
        reading = self._reading
        rows = [*(batch.rows if batch else ()), *(row for one in self._back for row in one.rows)]
        rows += [row for one in reading.entries for row in one.rows] if reading else []
        for row in rows:
            row.ticket.cancelled |= row.ticket.request.adapter == adapter
        self._drop_cancelled()
        self.network.remove(adapter)

    def _end_rows(self, rows: Sequence[Row], finish: str) -> None:
        for row in rows:
            self._deliver(row, Delta(row.index, finish=finish, tokens=row.count))

    def _read(self) -> None:
        if self._reading is None:
            entries = self._let_in()
            if not entries:
                return
            self._reading = Reading.of(entries, self.network.layers, self.network.model.device)
        reading = self._reading
        logits = reading.step(self.network.use(reading.adapter))
        if logits is None:
            return
        batch = self._batches.get(reading.adapter)
        if batch is None:
            batch = Batch(reading.adapter, self.network.layers)
        found = batch.join(reading, logits)
        self._batches[reading.adapter] = batch
        self._reading = None
        self._note(batch, found)

    def _let_in(self) -> list[Entry]:
        """Return the entries whose turn it is: of one adapter, as many as there is place for."""
        entries: list[Entry] = []
        free = self.limits.rows - self.running
        with self._changed:
            while self._back or self._waiting:
                entry = self._back[0] if self._back else self._waiting[0][1]
                if len(entry.rows) > free or not self._has_place(entry, entries):
                    break
                (self._back if self._back else self._waiting).popleft()
                entries.append(entry)
                free -= len(entry.rows)
        return entries

    def _has_place(self, entry: Entry, others: Sequence[Entry]) -> bool:
        if others:
            longest = max(len(entry.tokens), *(len(one.tokens) for one in others))
            together = longest * (len(others) + 1) <= READ_TOKENS
            if not together or entry.adapter != others[0].adapter:
                return False
        coming = [*others, entry]
        rows = sum(len(one.rows) for one in coming)
        length = max(len(one.tokens) for one in coming) + FOR_LONGER
        if not self._batches:
            return rows * length <= self.limits.cells or not others
        used = sum(
            batch.cells(rows, length) if adapter == entry.adapter else batch.cells()
            for adapter, batch in self._batches.items()
        )
        if entry.adapter not in self._batches:
            used += rows * length
        return used <= self.limits.cells

    def _step(self, adapter: str) -> None:
        batch = self._batches[adapter]
        self._send_back()
        if not batch.rows:
            self._batches.pop(adapter, None)
            return
        found = batch.step(self.network.use(adapter))
        self.counters.steps += 1
        self._note(batch, found)

    def _send_back(self) -> None:
        """Let the newest rows wait, to be read again later, while all have no place to grow."""
        while sum(one.cells() for one in self._batches.values()) > self.limits.cells:
            rows = [(batch, row) for batch in self._batches.values() for row in batch.rows]
            if len(rows) == 1:
                return
            batch, row = max(rows, key=lambda one: one[1].ticket.arrived)
            batch.drop(row)
            self._back.appendleft(Entry(row.all_tokens(), [row], batch.adapter))
            self.counters.sent_back += 1

    def _note(self, batch: Batch, found: Sequence[tuple[Row, Pick]]) -> None:
        """Take up the new tokens: what they say, and who has ended."""
        now = time.monotonic()
        for row, pick in found:
            self.counters.generated_tokens += 1
            if row.ticket.first_token is None:
                row.ticket.first_token = now
                self.counters.first_token_s += now - row.ticket.arrived
                self.counters.first_tokens += 1
            finish = self._taken(row, pick)
            text = row.transcript.finish() if finish else row.transcript.release()
            logs = self._logs(row, finish)
            if finish:
                batch.drop(row)
            if text or logs or finish:
                self._deliver(row, Delta(row.index, text, logs, finish, row.count))
        if not batch.rows:
            self._batches.pop(batch.adapter, None)

    def _taken(self, row: Row, pick: Pick) -> str | None:
        """Add a token to what a row has said; return why it ends, if it does."""
        if pick.token in row.sampling.stop_ids:
            return "stop"
        row.transcript.add(pick.token)
        if row.sampling.logprobs is not None:
            row.logs.append(pick)
        if row.transcript.stopped:
            return "stop"
        if row.count >= row.sampling.max_tokens:
            row.transcript.flush()
            return "stop" if row.transcript.stopped else "length"
        return None

    def _logs(self, row: Row, finish: str | None) -> tuple[Pick, ...]:
        if row.sampling.logprobs is None:
            return ()
        upto = row.transcript.told()
        if finish and not row.transcript.stopped:
            upto = len(row.logs)
        new = tuple(row.logs[row.told : upto])
        row.told = max(row.told, upto)
        return new

    def _deliver(self, row: Row, delta: Delta) -> None:
        ticket = row.ticket
        if delta.finish:
            ticket.left -= 1
            if not ticket.left:
                done = "cancelled" if ticket.cancelled else "finished"
                setattr(self.counters, done, getattr(self.counters, done) + 1)
        if not ticket.cancelled or delta.finish:
            ticket.request.deliver(delta)

    def _give_up(self) -> None:
        """Tell everyone who is left that nothing more comes."""
        with self._changed:
            entries = [entry for _, entry in self._waiting] + list(self._back)
            self._waiting.clear()
            self._back.clear()
        entries += self._reading.entries if self._reading else []
        rows = [row for batch in self._batches.values() for row in batch.rows]
        self._reading = None
        self._batches.clear()
        self._end_rows([*rows, *(row for entry in entries for row in entry.rows)], "cancelled")
        while self._jobs:
            self._jobs.popleft()[1].set_exception(Closing())
