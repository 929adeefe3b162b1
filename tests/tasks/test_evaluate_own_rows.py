"""Own rows in an evaluation: which they are, what is refused, and a run to its report."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from box import events
from in_process import box
from loopback_models import loopback_models
from made_up import made_up
from tiny import write_chats, write_texts
from training_records import recorded

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.presets import presets
from swiftbox.errors import ConfigError, DataError
from swiftbox.evaluation.candidates import ServedWeights, candidates
from swiftbox.evaluation.own_rows import measuring
from swiftbox.evaluation.own_rows.asking import LineFile
from swiftbox.evaluation.own_rows.row_files import RowFiles
from swiftbox.evaluation.tool_requests import ANSWER_TIMEOUT_S
from swiftbox.files import write_json
from swiftbox.launch.prepare import with_absolute_paths
from swiftbox.models.requirements import Remark
from swiftbox.plan import plan
from swiftbox.runs.folder import MACHINE
from swiftbox.tasks import evaluated_rows, evaluation_servers
from swiftbox.tasks.evaluate import check
from swiftbox.tasks.evaluate_rows import OwnRows
from swiftbox.tasks.evaluate_rows_check import effects
from swiftbox.tasks.evaluated_rows import metrics_of, rows_left_out, select_rows
from swiftbox.tasks.load import loads
from swiftbox.tasks.temporary_server import TemporaryServer

pytestmark = pytest.mark.filterwarnings("ignore")


def settled(**keys: Any) -> EvaluateConfig:
    """Load and plan an evaluation of own rows as a launch does."""
    content = json.dumps({"task": "evaluate", "benchmarks": ["none"], **keys}, default=str)
    config = with_absolute_paths(
        plan(loads(content, source="a.yaml").config, made_up("cpu")).config
    )
    assert isinstance(config, EvaluateConfig)
    return config


def remarks(config: EvaluateConfig) -> list[str]:
    """Check a config; return its remarks."""
    seen: list[Remark] = []
    check(config, seen.append)
    return [remark.message for remark in seen]


@pytest.fixture
def run(tiny: Path, tmp_path: Path) -> Path:
    """A recorded training of an adapter that held out four of fourteen rows."""
    return recorded(tiny, tmp_path, val_size=4)


def test_the_rows_that_a_training_held_out_are_measured_by_default(run: Path) -> None:
    config = settled(adapter=run)
    selection = select_rows(config)
    assert selection is not None
    assert (selection.held_out, selection.training.val_size) == (True, 4)
    metrics = metrics_of(config, selection)
    assert metrics[:3] == ("loss", "exact_match", "rouge_l")
    assert "win_rate" not in metrics
    (line,) = [line for line in remarks(config) if line.startswith("held-out rows of")]
    assert "4 rows, 2 models" in line
    assert "8 answers, at most 4,096 generated tokens" in line
    assert (
        select_rows(settled(adapter=run, test_dataset="none", benchmarks=["sample_mmlu"])) is None
    )


def test_rows_that_changed_since_the_training_are_not_the_ones_it_held_out(
    run: Path, tmp_path: Path
) -> None:
    write_chats(tmp_path / "chat.jsonl", 15)
    with pytest.raises(ConfigError, match="dataset changed since the training"):
        select_rows(settled(adapter=run, test_dataset="held_out"))
    with pytest.raises(ConfigError, match=r"nothing to measure.*changed since"):
        remarks(settled(adapter=run))


def test_held_out_rows_that_cannot_be_measured_are_not_left_out_in_silence(
    run: Path, tiny: Path, tmp_path: Path
) -> None:
    benchmarks = {"benchmarks": ["sample_mmlu"]}
    write_chats(tmp_path / "chat.jsonl", 15)
    changed = settled(adapter=run, **benchmarks)
    assert any("not measured: dataset changed since" in line for line in remarks(changed))
    unreadable = recorded(tiny, tmp_path, "unreadable", val_size=4)
    (unreadable / "settled.yaml").write_text("task: train\n", "utf-8")
    fault = "not measured: the settings of unreadable cannot be read"
    assert any(fault in line for line in remarks(settled(adapter=unreadable, **benchmarks)))
    with_nothing = settled(adapter=recorded(tiny, tmp_path, "all", val_size=0), **benchmarks)
    excluded = settled(adapter=run, test_dataset="none", **benchmarks)
    for config in (with_nothing, excluded):
        assert not any("held-out rows" in line for line in remarks(config))


def test_rows_without_right_answers_are_left_out_with_the_reason(
    tiny: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"question {number}", "chosen": "right", "rejected": "wrong"}
        for number in range(6)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    run = recorded(tiny, tmp_path, data=data, stage="reward", val_size=2)
    fault = rows_left_out(settled(adapter=run, benchmarks=["sample_mmlu"]))
    assert "done (stage: reward) have no answer to compare with" in fault


def test_a_model_without_a_record_has_no_held_out_rows(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="no training of this model is recorded"):
        remarks(settled(model=tiny, test_dataset="held_out"))
    with pytest.raises(ConfigError, match="nothing to measure"):
        remarks(settled(model=tiny))
    with pytest.raises(ConfigError, match=r"nothing to measure.*test_dataset: none"):
        remarks(settled(model=tiny, test_dataset="none"))


def test_named_rows_are_read_with_the_settings_of_the_training(run: Path, tmp_path: Path) -> None:
    rows = write_chats(tmp_path / "mine.jsonl", 5, seed=2)
    selection = select_rows(settled(adapter=run, test_dataset=rows))
    assert selection is not None
    assert (selection.held_out, selection.title) == (False, "mine.jsonl")
    assert (selection.training.max_length, selection.training.val_size) == (128, 0)
    other = select_rows(settled(adapter=run, test_dataset=f"{rows}#3", max_length=32))
    assert other is not None
    assert other.training.max_length == 32


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"messages": [{"role": "user", "content": "no answer"}]}, "bad.jsonl:1"),
        ({"question": "q"}, "bad.jsonl"),
    ],
)
def test_bad_rows_are_refused_before_the_run(
    tiny: Path, tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps(row) + "\n", "utf-8")
    with pytest.raises(DataError, match="test_dataset: ") as raised:
        remarks(settled(model=tiny, test_dataset=file))
    assert problem in raised.value.message


def test_metrics_that_do_not_fit_are_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    rows = write_chats(tmp_path / "mine.jsonl", 3)
    named = {"model": tiny, "test_dataset": rows}
    with pytest.raises(ConfigError, match="metrics: win_rate: needs judge_endpoint"):
        remarks(settled(**named, metrics="loss,win_rate"))
    with pytest.raises(ConfigError, match="metrics: rouge_l: backend: lm_eval"):
        remarks(settled(**named, metrics="rouge_l", backend="lm_eval"))
    judge = {"judge_endpoint": "http://127.0.0.1:1/v1", "judge_model": "j"}
    with pytest.raises(ConfigError, match="win_rate: needs two models"):
        remarks(settled(**named, metrics="win_rate", **judge))
    with pytest.raises(ConfigError, match="should be among loss, exact_match"):
        settled(**named, metrics="accuracy")
    with pytest.raises(ConfigError, match=r"missing.jsonl"):
        remarks(settled(model=tiny, test_dataset=str(tmp_path / "missing.jsonl")))


def test_metrics_that_need_a_missing_package_are_left_out_by_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluated_rows, "has_sacrebleu", lambda: False)
    config = settled(adapter=run)
    missing = "BLEU and chrF are not measured: needs sacrebleu: pip install 'swiftbox[text]'"
    assert missing in remarks(config)
    assert missing not in remarks(settled(adapter=run, metrics="loss"))
    (tmp_path / "own_rows").mkdir()
    write_json(RowFiles(tmp_path).rows, {"rows": [], "cut": 0, "left_out": 0})
    rows = OwnRows.of(config, candidates(config), tmp_path, lambda *_, **__: None)
    assert rows is not None
    assert not {"bleu", "chrf"}.intersection(rows.metrics)
    assert missing in rows.findings()["remarks"]


def test_a_metric_that_an_earlier_start_did_not_have_is_added(run: Path, tmp_path: Path) -> None:
    config = settled(adapter=run, metrics="exact_match,rouge_l")
    rows = OwnRows.of(config, candidates(config), tmp_path, lambda *_, **__: None)
    assert rows is not None
    (tmp_path / "own_rows" / "scores").mkdir(parents=True)
    row = {"id": "r:1", "expected": "yes", "messages": [], "tools": []}
    write_json(rows.files.rows, {"rows": [row], "cut": 0, "left_out": 0})
    for model in rows.models:
        line = {"id": "r:1", "answer": "Yes", "end": "stop"}
        LineFile(rows.files.answers(model)).add(line)
        scores = {"rows": [{**line, "expected": "yes", "exact_match": 1.0}]}
        write_json(rows.files.result(model), scores)
    scored = rows.findings()["scores"]
    assert {(row["metric"], row["value"]) for row in scored} == {("exact_match", 1), ("rouge_l", 1)}


def test_texts_have_a_loss_and_no_answers(tiny: Path, tmp_path: Path) -> None:
    data = write_texts(tmp_path / "texts.txt", 9)
    run = recorded(tiny, tmp_path, stage="pt", data=data, val_size=2)
    config = settled(adapter=run)
    selection = select_rows(config)
    assert selection is not None
    assert metrics_of(config, selection) == ("loss",)
    with pytest.raises(ConfigError, match="bleu: the rows are texts"):
        remarks(settled(adapter=run, metrics=["bleu"]))


def test_a_judge_that_does_not_answer_or_lacks_the_model_is_refused(
    run: Path, judge: tuple[str, list[Any]]
) -> None:
    url, _ = judge
    with pytest.raises(ConfigError, match=r"judge_endpoint: .* does not answer"):
        remarks(settled(adapter=run, judge_endpoint="http://127.0.0.1:1/v1", judge_model="judge"))
    with pytest.raises(ConfigError, match="has no other") as raised:
        remarks(settled(adapter=run, judge_endpoint=url, judge_model="other"))
    assert "judge" in raised.value.hint
    lines = remarks(settled(adapter=run, judge_endpoint=url, judge_model="judge"))
    assert any("at most 8 requests to the judge judge" in line for line in lines)


def test_own_rows_leave_this_machine_only_with_consent(run: Path) -> None:
    def subjects(**keys: Any) -> list[str]:
        config = settled(adapter=run, judge_model="j", **keys)
        return [effect.subject for effect in effects(config).sends if effect.needs_consent]

    assert subjects(judge_endpoint="https://judge.example/v1") == ["rows https://judge.example"]
    assert subjects(judge_endpoint="http://127.0.0.1:8000/v1") == []
    assert subjects(judge_endpoint="http://[::1]:8000/v1") == []
    benchmarks = {"test_dataset": "none", "benchmarks": ["sample_mmlu"]}
    assert subjects(judge_endpoint="https://judge.example/v1", **benchmarks) == []


def test_an_answer_to_a_row_may_take_as_long_as_one_to_a_benchmark(tmp_path: Path) -> None:
    config = EvaluateConfig(endpoint="http://127.0.0.1:1/v1")
    rows = mock.Mock()
    groups = [ServedWeights("", None, ())]
    evaluation = evaluation_servers.Evaluation(config, tmp_path, lambda *_, **__: None, rows)
    write_json(tmp_path / MACHINE, made_up("cpu").to_dict())
    assert evaluation.score_all(groups, [])
    (_, address, _), _ = rows.answer.call_args
    assert address.timeout_s == ANSWER_TIMEOUT_S


# ---- a run, with a server in this process


@pytest.fixture
def judge() -> Iterator[tuple[str, list[Any]]]:
    """A server of models that answer and judge by the length of texts."""

    def rule(body: Mapping[str, Any]) -> str:
        if "prompt" in body:
            return "short" if body["model"] == "qwen3" else "a longer answer"
        shown = json.loads(body["messages"][1]["content"])
        return json.dumps({"better": max("AB", key=lambda name: len(shown[f"answer_{name}"]))})

    with loopback_models(rule) as models:
        yield models.url, models.requests


@pytest.fixture
def everything_here(judge: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure losses and serve models in this process."""
    from swiftbox.evaluation.own_rows.measure import measure

    def measure_here(_command: Any, request: Any, _folder: Path, emit: Any, _stop: Any) -> Any:
        measure(request, emit)
        return {"done": True}

    @contextlib.contextmanager
    def serve_here(*_: Any, **__: Any) -> Iterator[TemporaryServer]:
        yield TemporaryServer(judge[0], ("qwen3", "done"), mock.Mock(is_alive=True), "key")

    monkeypatch.setattr(measuring, "run_command", measure_here)
    monkeypatch.setattr(evaluation_servers, "temporary_server", serve_here)


