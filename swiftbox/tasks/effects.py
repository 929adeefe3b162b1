"""What a run executes, sends and writes outside its folder, said and asked before it starts.

Every task declares its effects (`Task.effects`). What somebody else's YAML may abuse needs the
user's agreement: code that runs with the user's rights, and a token sent to a server that it was
not made for (launch/disclosure.py asks). shared_effects.py finds those that tasks share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from swiftbox.language import text


@dataclass(frozen=True)
class Effect:
    """One thing that a run does to the outside, and the settings that ask for it."""

    keys: tuple[str, ...]
    """The first one names it in the list; the user's own words cover all of them."""
    what: str
    """In the current language."""
    needs_consent: bool = False
    subject: str = ""
    """What is agreed to, in no language."""
    files: tuple[Path, ...] = ()
    """Files whose content the agreement covers."""
    is_fixed: bool = True
    """Whether `subject` and `files` say all; a branch of a hub may hold other code tomorrow."""

    def line(self) -> str:
        """Describe it in one line, with the setting that asks for it."""
        return text(f"  {self.keys[0]}: {self.what}", f"  {self.keys[0]}：{self.what}")


@dataclass(frozen=True)
class Effects:
    """What a run executes, what it sends, and where it writes."""

    runs: tuple[Effect, ...] = ()
    sends: tuple[Effect, ...] = ()
    writes: tuple[Effect, ...] = ()

    def lines(self) -> list[str]:
        """Return the block for people; nothing for a run without effects."""
        titles = (
            text("runs this code with your rights:", "以你的权限执行这些代码："),
            text("sends:", "发送："),
            text("writes into:", "写入："),
        )
        groups = (self.runs, self.sends, self.writes)
        return [
            line
            for title, group in zip(titles, groups, strict=True)
            for line in ([title, *(effect.line() for effect in group)] if group else [])
        ]

    def to_dict(self) -> dict[str, list[str]]:
        """Return the block for programs."""
        return {
            "runs": [effect.line().strip() for effect in self.runs],
            "sends": [effect.line().strip() for effect in self.sends],
            "writes": [effect.line().strip() for effect in self.writes],
        }

    def of_step(self, name: str) -> Effects:
        """Return them with the keys of a pipeline's step, as `step.key`."""

        def named(effects: Iterable[Effect]) -> tuple[Effect, ...]:
            return tuple(
                replace(effect, keys=tuple(f"{name}.{key}" for key in effect.keys))
                for effect in effects
            )

        return Effects(named(self.runs), named(self.sends), named(self.writes))


def joined(parts: Iterable[Effects]) -> Effects:
    """Return the effects of several parts of a run as one."""
    listed = list(parts)
    return Effects(
        tuple(effect for part in listed for effect in part.runs),
        tuple(effect for part in listed for effect in part.sends),
        tuple(effect for part in listed for effect in part.writes),
    )
