"""`datasets ID` shows the columns of a set and how they are read."""

from __future__ import annotations

from pathlib import Path

from in_process import box


def test_the_columns_of_a_known_set_are_shown(tmp_path: Path) -> None:
    answer = box("datasets", "FreedomIntelligence/medical-o1-reasoning-SFT", cwd=tmp_path).stdout
    assert "columns: Question, Complex_CoT, Response" in answer
    assert "Complex_CoT: reasoning_content" in answer
    assert "stages: sft" in answer
