"""What the scheduler takes and returns: requests, pieces of answers, limits, counters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swiftbox.core.generation.sampling import SampledToken, Sampling

OUT_OF_MEMORY = "out_of_memory"
"""The error of an answer that does not fit in memory even alone."""

DEVICE_FAILURE = "device_failure"
"""The error of all answers that were not complete when the device failed."""

GRAMMAR_FAILURE = "grammar_failure"
"""The error of an answer whose grammar is too complex to be followed."""


class QueueFull(Exception):
    """The queue holds as many requests as it may."""


class ShuttingDown(Exception):
    """The scheduler is about to stop and takes no new requests."""


@dataclass(frozen=True)
class Delta:
    """The new part of one answer: text that is final, its tokens, and the end of the answer."""

    index: int
    text: str = ""
    logs: tuple[SampledToken, ...] = ()
    """The tokens of the text with their log probabilities, if the request wants them."""
    finish: str | None = None
    """stop | length | cancelled | error; None while the answer continues."""
    tokens: int = 0
    """Tokens of this answer so far."""
    error: str = ""


@dataclass(frozen=True)
class Request:
    """A prompt of tokens, and how its answers are sampled."""

    prompt: Sequence[int]
    samplings: Sequence[Sampling]
    """One for each answer."""
    adapter: str
    deliver: Callable[[Delta], None]
    """Called from the scheduler's thread; must not block."""


@dataclass(eq=False)
class Ticket:
    """A request that the scheduler has accepted."""

    request: Request
    arrived: float
    unfinished: int
    """Number of its answers that have not ended."""
    cancelled: bool = False
    first_token: float | None = None


@dataclass
class Counters:
    """What the scheduler has done since its start."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    sent_back: int = 0
    out_of_memory: int = 0
    """Steps for which memory ran out."""
    prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    first_token_s: float = 0.0
    first_tokens: int = 0
    last_error: str = ""


@dataclass(frozen=True)
class SchedulerLimits:
    """How much the scheduler does at the same time."""

    rows: int
    """Sequences that are generated together."""
    queue: int
    """Requests that may wait."""
    length: int
    """Tokens of a prompt with its answer."""
    cells: int
    """Tokens that all key-value caches together have space for."""
