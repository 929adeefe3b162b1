"""What an evaluation found, as data: scores with intervals, subjects, differences, remarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.evaluating.benchmarks import Asked
from swiftbox.evaluating.candidates import Candidate, quantized
from swiftbox.evaluating.intervals import Interval, difference, score
from swiftbox.language import text

Sample = Mapping[str, Any]
"""One question of a result: id, subject, score, what was read of the answer, what was expected."""

Results = Mapping[tuple[str, str], Mapping[str, Any]]
"""What a tool gave, by candidate and benchmark."""

MANY_UNREAD = 0.2
"""From this share of answers without a choice on, a score says more of form than of knowledge."""

AGREES_WITHIN = 1e-3
"""The tool's report is rounded to four digits."""


def summary(
    candidates: Sequence[Candidate], asked: Sequence[Asked], results: Results
) -> dict[str, Any]:
    """Return scores, differences and remarks of all results; the first candidate is the base."""
    scores = [
        scored(one, benchmark, results[one.name, benchmark.name])
        for benchmark in asked
        for one in candidates
    ]
    compared = [
        compared_with(candidates[0], one, benchmark, results)
        for benchmark in asked
        for one in candidates[1:]
    ]
    return {
        "candidates": [{**vars(one), "quantized": quantized(one)} for one in candidates],
        "benchmarks": [_described(one, results, candidates[0]) for one in asked],
        "scores": scores,
        "differences": compared,
        "remarks": list(remarks(asked, scores)),
    }


def _described(one: Asked, results: Results, first: Candidate) -> dict[str, Any]:
    found = results[first.name, one.name]
    return {
        "name": one.name,
        "title": one.title,
        "of": one.row.name,
        "sample": one.is_sample,
        "data": str(one.folder) if one.folder else one.row.dataset_id,
        "metric": next((str(row["metric"]) for row in found["samples"]), ""),
        "tool": found["tool"],
        "few_shot": found.get("few_shot"),
    }


def scored(one: Candidate, benchmark: Asked, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score of a candidate on a benchmark, in all and by subject."""
    rows: Sequence[Sample] = found["samples"]
    return {
        "candidate": one.name,
        "benchmark": benchmark.name,
        "count": len(rows),
        "unread": sum(not row.get("read") and row.get("end") != "refused" for row in rows),
        "refused": sum(row.get("end") == "refused" for row in rows),
        "cut": sum(row.get("end") == "max_tokens" for row in rows),
        "seconds": found.get("seconds"),
        "tool_score": found.get("tool_score"),
        **_interval(score([row["score"] for row in rows])),
        "subjects": [
            {"name": name, "count": len(part), **_interval(score([row["score"] for row in part]))}
            for name, part in by_subject(rows).items()
        ],
    }


def _interval(found: Interval) -> dict[str, float]:
    return {key: round(value, 6) for key, value in vars(found).items()}


def by_subject(rows: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the questions of each subject."""
    found: dict[str, list[Sample]] = {}
    for row in rows:
        found.setdefault(str(row["subject"]), []).append(row)
    return found


def compared_with(
    base: Candidate, one: Candidate, benchmark: Asked, results: Results
) -> dict[str, Any]:
    """Return how far a candidate is from the base on the questions that both have an answer to."""
    first, second = (
        {row["id"]: float(row["score"]) for row in results[who.name, benchmark.name]["samples"]}
        for who in (base, one)
    )
    both = [key for key in first if key in second]
    found = difference([first[key] for key in both], [second[key] for key in both])
    return {
        "benchmark": benchmark.name,
        "candidate": one.name,
        "against": base.name,
        "count": len(both),
        **_interval(found.interval),
        "p": found.p_value,
        "gained": found.gained,
        "lost": found.lost,
        "told": found.told,
        "method": found.method,
    }


def remarks(asked: Sequence[Asked], scores: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what a reader must know to read the scores rightly."""
    for benchmark in asked:
        if benchmark.is_sample:
            yield text(
                f"{benchmark.title}: few and easy questions, for trials; its scores compare with "
                "no published figure",
                f"{benchmark.title}：题目少且较易，仅供试用；得分不可与公布结果比较",
            )
    for one in scores:
        yield from _of_score(one)


def _of_score(one: Mapping[str, Any]) -> Iterator[str]:
    where = f"{one['candidate']}, {one['benchmark']}"
    if one["refused"]:
        yield text(
            f"{where}: {one['refused']} of {one['count']} questions were refused by the server, as "
            "longer than it takes, and count as wrong: set num_fewshot lower, or max_model_len "
            "higher",
            f"{where}：{one['count']} 题中有 {one['refused']} 题超出服务可接受的长度而被拒绝，"
            "按错误计：请减小 num_fewshot 或增大 max_model_len",
        )
    if one["unread"] / one["count"] >= MANY_UNREAD:
        yield text(
            f"{where}: no choice could be read in {one['unread']} of {one['count']} answers"
            f"{_cut(one)}; they count as wrong. A small or base model is measured better by "
            "likelihood: backend: lm_eval",
            f"{where}：{one['count']} 个回答中有 {one['unread']} 个无法识别出选项，按错误计。"
            "小模型或基座模型更适合按似然评测：backend: lm_eval",
        )
    told = one["tool_score"]
    if told is not None and abs(told - one["value"]) > AGREES_WITHIN:
        yield text(
            f"{where}: the tool's own report says {told:.4f}, the questions one by one "
            f"{one['value']:.4f}",
            f"{where}：工具自身报告为 {told:.4f}，逐题统计为 {one['value']:.4f}",
        )


def _cut(one: Mapping[str, Any]) -> str:
    if not one["cut"]:
        return ""
    return text(f" ({one['cut']} were cut off at max_tokens)", "")
