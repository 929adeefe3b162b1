"""Conversations in a single text, with the speaker's name before each turn.

`\\n\\nHuman: hi\\n\\nAssistant: Hello.` (hh-rlhf), `Human:hi\\nAssistant:` (belle),
`### Human: hi### Assistant: Hello.` (openassistant-guanaco) and `User: hi\\nAssistant: Hello.`
before `User: who?` (GuanacoDataset).
"""

from __future__ import annotations

import re

from swiftbox.data.example import Turn
from swiftbox.data.turns import require_content

MARKS = (
    (re.compile(r"\s*Human:"), re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")),
    (re.compile(r"\s*### *Human *:"), re.compile(r"\s*### *(Human|Assistant) *:")),
)
"""How a text of each kind begins, and what is before each turn."""

SINGLE_LINES = re.compile(r"(?:\A\s*|\n)(Human|Assistant):")
"""What is before each turn in belle, where a turn is a line."""

USER_LINES = re.compile(r"(?:\A|\n)[ \t]*(User|Ass+ist\w*) *[:：]")
"""What is before each turn in GuanacoDataset, which spells Assistant in several ways."""

ROLES = {"Human": "user", "Assistant": "assistant"}


def transcript(text: str) -> list[Turn]:
    """Return the turns of a transcript; none for any other text."""
    for beginning, mark in MARKS:
        if beginning.match(text):
            turns = _turns(text, mark)
            if len(turns) > 1 or text.rstrip().endswith(":"):
                return turns
    return []


def line_transcript(text: str) -> list[Turn]:
    """Return the turns of a transcript that ends with the mark of the answer; else none."""
    if not text.startswith(("Human:", "\n", " ")):  # nearly all texts: this path is fast
        return []
    if not (text.lstrip().startswith("Human:") and text.rstrip().endswith("Assistant:")):
        return []
    return _turns(text, SINGLE_LINES)


def user_transcript(past: str, question: str) -> list[Turn]:
    """Return the turns of a question `User: ...` and of the turns before it; else none."""
    if not question.lstrip().startswith("User") or (past and not past.lstrip().startswith("User")):
        return []
    before, *pieces = USER_LINES.split(f"{past}\n{question}".strip())
    speakers = [speaker == "User" for speaker in pieces[::2]]
    contents = [content.strip() for content in pieces[1::2]]
    alternates = speakers == [index % 2 == 0 for index in range(len(speakers))]
    if before or not alternates or len(speakers) % 2 == 0 or not all(contents):
        return []
    return [
        Turn("user" if is_user else "assistant", content)
        for is_user, content in zip(speakers, contents, strict=True)
    ]


def _turns(text: str, mark: re.Pattern[str]) -> list[Turn]:
    """Split a text at the marks; an open mark of an answer at the end makes none."""
    _, *pieces = mark.split(text)
    turns = [
        Turn(ROLES[speaker], content.strip())
        for speaker, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    if turns and turns[-1].role == "assistant" and not turns[-1].content:
        turns.pop()
    for number, turn in enumerate(turns, 1):
        if not turn.content:
            require_content(turn.role, number)
    return turns
