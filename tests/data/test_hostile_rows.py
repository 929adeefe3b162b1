"""Rows of chance: whatever a row holds, it is read, or refused with a reason in both languages."""

from __future__ import annotations

import random
from typing import Any

from swiftbox.data.example import RowError
from swiftbox.data.formats import FORMATS, OPTIONAL, read_row
from swiftbox.data.roles import ROLE_OF
from swiftbox.data.shapes import SHAPED
from swiftbox.data.turns import READ_KEYS

ATOMS = (
    "q", "", " ", "\n\nHuman: q\n\nAssistant: a", "### Human: q### Assistant: a",
    "Human:q\nAssistant:", "[]", "{", '[{"role": "user", "content": "q"}]', '{"name": "f"}',
    None, True, 0, 1, -1, 2.5, float("inf"), 10**400, [], {},
)  # fmt: skip

COLUMNS = sorted({*OPTIONAL, *SHAPED, "", "Complex_CoT", "choices", "x\x00"})
KEYS = sorted({*READ_KEYS, "input", "output", "unknown"})


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth > 3 or kind < 0.6:
        return rng.choice(ATOMS)
    if kind < 0.75:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind < 0.85:
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(5))}
    return [turn(rng, depth) for _ in range(rng.randrange(5))]


def turn(rng: random.Random, depth: int) -> dict[str, Any]:
    speaker = rng.choice([*ROLE_OF, value(rng, depth + 2)])
    content = rng.choice(["q", "a", value(rng, depth + 1)])
    extra = {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return {"role": speaker, "content": content, **extra}


def row(rng: random.Random, groups: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    columns = [rng.choice(group) for group in groups]
    columns += rng.sample(COLUMNS, rng.randrange(3))
    return {
        column: rng.choice(["q", "a", value(rng), [turn(rng, 0), turn(rng, 0)]])
        for column in columns
    }


def test_a_row_of_chance_is_read_or_refused_with_a_reason() -> None:
    rng = random.Random(0)
    outcomes: dict[str, int] = {"read": 0}
    reasons: set[str] = set()
    for _ in range(2000):
        row_format = rng.choice(FORMATS)
        try:
            _, example = read_row(row(rng, row_format.columns), rng.choice(row_format.stages))
        except RowError as error:
            reasons |= {error.en, error.zh}
            outcomes[error.kind] = outcomes.get(error.kind, 0) + 1
        else:
            assert example.messages or example.text
            outcomes["read"] += 1
    assert 0 < len(min(reasons, key=len)) <= len(max(reasons, key=len)) < 5000
    assert min(outcomes["read"], outcomes["columns"], outcomes["weight"], outcomes["role"]) > 5
