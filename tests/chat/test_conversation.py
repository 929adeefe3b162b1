"""A conversation can be taken back, asked again, begun anew, and kept as data to train on."""

from __future__ import annotations

import json
from pathlib import Path

from swiftbox.chat.commands import obey
from swiftbox.chat.conversation import Conversation
from swiftbox.data.check import check_rows
from swiftbox.data.source import parse_sources


def talked(sides: int = 1) -> Conversation:
    found = Conversation(sides, "be brief")
    found.add("一", [f"answer 1 of {side}" for side in range(sides)])
    found.add("two", [f"answer 2 of {side}" for side in range(sides)])
    return found


def test_each_side_is_sent_what_it_said_itself() -> None:
    sent = talked(2).asked("three")
    assert [one["content"] for one in sent[1]] == [
        *("be brief", "一", "answer 1 of 1", "two", "answer 2 of 1", "three")
    ]
    assert [one["role"] for one in sent[0]] == [
        *("system", "user", "assistant", "user", "assistant", "user")
    ]


def test_undo_and_retry_take_the_last_question_back() -> None:
    one = talked()
    assert obey("/retry", one, keeps=0).ask == "two"
    assert one.questions == ["一"]
    assert "taken back: 一" in obey("/undo", one, keeps=0).lines
    assert obey("/undo", one, keeps=0).lines == ("nothing to take back",)
    assert obey("/retry", one, keeps=0).ask is None


def test_reset_keeps_the_system_prompt_and_system_changes_it() -> None:
    one = talked()
    obey("/reset", one, keeps=0)
    assert one.turns(0) == [{"role": "system", "content": "be brief"}]
    obey("/system be long", one, keeps=0)
    assert one.system == "be long"
    assert obey("/system", one, keeps=0).lines == ("system prompt: be long",)


def test_what_is_saved_is_a_row_to_train_on(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "mine.jsonl"
    one = talked(2)
    assert obey(f"/save {file}", one, keeps=1).lines == (f"added to {file}, 1 rows now",)
    file.write_text(file.read_text("utf-8").rstrip("\n"), "utf-8")  # as some editors leave it
    assert obey(f"/save {file}", one, keeps=1).lines == (f"added to {file}, 2 rows now",)
    first = json.loads(file.read_text("utf-8").splitlines()[0])
    assert [turn["content"] for turn in first["messages"]][2] == "answer 1 of 1"
    sources = parse_sources([str(file)], columns={})
    assert check_rows(sources, stage="sft", max_bad_rows=0).rows == 2


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    empty = Conversation(1)
    assert obey(f"/save {tmp_path / 'a'}", empty, keeps=0).lines == ("nothing was said yet",)
    assert obey("/save", empty, keeps=0).lines == ("which file? /save FILE",)
    (said,) = obey(f"/save {tmp_path}", talked(), keeps=0).lines
    assert "cannot write" in said
    assert "no command /what" in obey("/what", empty, keeps=0).lines[0]
    assert obey("/quit", empty, keeps=0).leaves
