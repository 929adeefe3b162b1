"""The findings of an evaluation as data: scores, intervals, subjects, differences, remarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.evaluation.benchmarks import SelectedBenchmark
from swiftbox.evaluation.candidates import Candidate, quantized
from swiftbox.evaluation.intervals import Interval, difference, score
from swiftbox.language import text

Sample = Mapping[str, Any]
"""One question of a result: id, subject, score, the answer that was read, the expected one."""

Results = Mapping[tuple[str, str], Mapping[str, Any]]
"""Results of the tools, by candidate and benchmark."""

MANY_UNREAD = 0.2
"""With a larger share without a choice, a score measures the format more than knowledge."""

SAME_CHOICE = 0.9
"""If one choice is given more often, the score is just how often that choice is correct."""

TOOL_TOLERANCE = 1e-3
"""Reports of the tools are rounded to four digits."""


def summary(
    candidates: Sequence[Candidate], benchmarks: Sequence[SelectedBenchmark], results: Results
) -> dict[str, Any]:
    """Return scores, differences and remarks; the first candidate is the baseline."""
    scores = [
        score_row(candidate, benchmark, results[candidate.name, benchmark.name])
        for benchmark in benchmarks
        for candidate in candidates
    ]
    differences = [
        compare(candidates[0], candidate, benchmark, results)
        for benchmark in benchmarks
        for candidate in candidates[1:]
    ]
    return {
        "candidates": [
            {**vars(candidate), "quantized": quantized(candidate)} for candidate in candidates
        ],
        "benchmarks": [
            _benchmark_row(benchmark, results, candidates[0]) for benchmark in benchmarks
        ],
        "scores": scores,
        "differences": differences,
        "remarks": list(remarks(benchmarks, scores)),
    }


def _benchmark_row(
    benchmark: SelectedBenchmark, results: Results, baseline: Candidate
) -> dict[str, Any]:
    result = results[baseline.name, benchmark.name]
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "of": benchmark.row.name,
        "sample": benchmark.is_sample,
        "data": str(benchmark.folder) if benchmark.folder else benchmark.row.dataset_id,
        "metric": next((str(row["metric"]) for row in result["samples"]), ""),
        "tool": result["tool"],
        "few_shot": result.get("few_shot"),
    }


def score_row(
    candidate: Candidate, benchmark: SelectedBenchmark, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the score of a candidate on a benchmark, overall and by subject."""
    rows: Sequence[Sample] = result["samples"]
    return {
        "candidate": candidate.name,
        "benchmark": benchmark.name,
        "count": len(rows),
        "unread": sum(not row.get("read") and row.get("end") != "refused" for row in rows),
        "refused": sum(row.get("end") == "refused" for row in rows),
        "truncated": sum(row.get("end") == "truncated" for row in rows),
        "cut": sum(row.get("end") == "max_tokens" and not row.get("read") for row in rows),
        "commonest": commonest(rows),
        "seconds": result.get("seconds"),
        "tool_score": result.get("tool_score"),
        **_interval(score([row["score"] for row in rows])),
        "subjects": [
            {"name": name, "count": len(part), **_interval(score([row["score"] for row in part]))}
            for name, part in by_subject(rows).items()
        ],
    }


def commonest(rows: Sequence[Sample]) -> list[Any] | None:
    """Return the most frequent choice and its count; None if no answer has a choice."""
    letters = [row["read"] for row in rows if len(str(row.get("read") or "")) == 1]
    return list(Counter(letters).most_common(1)[0]) if letters else None


def _interval(interval: Interval) -> dict[str, float]:
    return {key: round(value, 6) for key, value in vars(interval).items()}


