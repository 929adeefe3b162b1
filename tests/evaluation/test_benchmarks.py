"""Benchmarks by name: EvalScope's, similar names, requirements, data folders."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from swiftbox.errors import ConfigError, DataError, HubError
from swiftbox.evaluation.benchmarks import (
    NEEDS_JUDGE,
    SAMPLES,
    ScoringSetup,
    benchmark_remarks,
    is_cached,
    require_reachable,
    select_benchmarks,
)
from swiftbox.evaluation.local_data import examples, questions
from swiftbox.language import home
from swiftbox.models.catalogue import benchmarks

BUILTIN = ScoringSetup("evalscope", "builtin", judged=False)


def remarks(name: str, setup: ScoringSetup = BUILTIN) -> list[str]:
    return [
        f"{remark.level}: {remark.message}"
        for remark in benchmark_remarks(select_benchmarks([name], None), setup)
    ]


def test_every_benchmark_of_the_catalogue_is_known_by_its_name() -> None:
    names = [row.name for row in benchmarks()]
    assert [benchmark.name for benchmark in select_benchmarks(names, None)] == names


def test_an_unknown_name_is_reported_with_similar_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown name cevl\n.*unknown name gsm") as caught:
        select_benchmarks(["cevl", "gsm", "mmlu"], None)
    assert "ceval" in caught.value.hint
    assert "gsm8k" in caught.value.hint


def test_the_name_on_its_page_leads_to_it() -> None:
    with pytest.raises(ConfigError) as caught:
        select_benchmarks(["C-Eval"], None)
    assert caught.value.hint == "similar to C-Eval: ceval"


def test_a_required_judge_or_server_is_reported_before_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert remarks("hle") == ["error: hle is scored by a judge model"]
    assert remarks("hle", ScoringSetup("evalscope", "builtin", judged=True)) == []
    assert remarks("humaneval") == [
        "error: humaneval runs the code that the model writes in Docker"
    ]
    assert "images" in remarks("mmmu")[0]
    assert remarks("mmmu", ScoringSetup("evalscope", "vllm", judged=False)) == []
    assert "no choices" in remarks("gsm8k", ScoringSetup("lm_eval", "builtin", judged=False))[0]
    assert "on this machine" in remarks("mmlu", ScoringSetup("lm_eval", "builtin", judged=False))[0]


def test_those_with_a_judge_are_in_the_catalogue() -> None:
    assert {row.name for row in benchmarks()} >= NEEDS_JUDGE


def test_a_sample_set_is_marked_as_one() -> None:
    assert remarks("sample_mmlu") == ["note: sample_mmlu: a sample set of swiftbox, not MMLU"]


def test_data_that_cannot_be_fetched_is_reported_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        HubError, match=r"data of mmlu is not on this machine.*127\.0\.0\.1:9"
    ) as caught:
        require_reachable(select_benchmarks(["mmlu", "sample_ceval"], None), "modelscope")
    assert "sample_ceval" in caught.value.hint
    require_reachable(select_benchmarks(["sample_ceval"], None), "modelscope")


def test_data_of_an_earlier_run_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    folder = home() / "benchmarks" / "datasets" / "cais_mmlu-0a1b"
    folder.mkdir(parents=True)
    (folder / "data-00000-of-00001.arrow").touch()
    (mmlu,) = select_benchmarks(["mmlu"], None)
    assert is_cached(mmlu)
    require_reachable([mmlu], "modelscope")


def test_a_folder_with_data_is_used_and_one_without_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mmlu").mkdir()
    (tmp_path / "mmlu" / "test.jsonl").write_text("{}\n")
    (mmlu,) = select_benchmarks(["mmlu"], str(tmp_path))
    assert mmlu.folder == tmp_path / "mmlu"
    with pytest.raises(ConfigError, match="no data of ceval") as caught:
        select_benchmarks(["mmlu", "ceval"], str(tmp_path))
    assert "swiftbox download evalscope/ceval --dataset" in caught.value.hint
    with pytest.raises(ConfigError, match="no folder"):
        select_benchmarks(["mmlu"], str(tmp_path / "none"))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_sets_are_complete_and_their_answers_evenly_spread(name: str) -> None:
    (benchmark,) = select_benchmarks([name], None)
    assert benchmark.folder is not None
    rows, shots = questions(benchmark.folder), examples(benchmark.folder)
    assert (len(rows), len(shots)) == (48, 30)
    assert set(Counter(row.answer for row in rows).values()) == {12}
    assert set(Counter(row.subject for row in rows).values()) == {8}
    assert set(Counter(row.subject for row in shots).values()) == {5}
    assert len({row.question for row in [*rows, *shots]}) == 78
    assert all(len(set(row.choices)) == 4 for row in [*rows, *shots])
    assert len(questions(benchmark.folder, 2)) == 12
    assert "not " in (benchmark.folder / "README.md").read_text("utf-8")


def test_the_subjects_of_the_samples_are_evalscopes() -> None:
    """Its C-Eval fails on a subject that it does not have."""
    for name in SAMPLES:
        (benchmark,) = select_benchmarks([name], None)
        assert benchmark.folder is not None
        assert {row.subject.islower() for row in questions(benchmark.folder)} == {True}


def test_a_bad_row_is_reported_with_its_line(tmp_path: Path) -> None:
    files = [{"split": "test", "path": "a.jsonl"}]
    head = json.dumps({"configs": [{"config_name": "all", "data_files": files}]})  # JSON is YAML
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n")
    good = {"question": "?", "subject": "s", "choices": ["a", "b"], "answer": 1}
    rows = [good, {**good, "answer": 2}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"a\.jsonl:2: not a question with choices \(answer: 2\)"):
        questions(tmp_path)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match="missing"):
        questions(tmp_path)
    (tmp_path / "README.md").unlink()
    with pytest.raises(DataError, match="names no files"):
        questions(tmp_path)


@pytest.mark.parametrize("path", ["../secret.jsonl", "/etc/passwd", "a/../../*.jsonl", 5, ["../x"]])
def test_data_outside_of_the_folder_of_a_benchmark_is_not_read(
    tmp_path: Path, path: object
) -> None:
    (tmp_path / "secret.jsonl").write_text("{}\n")
    folder = tmp_path / "data"
    folder.mkdir()
    files = [{"split": "test", "path": path}]
    head = json.dumps({"configs": [{"config_name": "all", "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{head}\n---\n")
    with pytest.raises(DataError, match="not a file of this folder") as caught:
        questions(folder)
    assert caught.value.hint
