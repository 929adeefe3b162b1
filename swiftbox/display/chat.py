"""Progress display of a chat run: each prompt with its answers."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, done_line
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event


def answer_lines(event: Event) -> list[str]:
    """Return a prompt and what each participant answers."""
    lines = [f"> {event['prompt']}"]
    for answer in event["answers"]:
        lines += f"{answer['name']}: {answer['text'].strip()}".splitlines()
    return lines


def done_lines(event: Event) -> list[str]:
    """Return the time and the path of the answers."""
    return [done_line(event), text(f"answers: {event['answers']}", f"回答：{event['answers']}")]


DISPLAY = TaskDisplay({events.ANSWER: answer_lines, events.DONE: done_lines})
