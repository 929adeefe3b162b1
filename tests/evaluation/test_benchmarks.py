"""Benchmarks by name: EvalScope's, near ones, what they need, where their data is."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from swiftbox.errors import ConfigError, DataError, HubError
from swiftbox.evaluation.benchmarks import (
    JUDGED,
    SAMPLES,
    Means,
    chosen,
    findings,
    is_cached,
    require_reachable,
)
from swiftbox.evaluation.local_data import examples, questions
from swiftbox.language import home
from swiftbox.models.catalogue import benchmarks

BUILTIN = Means("evalscope", "builtin", judged=False)


def said(name: str, means: Means = BUILTIN) -> list[str]:
    return [f"{one.level}: {one.message}" for one in findings(chosen([name], None), means)]


def test_every_benchmark_of_the_catalogue_is_known_by_its_name() -> None:
    names = [one.name for one in benchmarks()]
    assert [one.name for one in chosen(names, None)] == names


def test_an_unknown_one_is_told_with_those_near_it() -> None:
    with pytest.raises(ConfigError, match=r"cevl is not known\n.*gsm is not known") as caught:
        chosen(["cevl", "gsm", "mmlu"], None)
    assert "ceval" in caught.value.hint
    assert "gsm8k" in caught.value.hint


def test_the_name_on_its_page_leads_to_it() -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(["C-Eval"], None)
    assert caught.value.hint == "near C-Eval: ceval"


def test_what_needs_a_judge_or_another_server_is_said_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert said("hle") == ["error: hle is scored by a judge model"]
    assert said("hle", Means("evalscope", "builtin", judged=True)) == []
    assert said("humaneval") == ["error: humaneval runs the code that the model writes, in Docker"]
    assert "images" in said("mmmu")[0]
    assert said("mmmu", Means("evalscope", "vllm", judged=False)) == []
    assert "no choices" in said("gsm8k", Means("lm_eval", "builtin", judged=False))[0]
    assert "on this machine" in said("mmlu", Means("lm_eval", "builtin", judged=False))[0]


def test_those_with_a_judge_are_in_the_catalogue() -> None:
    assert {one.name for one in benchmarks()} >= JUDGED


def test_a_sample_set_is_called_one() -> None:
    assert said("sample_mmlu") == ["note: sample_mmlu: swiftbox's own sample, not MMLU"]


def test_data_that_cannot_be_fetched_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(HubError, match=r"data of mmlu is not here.*127\.0\.0\.1:9") as caught:
        require_reachable(chosen(["mmlu", "sample_ceval"], None), "modelscope")
    assert time.monotonic() - began < 5
    assert "sample_ceval" in caught.value.hint
    require_reachable(chosen(["sample_ceval"], None), "modelscope")


def test_data_of_an_earlier_run_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    folder = home() / "benchmarks" / "datasets" / "cais_mmlu-0a1b"
    folder.mkdir(parents=True)
    (folder / "data-00000-of-00001.arrow").touch()
    (mmlu,) = chosen(["mmlu"], None)
    assert is_cached(mmlu)
    require_reachable([mmlu], "modelscope")


def test_a_folder_with_data_is_used_and_one_without_is_told(tmp_path: Path) -> None:
    (tmp_path / "mmlu").mkdir()
    (tmp_path / "mmlu" / "test.jsonl").write_text("{}\n")
    (mmlu,) = chosen(["mmlu"], str(tmp_path))
    assert mmlu.folder == tmp_path / "mmlu"
    with pytest.raises(ConfigError, match="no data of ceval") as caught:
        chosen(["mmlu", "ceval"], str(tmp_path))
    assert "swiftbox download evalscope/ceval --dataset" in caught.value.hint
    with pytest.raises(ConfigError, match="no folder"):
        chosen(["mmlu"], str(tmp_path / "none"))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_sets_are_whole_and_their_answers_evenly_spread(name: str) -> None:
    (one,) = chosen([name], None)
    assert one.folder is not None
    asked, shown = questions(one.folder), examples(one.folder)
    assert (len(asked), len(shown)) == (48, 30)
    assert set(Counter(row.answer for row in asked).values()) == {12}
    assert set(Counter(row.subject for row in asked).values()) == {8}
    assert set(Counter(row.subject for row in shown).values()) == {5}
    assert len({row.question for row in [*asked, *shown]}) == 78
    assert all(len(set(row.choices)) == 4 for row in [*asked, *shown])
    assert len(questions(one.folder, 2)) == 12
    assert "not " in (one.folder / "README.md").read_text("utf-8")


def test_the_subjects_of_the_samples_are_evalscopes() -> None:
    """Its C-Eval fails on a subject that it does not have."""
    for name in SAMPLES:
        (one,) = chosen([name], None)
        assert one.folder is not None
        assert {row.subject.islower() for row in questions(one.folder)} == {True}


def test_a_bad_row_is_told_with_its_line(tmp_path: Path) -> None:
    files = [{"split": "test", "path": "a.jsonl"}]
    head = json.dumps({"configs": [{"config_name": "all", "data_files": files}]})  # JSON is YAML
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n")
    good = {"question": "?", "subject": "s", "choices": ["a", "b"], "answer": 1}
    rows = [good, {**good, "answer": 2}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(DataError, match=r"a\.jsonl:2: no question with choices \(answer: 2\)"):
        questions(tmp_path)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match="not there"):
        questions(tmp_path)
    (tmp_path / "README.md").unlink()
    with pytest.raises(DataError, match="names no files"):
        questions(tmp_path)
