"""A conversation with one or two participants; it can be undone, repeated and saved as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.language import text

Message = dict[str, str]


@dataclass
class Conversation:
    """The questions of the user, and the answers of each participant."""

    participants: int
    system: str = ""
    questions: list[str] = field(default_factory=list)
    answers: list[list[str]] = field(default_factory=list)
    """The answers of all participants to each question."""
    reasoning: list[list[str]] = field(default_factory=list)
    """What they wrote before each answer, which is saved and not sent again."""

    def requests(self, question: str) -> list[list[Message]]:
        """Return the messages that each participant gets with a further question."""
        message = {"role": "user", "content": question}
        return [[*self.messages(number), message] for number in range(self.participants)]

    def messages(self, participant: int) -> list[Message]:
        """Return the conversation as one participant knows it."""
        messages: list[Message] = []
        if self.system:
            messages.append({"role": "system", "content": self.system})
        for question, answers in zip(self.questions, self.answers, strict=True):
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answers[participant]})
        return messages

    def training_row(self, participant: int) -> dict[str, list[Message]]:
        """Return the conversation with the reasoning of its answers."""
        messages = self.messages(participant)
        answers = [message for message in messages if message["role"] == "assistant"]
        for message, reasoning in zip(answers, self.reasoning, strict=True):
            if reasoning[participant]:
                message["reasoning_content"] = reasoning[participant]
        return {"messages": messages}

    def add(
        self, question: str, answers: list[str], reasoning: Sequence[str] | None = None
    ) -> None:
        """Append a question and its answers."""
        self.questions.append(question)
        self.answers.append(answers)
        self.reasoning.append(list(reasoning or [""] * len(answers)))

    def undo(self) -> str | None:
        """Remove the last question and its answers; return the question."""
        if not self.questions:
            return None
        self.answers.pop()
        self.reasoning.pop()
        return self.questions.pop()

    def reset(self) -> None:
        """Remove all questions and answers; the system prompt stays."""
        self.questions.clear()
        self.answers.clear()
        self.reasoning.clear()

    def save(self, file: Path, participant: int) -> int:
        """Append the conversation to a jsonl file as a training row; return its number of rows.

        Raises ConfigError if nothing was asked yet, or the file cannot be written.
        """
        if not self.questions:
            raise ConfigError(
                text("nothing to save yet", "还没有对话内容"),
                hint=text("ask a question first", "请先提一个问题"),
            )
        row = json.dumps(self.training_row(participant), ensure_ascii=False)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_text(encoding="utf-8") if file.is_file() else ""
            with file.open("a", encoding="utf-8") as out:
                separator = "\n" if content and not content.endswith("\n") else ""
                out.write(f"{separator}{row}\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                text(f"cannot write {file}: {error}", f"无法写入 {file}：{error}"),
                hint=text("choose another file: /save FILE", "请另选文件：/save FILE"),
            ) from None
        return sum(bool(line.strip()) for line in content.splitlines()) + 1
