"""What lines that begin with a slash do to a conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swiftbox.chat.conversation import Conversation
from swiftbox.errors import UserError
from swiftbox.language import text

LEAVE = ("/quit", "/exit", "/bye")


def help_lines() -> list[str]:
    """Return what can be typed."""
    return [
        text("/help          this", "/help          本帮助"),
        text(
            "/reset         begin again, system prompt kept",
            "/reset         重新开始，保留系统提示",
        ),
        text("/system TEXT   show or set the system prompt", "/system TEXT   查看或设置系统提示"),
        text("/undo          take the last question back", "/undo          撤回上一个问题"),
        text("/retry         ask the last question again", "/retry         重新回答上一个问题"),
        text(
            "/save FILE     add the conversation to a jsonl file, as data to train on",
            "/save FILE     将对话追加到 jsonl 文件，可直接用于训练",
        ),
        text(
            "/quit          leave; so do Ctrl-D and Ctrl-C, which first stops an answer",
            "/quit          离开；Ctrl-D 亦可；Ctrl-C 先停止回答，再按离开",
        ),
    ]


@dataclass(frozen=True)
class Outcome:
    """What follows from a command: lines to show, a question to ask, or the end."""

    lines: tuple[str, ...] = ()
    ask: str | None = None
    leaves: bool = False


def obey(line: str, conversation: Conversation, *, keeps: int) -> Outcome:
    """Carry out a line that begins with a slash; `keeps` is the side whose answers are saved."""
    word, _, rest = line.strip().partition(" ")
    if word in LEAVE:
        return Outcome(leaves=True)
    known: dict[str, Callable[[], Outcome]] = {
        "/help": lambda: Outcome(tuple(help_lines())),
        "/reset": lambda: _reset(conversation),
        "/system": lambda: _system(conversation, rest.strip()),
        "/undo": lambda: _undo(conversation),
        "/retry": lambda: _retry(conversation),
        "/save": lambda: _save(conversation, rest.strip(), keeps),
    }
    if word not in known:
        return Outcome(
            (text(f"no command {word}; /help lists them", f"没有命令 {word}；/help 列出全部"),)
        )
    return known[word]()


def _reset(conversation: Conversation) -> Outcome:
    conversation.reset()
    return Outcome((text("a new conversation", "新的对话"),))


def _system(conversation: Conversation, words: str) -> Outcome:
    if words:
        conversation.system = words
    now = conversation.system or text("none", "无")
    return Outcome((text(f"system prompt: {now}", f"系统提示：{now}"),))


def _undo(conversation: Conversation) -> Outcome:
    question = conversation.undo()
    if question is None:
        return Outcome((text("nothing to take back", "没有可撤回的内容"),))
    return Outcome((text(f"taken back: {question}", f"已撤回：{question}"),))


def _retry(conversation: Conversation) -> Outcome:
    question = conversation.undo()
    if question is None:
        return Outcome((text("nothing was asked yet", "还没有提问"),))
    return Outcome(ask=question)


def _save(conversation: Conversation, name: str, keeps: int) -> Outcome:
    if not name:
        return Outcome((text("which file? /save FILE", "保存到哪个文件？/save FILE"),))
    try:
        rows = conversation.save(Path(name).expanduser(), keeps)
    except UserError as error:
        return Outcome((error.message,))
    return Outcome((text(f"added to {name}, {rows} rows now", f"已追加到 {name}，共 {rows} 行"),))
