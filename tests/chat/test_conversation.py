"""A conversation can be undone, repeated, started over, and saved as training data."""

from __future__ import annotations

import json
from pathlib import Path

from swiftbox.chat.commands import run_command
from swiftbox.chat.conversation import Conversation
from swiftbox.data.check import check_rows
from swiftbox.data.source import parse_sources


def two_questions(participants: int = 1) -> Conversation:
    conversation = Conversation(participants, "be brief")
    conversation.add("一", [f"answer 1 of {number}" for number in range(participants)])
    conversation.add("two", [f"answer 2 of {number}" for number in range(participants)])
    return conversation


def test_each_participant_gets_its_own_answers() -> None:
    requests = two_questions(2).requests("three")
    assert [message["content"] for message in requests[1]] == [
        *("be brief", "一", "answer 1 of 1", "two", "answer 2 of 1", "three")
    ]
    assert [message["role"] for message in requests[0]] == [
        *("system", "user", "assistant", "user", "assistant", "user")
    ]


def test_undo_and_retry_remove_the_last_question() -> None:
    conversation = two_questions()
    assert run_command("/retry", conversation, saved=0).question == "two"
    assert conversation.questions == ["一"]
    assert "removed: 一" in run_command("/undo", conversation, saved=0).lines
    assert run_command("/undo", conversation, saved=0).lines == ("nothing to undo",)
    assert run_command("/retry", conversation, saved=0).question is None


def test_reset_keeps_the_system_prompt_and_system_changes_it() -> None:
    conversation = two_questions()
    run_command("/reset", conversation, saved=0)
    assert conversation.messages(0) == [{"role": "system", "content": "be brief"}]
    run_command("/system be long", conversation, saved=0)
    assert conversation.system == "be long"
    assert run_command("/system", conversation, saved=0).lines == ("system prompt: be long",)


def test_a_saved_conversation_is_a_training_row(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "mine.jsonl"
    conversation = two_questions(2)
    result = run_command(f"/save {file}", conversation, saved=1)
    assert result.lines == (f"appended to {file} (rows: 1)",)
    file.write_text(file.read_text("utf-8").rstrip("\n"), "utf-8")  # as some editors write it
    result = run_command(f"/save {file}", conversation, saved=1)
    assert result.lines == (f"appended to {file} (rows: 2)",)
    first = json.loads(file.read_text("utf-8").splitlines()[0])
    assert [turn["content"] for turn in first["messages"]][2] == "answer 1 of 1"
    sources = parse_sources([str(file)], columns={})
    assert check_rows(sources, stage="sft", max_bad_rows=0).rows == 2


def test_a_command_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    empty = Conversation(1)
    assert run_command(f"/save {tmp_path / 'a'}", empty, saved=0).lines == ("nothing to save yet",)
    assert run_command("/save", empty, saved=0).lines == ("name a file: /save FILE",)
    (line,) = run_command(f"/save {tmp_path}", two_questions(), saved=0).lines
    assert "cannot write" in line
    assert "no command /what" in run_command("/what", empty, saved=0).lines[0]
    assert run_command("/quit", empty, saved=0).quits
