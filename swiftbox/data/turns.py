"""The turns of a conversation as datasets write them: speakers, contents, tool calls.

A turn is `{"role", "content"}` or `{"from", "value"}`; a list may also hold pairs of question and
answer (XTuner, ms-swift), or plain texts of which the first is the user's (LIMA, UltraChat).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.data.column_names import REASONING_COLUMNS
from swiftbox.data.contents import content_of, result_of, without_calls
from swiftbox.data.example import RowError, Turn, kind_of
from swiftbox.data.loss_weights import PRESENT, WEIGHT_KEYS, weight_of
from swiftbox.data.roles import CALLERS, PLAIN, ROLE_OF, SPEAKER_KEYS, speaker_name
from swiftbox.data.tool_calls import called, calls_of

Row = Mapping[str, Any]

EXTRA_KEYS = ("name", "tool_call_id")
"""Further keys of a message that chat templates read."""

REASONING = REASONING_COLUMNS[0]
"""The key that all names of the thoughts before an answer are read into."""

CONTENT_KEYS = ("content", "value", "text")

PAIR_KEYS = (("input", "output"), ("human", "assistant"), ("user", "assistant"))
"""Keys of a question and its answer in lists of pairs: XTuner, ms-swift and MOSS."""

PAIR_LOSS = "output_with_loss"
"""The key of a pair whose `false` excludes its answer (XTuner)."""

READ_KEYS = PRESENT.union(
    EXTRA_KEYS, REASONING_COLUMNS, SPEAKER_KEYS, CONTENT_KEYS, ("tool_calls", "function_call", "id")
)
"""Keys of a turn that are read, and its number, which says nothing."""

NO_KEYS: frozenset[str] = frozenset()


def read_turns(turns: list[Any]) -> list[Turn]:
    """Read turns of role and content or of from and value, pairs, or alternating texts."""
    messages: list[Turn] = []
    for number, turn in enumerate(turns, 1):
        # Nearly all turns are a known role and a text and nothing else: this path is fast.
        if isinstance(turn, dict) and (len(turn) == 2 or _has_two_values(turn)):
            speaker, content = turn.get("role"), turn.get("content")
            if speaker is None:
                speaker, content = turn.get("from"), turn.get("value")
            role = PLAIN.get(speaker) if type(speaker) is str else None
            if role and type(content) is str and content and not content.isspace():
                messages.append(Turn(role, content))
                continue
        elif isinstance(turn, str) and _alternate(turns):
            return _alternating(turns)
        _add(messages, turn, number)
    return messages


def _has_two_values(turn: dict[str, Any]) -> bool:
    """Return whether all but two values are null: files with typed columns pad turns with nulls."""
    return len(turn) - [*turn.values()].count(None) == 2


def unread_keys(turns: Any) -> frozenset[str]:
    """Return the filled keys of turns that nobody reads."""
    unread = NO_KEYS
    if type(turns) is list:
        for turn in turns:
            if len(turn) > 2 and not READ_KEYS.issuperset(turn) and isinstance(turn, dict):
                read = READ_KEYS | {"arguments"} if _is_call(turn) else READ_KEYS
                keys = {key for key in turn.keys() - read if turn[key] is not None}
                unread |= keys if not _is_pair(turn) else NO_KEYS
            if len(turn) > 2 and isinstance(turn, dict) and not PRESENT.isdisjoint(turn):
                unread |= _weights_of_others(turn)
    return unread


def _weights_of_others(turn: Row) -> frozenset[str]:
    """Return the keys that give weight to a turn of the user or of a tool: it is not learned."""
    speaker = next((turn[key] for key in SPEAKER_KEYS if turn.get(key)), None)
    role = ROLE_OF.get(speaker_name(speaker)) if isinstance(speaker, str) else None
    if role is None or role == "assistant":
        return NO_KEYS
    return frozenset(f"{key} ({role})" for key in WEIGHT_KEYS if turn.get(key))


def _alternate(turns: list[Any]) -> bool:
    return len(turns) > 1 and all(isinstance(turn, str) for turn in turns)


def _alternating(texts: list[str]) -> list[Turn]:
    """Return texts as turns; the user begins."""
    turns = [Turn("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)]
    for number, turn in enumerate(turns, 1):
        if not turn.content.strip():
            require_content(turn.role, number)
    return turns


def _add(messages: list[Turn], turn: Any, number: int) -> None:
    """Append a turn of any other shape; calls of several turns in a row are those of a single."""
    if not isinstance(turn, dict):
        raise RowError(
            "type",
            f"message {number} should be an object (got {kind_of(turn)})",
            f"第 {number} 条消息应为对象（当前为 {kind_of(turn)}）",
        )
    speaker_key = next((key for key in SPEAKER_KEYS if turn.get(key) is not None), None)
    if speaker_key is None and _is_pair(turn):
        messages += _pair(turn, number)
        return
    speaker = turn[speaker_key] if speaker_key else None
    name = speaker_name(speaker) if isinstance(speaker, str) else ""
    if name not in ROLE_OF:
        raise _unknown_role(turn, speaker_key, number)
    message = _message(turn, name, number)
    if message is None:
        return
    last = messages[-1] if messages else None
    if name in CALLERS and last and (last.role, last.weight) == ("assistant", message.weight):
        calls = last.tool_calls + message.tool_calls
        messages[-1] = Turn(last.role, last.content, calls, last.extra, last.weight)
    else:
        messages.append(message)


def _message(turn: Row, speaker: str, number: int) -> Turn | None:
    role = ROLE_OF[speaker]
    content_key = next((key for key in CONTENT_KEYS if turn.get(key) is not None), "content")
    content = turn.get(content_key)
    if role in ("system", "developer") and content is None:
        return None
    if role == "tool":
        return Turn(role, result_of(content), (), _extra(turn, number))
    if role != "assistant":
        content, _ = content_of(content, content_key, number)
        if not content.strip() and role == "user":
            require_content(role, number)
        return Turn(role, content, (), _extra(turn, number))
    weight = weight_of(turn, number)
    if speaker in CALLERS:
        if _is_call(turn):
            content = {"name": turn.get("name"), "arguments": turn["arguments"]}
            turn = {key: value for key, value in turn.items() if key != "name"}
        return Turn(role, "", called(content, number), _extra(turn, number), weight)
    content, pieces = without_calls(content)
    calls, thoughts = (called(pieces, number) if pieces else calls_of(turn, number)), ""
    if content is None and (calls or not weight):
        content = ""
    else:
        content, thoughts = content_of(content, content_key, number)
    if not calls and weight and not content.strip():
        require_content(role, number)
    return Turn(role, content, calls, _extra(turn, number, thoughts), weight)


def _is_call(turn: Row) -> bool:
    """Return whether the turn of a caller is the call itself: name and arguments, no content."""
    return "arguments" in turn and all(turn.get(key) is None for key in CONTENT_KEYS)


def _extra(turn: Row, number: int, thoughts: str = "") -> tuple[tuple[str, str], ...]:
    """Return the further keys of a message that templates read; thoughts under a single name."""
    extra: dict[str, str] = {REASONING: thoughts} if thoughts else {}
    for key in (*EXTRA_KEYS, *REASONING_COLUMNS):
        value = turn.get(key)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise RowError(
                "type",
                f"message {number}: {key} should be text (got {kind_of(value)})",
                f"第 {number} 条消息：{key} 应为文字（当前为 {kind_of(value)}）",
            )
        name = REASONING if key in REASONING_COLUMNS else key
        if extra.setdefault(name, value) != value:
            raise RowError(
                "reasoning",
                f"message {number}: {key} and another key hold different thoughts; keep only one",
                f"第 {number} 条消息：{key} 与另一个键的思考内容不同；请只保留一个",
            )
    return tuple(extra.items())


def _is_pair(turn: Row) -> bool:
    return any(question in turn or answer in turn for question, answer in PAIR_KEYS)


def _pair(turn: Row, number: int) -> list[Turn]:
    """Return the turns of a pair; a part that is empty is left out, but not both."""
    question_key, answer_key = next(
        keys for keys in PAIR_KEYS if keys[0] in turn or keys[1] in turn
    )
    turns: list[Turn] = []
    if turn.get("system"):
        turns.append(Turn("system", content_of(turn["system"], "system", number)[0]))
    if turn.get(question_key):
        turns.append(Turn("user", content_of(turn[question_key], question_key, number)[0]))
    if turn.get(answer_key):
        content, thoughts = content_of(turn[answer_key], answer_key, number)
        weight = weight_of({**turn, "loss": turn.get(PAIR_LOSS, turn.get("loss"))}, number)
        turns.append(Turn("assistant", content, (), _extra(turn, number, thoughts), weight))
    if not turns or not turns[-1].content.strip():
        require_content("assistant", number)
    return turns


def require_content(role: str, number: int) -> None:
    """Raise RowError for an empty question or answer, which this function names."""
    if role == "user":
        raise RowError(
            "empty",
            f"message {number}: the user turn is empty",
            f"第 {number} 条消息：user 内容为空",
        )
    raise RowError(
        "empty", f"message {number}: the answer is empty", f"第 {number} 条消息：回答为空"
    )


def _unknown_role(turn: Row, speaker_key: str | None, number: int) -> RowError:
    if speaker_key is None:
        return RowError(
            "role",
            f"message {number} has neither role nor from",
            f"第 {number} 条消息既没有 role 也没有 from",
        )
    known = "system, user, assistant, tool"
    if speaker_key == "from":
        known = "system, human, gpt, function_call, observation"
    got = str(turn[speaker_key])[:40]
    return RowError(
        "role",
        f"message {number}: {speaker_key} should be one of {known} (got {got})",
        f"第 {number} 条消息：{speaker_key} 应为 {known} 之一（当前为 {got}）",
    )
