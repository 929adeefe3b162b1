"""A disk that is too full for a checkpoint is reported as such, in every language."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftbox.core.training.checkpoint import require_checkpoint_room
from swiftbox.errors import RunError
from swiftbox.runs.diagnosis import DISK_FULL, diagnose

MORE_THAN_ANY_DISK = 2**70


@pytest.mark.parametrize(
    ("language", "message"),
    [("en", "no space left on device for a checkpoint"), ("zh", "磁盘空间不足，无法保存检查点")],
)
def test_a_disk_too_full_for_a_checkpoint_is_diagnosed(
    language: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    with pytest.raises(RunError, match=message) as refused:
        require_checkpoint_room(tmp_path, MORE_THAN_ANY_DISK, last=None)
    kind, hint = diagnose(refused.value)
    assert kind == DISK_FULL
    assert "swiftbox runs resume" in hint
