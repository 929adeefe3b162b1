"""Files that are not the YAML of a config: encodings, special files, bombs, odd types."""

from __future__ import annotations

from collections.abc import Iterator

from bad_inputs.case import BadInput


def cases() -> Iterator[BadInput]:
    """Yield the cases of the group."""
    yield BadInput("not-a-mapping", files={"a.yaml": "- a\n"}, expected="key: value")
