"""What is said before a start, and what the user has to agree to.

Code that runs with the user's rights and tokens that are sent to a server they were not made for
need an agreement if a file asks for them. The user's own words count as one: `key=value` on the
command line, or an answer in the menu. A run folder that this user's swiftbox did not make here is
agreed to as a whole. An agreement is remembered by its content and not asked for twice, except for
code on a hub without a commit: that can change under the same name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.errors import ConfigError
from swiftbox.language import home, text
from swiftbox.security.printable import printable
from swiftbox.tasks.effects import Effect, Effects

if TYPE_CHECKING:  # of runs that are continued or repeated alone
    from swiftbox.launch.foreign import ForeignRun

AGREED = "agreed"
"""Folder in SWIFTBOX_HOME with one empty file per agreement."""

MAX_CODE_BYTES = 16 * 2**20
"""Larger files of Python do not occur; reading them would take longer than a check may."""


@dataclass(frozen=True)
class Disclosure:
    """What a start executes, sends and writes, and what it takes over from a stranger's folder."""

    effects: Effects = field(default_factory=Effects)
    typed: frozenset[str] = frozenset()
    """The settings that the user gave in his own words."""
    foreign: ForeignRun | None = None

    def lines(self) -> list[str]:
        """Return the block for people; nothing if there is nothing to say.

        No name in it can pose as a line of the block.
        """
        lines = [*(self.foreign.lines() if self.foreign else ()), *self.effects.lines()]
        return [printable(line) for line in lines]

    @property
    def questions(self) -> tuple[Effect, ...]:
        """Return the effects that a file asks for and the user must agree to."""
        return tuple(effect for effect in self._agreed_effects() if not self._is_typed(effect))

    def _is_typed(self, effect: Effect) -> bool:
        """Tell whether all settings of an effect are the user's; `steps` holds those of steps."""
        return all(
            key in self.typed or ("." in key and "steps" in self.typed) for key in effect.keys
        )

    @property
    def needs_agreement(self) -> bool:
        """Tell whether the user has to be asked."""
        is_open = bool(self.questions) or self.foreign is not None
        is_fixed = all(effect.is_fixed for effect in self.questions)
        return is_open and not (is_fixed and (home() / AGREED / self._digest()).is_file())

    def remember(self) -> None:
        """Remember the agreement; in a home that cannot be written it holds for this start."""
        if self.foreign is None and not self._agreed_effects():
            return
        with contextlib.suppress(OSError):
            folder = home() / AGREED
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            os.close(os.open(folder / self._digest(), flags, 0o600))

    def to_dict(self) -> dict[str, Any]:
        """Return the block for programs, and whether `run` asks before it starts."""
        return {**self.effects.to_dict(), "asks": self.needs_agreement}

    def _agreed_effects(self) -> list[Effect]:
        """Return what an agreement covers, also what the user asked for in his own words."""
        asking = (*self.effects.runs, *self.effects.sends)
        return [effect for effect in asking if effect.needs_consent]

    def _digest(self) -> str:
        """Return the identity of what is agreed to: subjects, contents of files, the folder."""
        import hashlib

        digest = hashlib.sha256((self.foreign.subject if self.foreign else "").encode())
        for effect in sorted(self._agreed_effects(), key=lambda effect: effect.subject):
            digest.update(b"\0" + effect.subject.encode("utf-8", errors="surrogateescape"))
            for file in effect.files:
                digest.update(b"\0" + _hash_of(file))
        return digest.hexdigest()


def _hash_of(file: Path) -> bytes:
    """Return the hash of a file's content; of a very large one, of its size, time and beginning.

    Nothing for one that cannot be read, or is not a regular file: a device has no end.
    """
    import hashlib

    from swiftbox.security.regular import require_regular

    with contextlib.suppress(OSError):
        require_regular(file)
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as content:
            digest = hashlib.sha256(content.read(MAX_CODE_BYTES))
            if content.read(1):
                status = os.fstat(descriptor)
                digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            return digest.digest()
    return b""


Ask = Callable[[Disclosure], bool]
"""Asks whether to start; the block has been shown."""


def require_agreement(disclosure: Disclosure, ask: Ask) -> None:
    """Ask if it is needed and remember the agreement; raise ConfigError without it."""
    if disclosure.needs_agreement and not ask(disclosure):
        raise _not_agreed(disclosure)
    disclosure.remember()


def refuse(_disclosure: Disclosure) -> bool:
    """Agree to nothing: there is nobody to ask."""
    return False


def _not_agreed(disclosure: Disclosure) -> ConfigError:
    lines = [effect.line().strip() for effect in disclosure.questions]
    if disclosure.foreign is not None:
        lines = [*disclosure.foreign.lines(), *lines]
    listed = "\n".join(f"  {printable(line).strip()}" for line in lines)
    return ConfigError(
        text(
            f"not started: nobody has agreed to this:\n{listed}",
            f"未启动：尚无人同意以下内容：\n{listed}",
        ),
        hint=text(
            "if you trust it, add --yes, or start it in a terminal and answer the question",
            "如果信任，请加 --yes，或在终端启动并回答提问",
        ),
    )
