"""What a training asks of its conversations: learned turns, lost words, changes to messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # a rendering child of the server starts without pydantic
    from swiftbox.config.conversations import ConversationFields

TurnsMode = Literal["auto", "all", "last", "each"]


@dataclass(frozen=True)
class RenderOptions:
    """The settings of `config.conversations.ConversationFields` that rendering reads."""

    turns: TurnsMode = "auto"
    lost_words: Literal["error", "warn"] = "error"
    merge_consecutive: bool = False
    system_into_user: bool = False
    system: str | None = None
    model_name: tuple[str, ...] = ()
    """None, one name for all turns, or the Chinese and the English one."""
    model_author: tuple[str, ...] = ()
    train_on_prompt: bool = False

    @staticmethod
    def of(config: ConversationFields) -> RenderOptions:
        """Return the options that a training config sets."""
        return RenderOptions(
            turns=config.turns,
            lost_words=config.lost_words,
            merge_consecutive=config.merge_consecutive,
            system_into_user=config.system_into_user,
            system=config.system,
            model_name=_names(config.model_name),
            model_author=_names(config.model_author),
            train_on_prompt=bool(getattr(config, "train_on_prompt", False)),
        )


def _names(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
