"""The real EvalScope and lm-eval on the sample sets, through our server; run by hand.

SWIFTBOX_TEST_ENGINES names a folder whose engines are used, and where missing ones are installed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from adapters import make_adapter
from box import box

from swiftbox.config.presets import presets

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.mark.parametrize(("backend", "tool"), [("evalscope", "evalscope"), ("lm_eval", "lm-eval")])
def test_the_real_tool_scores_base_and_adapter_on_both_sample_sets(
    backend: str, tool: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if home := os.environ.get("SWIFTBOX_TEST_ENGINES"):
        monkeypatch.setenv("SWIFTBOX_HOME", home)
    adapter = make_adapter(tiny, tmp_path / "tuned")
    out = tmp_path / "out"
    sets = "benchmarks=sample_ceval,sample_mmlu"
    settings = (f"model={tiny}", f"adapter={adapter}", sets, "limit=2", "num_fewshot=1")
    more = ("max_tokens=4", f"backend={backend}", f"output_dir={out}", "dtype=float32")
    box("run", str(presets()["evaluate"]), *settings, *more, "--yes", "--plain", cwd=tmp_path)
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert [score["count"] for score in report["scores"]] == [12] * 4
    assert all(benchmark["tool"].startswith(tool) for benchmark in report["benchmarks"])
    assert {benchmark["few_shot"] for benchmark in report["benchmarks"]} == {1}
    for score in report["scores"]:  # its own report, and ours from every question
        assert score["tool_score"] == pytest.approx(score["value"], abs=1e-3)
        assert len(score["subjects"]) == 6
