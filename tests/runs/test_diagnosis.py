"""The kind and the hint of failures that the system causes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swiftbox.runs.diagnosis import FILE_TOO_LARGE, diagnose, first_line

LIMIT_BYTES = 10_000


@pytest.fixture
def limited() -> Iterator[None]:
    """A limit on the size of each file, as `ulimit -f` sets it."""
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, previous[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, previous)


@pytest.mark.usefixtures("limited")
def test_weights_beyond_the_limit_of_a_file_get_a_hint(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="File too large") as refused:
        save_file({"a": torch.zeros(LIMIT_BYTES)}, tmp_path / "model.safetensors")
    kind, hint = diagnose(refused.value)
    assert kind == FILE_TOO_LARGE
    assert "ulimit -f" in hint


@pytest.mark.usefixtures("limited")
def test_a_log_beyond_the_limit_of_a_file_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as refused:
        (tmp_path / "log").write_bytes(b"a" * 2 * LIMIT_BYTES)
    assert diagnose(refused.value, "merge")[0] == FILE_TOO_LARGE


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("\n one\ntwo"), "one"), (ValueError(), "ValueError"), (KeyError("a"), "'a'")],
)
def test_every_error_has_a_first_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