def by_subject(rows: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the questions of each subject."""
    groups: dict[str, list[Sample]] = {}
    for row in rows:
        groups.setdefault(str(row["subject"]), []).append(row)
    return groups


def compare(
    baseline: Candidate, candidate: Candidate, benchmark: SelectedBenchmark, results: Results
) -> dict[str, Any]:
    """Return the difference of a candidate from the baseline on questions that both answered."""
    first, second = (
        {row["id"]: float(row["score"]) for row in results[model.name, benchmark.name]["samples"]}
        for model in (baseline, candidate)
    )
    both = [key for key in first if key in second]
    outcome = difference([first[key] for key in both], [second[key] for key in both])
    return {
        "benchmark": benchmark.name,
        "candidate": candidate.name,
        "against": baseline.name,
        "count": len(both),
        **_interval(outcome.interval),
        "p": outcome.p_value,
        "gained": outcome.gained,
        "lost": outcome.lost,
        "told": outcome.is_significant,
        "method": outcome.method,
    }


def remarks(
    benchmarks: Sequence[SelectedBenchmark], scores: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield what a reader needs to know to interpret the scores."""
    for benchmark in benchmarks:
        if benchmark.is_sample:
            yield text(
                f"{benchmark.title}: few and easy questions, for trials; its scores are not "
                "comparable with published figures",
                f"{benchmark.title}：题目少且较易，仅供试用；得分不可与公布结果比较",
            )
        rows = [row for row in scores if row["benchmark"] == benchmark.name]
        yield from _answer_remarks(benchmark.name, rows)
        for row in rows:
            yield from _same_choice(row)
            yield from _disagreement(row)


def _answer_remarks(benchmark: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Name the candidates with many unusable answers, and the remedy."""

    def listed(key: str, share: float) -> str:
        return ", ".join(
            f"{row['candidate']} {row[key]}/{row['count']}"
            for row in rows
            if row[key] and row[key] / row["count"] >= share
        )

    if names := listed("refused", 0):
        yield text(
            f"{benchmark}: questions longer than the server accepts were refused and count as "
            f"wrong ({names}): set num_fewshot lower, or max_model_len higher",
            f"{benchmark}：超出服务可接受长度的题目被拒绝，按错误计（{names}）："
            "请减小 num_fewshot 或增大 max_model_len",
        )
    if names := listed("truncated", 0):
        yield text(
            f"{benchmark}: prompts longer than the context lost their first examples "
            f"({names}): set num_fewshot lower",
            f"{benchmark}：超出模型上下文长度，开头的示例被略去（{names}）：请减小 num_fewshot",
        )
    if names := listed("unread", MANY_UNREAD):
        cut = listed("cut", MANY_UNREAD)
        ends = text(f"; cut off at max_tokens: {cut}", f"；在 max_tokens 处截断：{cut}")
        yield text(
            f"{benchmark}: answers without a recognizable choice count as wrong ({names}"
            f"{ends if cut else ''}). Likelihood suits small and base models better: "
            "backend: lm_eval",
            f"{benchmark}：无法识别出选项的回答按错误计（{names}{ends if cut else ''}）。"
            "小模型与基座模型更适合按似然评测：backend: lm_eval",
        )


def _same_choice(row: Mapping[str, Any]) -> Iterator[str]:
    letter, times = row["commonest"] or ("", 0)
    if times < SAME_CHOICE * row["count"]:
        return
    yield text(
        f"{row['benchmark']}: {row['candidate']} answers {letter} to {times} of {row['count']} "
        "questions: its score is just how often that is correct",
        f"{row['benchmark']}：{row['candidate']} 对 {row['count']} 题中的 {times} 题都回答 "
        f"{letter}，其得分只是该选项恰好正确的比例",
    )


def _disagreement(row: Mapping[str, Any]) -> Iterator[str]:
    where, tool_score = f"{row['candidate']}, {row['benchmark']}", row["tool_score"]
    if tool_score is not None and abs(tool_score - row["value"]) > TOOL_TOLERANCE:
        yield text(
            f"{where}: the report of the tool says {tool_score:.4f}, the questions give "
            f"{row['value']:.4f}",
            f"{where}：工具自身报告为 {tool_score:.4f}，逐题统计为 {row['value']:.4f}",
        )
