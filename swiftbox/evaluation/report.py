"""What an evaluation found, as data: scores with intervals, subjects, differences, remarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.evaluation.benchmarks import Asked
from swiftbox.evaluation.candidates import Candidate, quantized
from swiftbox.evaluation.intervals import Interval, difference, score
from swiftbox.language import text

Sample = Mapping[str, Any]
"""One question of a result: id, subject, score, what was read of the answer, what was expected."""

Results = Mapping[tuple[str, str], Mapping[str, Any]]
"""What a tool gave, by candidate and benchmark."""

MANY_UNREAD = 0.2
"""From this share of answers without a choice on, a score says more of form than of knowledge."""

ALWAYS_THE_SAME = 0.9
"""From this share of one choice on, a score says how often that is right, and no more."""

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
        "truncated": sum(row.get("end") == "truncated" for row in rows),
        "cut": sum(row.get("end") == "max_tokens" and not row.get("read") for row in rows),
        "commonest": commonest(rows),
        "seconds": found.get("seconds"),
        "tool_score": found.get("tool_score"),
        **_interval(score([row["score"] for row in rows])),
        "subjects": [
            {"name": name, "count": len(part), **_interval(score([row["score"] for row in part]))}
            for name, part in by_subject(rows).items()
        ],
    }


def commonest(rows: Sequence[Sample]) -> list[Any] | None:
    """Return the choice that was given most often, and how often; None where none was given."""
    letters = [row["read"] for row in rows if len(str(row.get("read") or "")) == 1]
    return list(Counter(letters).most_common(1)[0]) if letters else None


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
        found = [one for one in scores if one["benchmark"] == benchmark.name]
        yield from _of_answers(benchmark.name, found)
        for one in found:
            yield from _monotony(one)
            yield from _disagreement(one)


def _of_answers(benchmark: str, found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say of which candidates many answers were no answers, and what to do."""

    def listed(key: str, share: float) -> str:
        return ", ".join(
            f"{one['candidate']} {one[key]}/{one['count']}"
            for one in found
            if one[key] and one[key] / one["count"] >= share
        )

    if who := listed("refused", 0):
        yield text(
            f"{benchmark}: questions longer than the server takes were refused, and count as "
            f"wrong ({who}): set num_fewshot lower, or max_model_len higher",
            f"{benchmark}：超出服务可接受长度的题目被拒绝，按错误计（{who}）："
            "请减小 num_fewshot 或增大 max_model_len",
        )
    if who := listed("truncated", 0):
        yield text(
            f"{benchmark}: longer than the model's context, the first examples were left out "
            f"({who}): set num_fewshot lower",
            f"{benchmark}：超出模型上下文长度，开头的示例被略去（{who}）：请减小 num_fewshot",
        )
    if who := listed("unread", MANY_UNREAD):
        cut = listed("cut", MANY_UNREAD)
        ends = text(f"; cut off at max_tokens: {cut}", f"；在 max_tokens 处截断：{cut}")
        yield text(
            f"{benchmark}: answers in which no choice could be read count as wrong ({who}"
            f"{ends if cut else ''}). Small and base models are measured better by likelihood: "
            "backend: lm_eval",
            f"{benchmark}：无法识别出选项的回答按错误计（{who}{ends if cut else ''}）。"
            "小模型与基座模型更适合按似然评测：backend: lm_eval",
        )


def _monotony(one: Mapping[str, Any]) -> Iterator[str]:
    letter, times = one["commonest"] or ("", 0)
    if times < ALWAYS_THE_SAME * one["count"]:
        return
    yield text(
        f"{one['benchmark']}: {one['candidate']} answers {letter} to {times} of {one['count']} "
        "questions: its score is how often that is right",
        f"{one['benchmark']}：{one['candidate']} 对 {one['count']} 题中的 {times} 题都回答 "
        f"{letter}，其得分只是该选项恰好正确的比例",
    )


def _disagreement(one: Mapping[str, Any]) -> Iterator[str]:
    where, told = f"{one['candidate']}, {one['benchmark']}", one["tool_score"]
    if told is not None and abs(told - one["value"]) > AGREES_WITHIN:
        yield text(
            f"{where}: the tool's own report says {told:.4f}, the questions one by one "
            f"{one['value']:.4f}",
            f"{where}：工具自身报告为 {told:.4f}，逐题统计为 {one['value']:.4f}",
        )