@pytest.mark.usefixtures("everything_here")
def test_a_run_measures_own_rows_and_reports_them_first(
    run: Path, judge: tuple[str, list[Any]], tmp_path: Path
) -> None:
    url, requests = judge
    out, preset = tmp_path / "out", str(presets()["evaluate"])
    arguments = (f"adapter={run}", "benchmarks=none", "max_tokens=8", "dtype=float32")
    judged = (f"judge_endpoint={url}", "judge_model=judge", f"output_dir={out}")
    done = box("run", preset, *arguments, *judged, "--plain", cwd=tmp_path)
    report = json.loads((out / "report.json").read_text("utf-8"))["own_rows"]
    assert (report["rows"], report["metrics"][0]) == (4, "loss")
    (verdict,) = report["judge"]["verdicts"]
    assert (verdict["win"], verdict["questions"]) == (4, 8)
    losses = {row["candidate"]: row["value"] for row in report["scores"] if row["metric"] == "loss"}
    assert set(losses) == {"qwen3", "done"}
    prompts = {tuple(body["prompt"]) for body in requests if "prompt" in body}
    assert len(prompts) == 4
    assert "win rate against qwen3" in done.stderr
    progress = events(out, "answers")
    assert [(row["candidate"], row["count"], row["total"]) for row in progress[:2]] == [
        ("qwen3", 0, 4),
        ("qwen3", 4, 4),
    ]
    page = (out / "report.html").read_text("utf-8")
    assert page.index("held-out rows of done") < page.index("What was measured")
    assert "You compare two answers" in page
    count = len(requests)
    again = box("runs", "resume", str(out), "--plain", cwd=tmp_path, code=2)
    assert "is complete" in again.stderr
    assert len(requests) == count
