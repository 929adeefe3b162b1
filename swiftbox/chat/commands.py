"""What the lines that begin with a slash do to a conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swiftbox.chat.conversation import Conversation
from swiftbox.errors import UserError
from swiftbox.language import text

QUIT = ("/quit", "/exit", "/bye")


def help_lines() -> list[str]:
    """Return a line for each command."""
    return [
        text("/help          list the commands", "/help          列出命令"),
        text(
            "/reset         start over; keeps the system prompt",
            "/reset         重新开始，保留系统提示",
        ),
        text("/system TEXT   show or set the system prompt", "/system TEXT   查看或设置系统提示"),
        text("/undo          remove the last question", "/undo          撤回上一个问题"),
        text("/retry         ask the last question again", "/retry         重新回答上一个问题"),
        text(
            "/save FILE     append the conversation to a jsonl file, as a training row",
            "/save FILE     将对话追加到 jsonl 文件，可直接用于训练",
        ),
        text(
            "/quit          leave; so does Ctrl-D; Ctrl-C stops an answer, or leaves",
            "/quit          离开；Ctrl-D 亦可；Ctrl-C 先停止回答，再按离开",
        ),
    ]


@dataclass(frozen=True)
class CommandResult:
    """What follows from a command: lines to show, a question to ask, or the end."""

    lines: tuple[str, ...] = ()
    question: str | None = None
    quits: bool = False


def run_command(line: str, conversation: Conversation, *, saved: int) -> CommandResult:
    """Run a line that begins with a slash; `saved` is the participant whose answers are saved."""
    name, _, argument = line.strip().partition(" ")
    argument = argument.strip()
    if name in QUIT:
        return CommandResult(quits=True)
    commands: dict[str, Callable[[], CommandResult]] = {
        "/help": lambda: CommandResult(tuple(help_lines())),
        "/reset": lambda: _reset(conversation),
        "/system": lambda: _system(conversation, argument),
        "/undo": lambda: _undo(conversation),
        "/retry": lambda: _retry(conversation),
        "/save": lambda: _save(conversation, argument, saved),
    }
    if name in commands:
        return commands[name]()
    return _shows(text(f"no command {name}; /help lists them", f"没有命令 {name}；/help 列出全部"))


def _shows(line: str) -> CommandResult:
    return CommandResult((line,))


def _reset(conversation: Conversation) -> CommandResult:
    conversation.reset()
    return _shows(text("started over", "新的对话"))


def _system(conversation: Conversation, prompt: str) -> CommandResult:
    if prompt:
        conversation.system = prompt
    current = conversation.system or text("none", "无")
    return _shows(text(f"system prompt: {current}", f"系统提示：{current}"))


def _undo(conversation: Conversation) -> CommandResult:
    question = conversation.undo()
    if question is None:
        return _shows(text("nothing to undo", "没有可撤回的内容"))
    return _shows(text(f"removed: {question}", f"已撤回：{question}"))


def _retry(conversation: Conversation) -> CommandResult:
    question = conversation.undo()
    if question is None:
        return _shows(text("no question to repeat yet", "还没有提问"))
    return CommandResult(question=question)


def _save(conversation: Conversation, name: str, participant: int) -> CommandResult:
    if not name:
        return _shows(text("name a file: /save FILE", "保存到哪个文件？/save FILE"))
    try:
        rows = conversation.save(Path(name).expanduser(), participant)
    except UserError as error:
        return _shows(error.message)
    return _shows(text(f"appended to {name} (rows: {rows})", f"已追加到 {name}，共 {rows} 行"))
