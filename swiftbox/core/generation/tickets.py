"""What goes into the loop that answers and what comes out: requests, deltas, limits, counters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swiftbox.core.generation.sampling import Pick, Sampling


class QueueFull(Exception):
    """As many requests wait as may."""


class Closing(Exception):
    """The server is about to stop and takes nothing new."""


@dataclass(frozen=True)
class Delta:
    """What is new of one answer: text that is certain, the tokens it is made of, and its end."""

    index: int
    text: str = ""
    logs: tuple[Pick, ...] = ()
    finish: str | None = None
    """stop | length | cancelled | error, when it has ended."""
    tokens: int = 0
    """Tokens of this answer so far."""
    error: str = ""


@dataclass(frozen=True)
class Request:
    """A prompt of tokens, and how its answers are written."""

    prompt: Sequence[int]
    samplings: Sequence[Sampling]
    """One for each answer."""
    adapter: str
    deliver: Callable[[Delta], None]
    """Called from the loop's thread; must not wait."""


@dataclass(eq=False)
class Ticket:
    """A request on its way."""

    request: Request
    arrived: float
    left: int
    cancelled: bool = False
    first_token: float | None = None


@dataclass
class Counters:
    """What the loop has done since it began."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    sent_back: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    first_token_s: float = 0.0
    first_tokens: int = 0
    last_error: str = ""


@dataclass(frozen=True)
class Limits:
    """How much is done at once."""

    rows: int
    queue: int
    length: int
    """Tokens of a prompt with its answer."""
    cells: int
    """Tokens that all windows have place for."""
