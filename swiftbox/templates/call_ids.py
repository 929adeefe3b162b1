"""The ids of tool calls in the form that a template requires; results are given the same ones."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swiftbox.templates.abilities import IdForm
from swiftbox.templates.adapted_turn import AdaptedTurn

CALL_ID = "tool_call_id"
NINE = re.compile(r"[0-9A-Za-z]{9}")


def with_ids(turns: Sequence[AdaptedTurn], form: IdForm) -> list[AdaptedTurn]:
    """Return turns whose calls have ids of a form, and whose results name them.

    A result without a known id belongs to the first call that has none so far.
    """
    if form == "free":
        return list(turns)
    adapted: list[AdaptedTurn] = []
    renamed: dict[str, str] = {}
    waiting: list[str] = []
    count = 0
    for turn in turns:
        if turn.calls:
            ids = [_id(call, count + place, form) for place, call in enumerate(turn.calls)]
            count += len(ids)
            renamed |= {str(call.get("id")): new for call, new in zip(turn.calls, ids, strict=True)}
            waiting = list(ids)
            calls = [{**call, "id": new} for call, new in zip(turn.calls, ids, strict=True)]
            adapted.append(replace(turn, calls=tuple(calls)))
        elif turn.role == "tool":
            new = renamed.get(str(turn.extra.get(CALL_ID))) or next(iter(waiting), "")
            waiting = [other for other in waiting if other != new]
            extra = {**turn.extra, CALL_ID: new} if new else turn.extra
            adapted.append(replace(turn, extra=extra))
        else:
            adapted.append(turn)
    return adapted


def _id(call: Mapping[str, Any], number: int, form: IdForm) -> str:
    """Return the id of the call with a number in its conversation."""
    present, function = str(call.get("id") or ""), call["function"]
    if form == "named":  # functions.NAME:NUMBER (Kimi K2)
        return f"functions.{function['name']}:{number}"
    if NINE.fullmatch(present):
        return present
    content = json.dumps([present, number, function], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()[:9]
