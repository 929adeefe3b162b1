"""What was said so far, by each side; it can be taken back, asked again and kept as data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.language import text

Turn = dict[str, str]


@dataclass
class Conversation:
    """Questions in common, answers of each side."""

    sides: int
    system: str = ""
    questions: list[str] = field(default_factory=list)
    answers: list[list[str]] = field(default_factory=list)
    """To each question that was answered, the words of every side."""

    def asked(self, question: str) -> list[list[Turn]]:
        """Return what each side is sent to answer a further question."""
        return [[*self.turns(side), {"role": "user", "content": question}] for side in self._all()]

    def _all(self) -> range:
        return range(self.sides)

    def turns(self, side: int) -> list[Turn]:
        """Return the conversation as one side knows it."""
        found: list[Turn] = []
        if self.system:
            found.append({"role": "system", "content": self.system})
        for question, answers in zip(self.questions, self.answers, strict=True):
            found.append({"role": "user", "content": question})
            found.append({"role": "assistant", "content": answers[side]})
        return found

    def add(self, question: str, answers: list[str]) -> None:
        """Keep a question with its answers."""
        self.questions.append(question)
        self.answers.append(answers)

    def undo(self) -> str | None:
        """Take the last question and its answers back; return the question."""
        if not self.questions:
            return None
        self.answers.pop()
        return self.questions.pop()

    def reset(self) -> None:
        """Begin again; the system prompt stays."""
        self.questions.clear()
        self.answers.clear()

    def save(self, file: Path, side: int) -> int:
        """Add it to a jsonl file as a row to train on; return the rows the file has then.

        Raises ConfigError when there is nothing to keep, or it cannot be written.
        """
        if not self.questions:
            raise ConfigError(text("nothing was said yet", "还没有对话内容"))
        row = json.dumps({"messages": self.turns(side)}, ensure_ascii=False)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            before = file.read_text(encoding="utf-8") if file.is_file() else ""
            with file.open("a", encoding="utf-8") as out:
                out.write(("\n" if before and not before.endswith("\n") else "") + row + "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                text(f"cannot write {file}: {error}", f"无法写入 {file}：{error}")
            ) from None
        return len([line for line in before.splitlines() if line.strip()]) + 1
