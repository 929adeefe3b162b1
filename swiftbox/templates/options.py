"""What a training asks of its conversations: learned turns, lost words, changes to messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # a rendering child of the server starts without pydantic
    from swiftbox.config.conversations import ConversationFields

CHANGES = ("merge_consecutive", "system_into_user", "sequential_calls")
"""Settings that change what a template is given, for rows that it refuses otherwise."""

TurnsMode = Literal["auto", "all", "last", "each"]


@dataclass(frozen=True)
class RenderOptions:
    """The settings of `config.conversations.ConversationFields` that rendering reads."""

    turns: TurnsMode = "auto"
    lost_words: Literal["error", "warn"] = "error"
    merge_consecutive: bool = False
    system_into_user: bool = False
    sequential_calls: bool = False
    system: str | None = None
    model_name: tuple[str, ...] = ()
    """None, one name for all turns, or the Chinese and the English one."""
    model_author: tuple[str, ...] = ()
    train_on_prompt: bool = False

    def with_changes(self, names: Iterable[str]) -> RenderOptions:
        """Return the options with some of CHANGES set."""
        changes: dict[str, Any] = dict.fromkeys(names, True)
        return replace(self, **changes)

    @staticmethod
    def of(config: ConversationFields) -> RenderOptions:
        """Return the options that a training config sets."""
        return RenderOptions(
            turns=config.turns,
            lost_words=config.lost_words,
            merge_consecutive=config.merge_consecutive,
            system_into_user=config.system_into_user,
            sequential_calls=config.sequential_calls,
            system=config.system,
            model_name=_names(config.model_name),
            model_author=_names(config.model_author),
            train_on_prompt=bool(getattr(config, "train_on_prompt", False)),
        )


def _names(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
