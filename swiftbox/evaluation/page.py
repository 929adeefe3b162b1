"""The report as a single HTML page: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from swiftbox.config.writing import scalar
from swiftbox.evaluation import charts
from swiftbox.evaluation.markup import CONTENT_POLICY, escape
from swiftbox.evaluation.own_rows.page_section import Answers, rows_section
from swiftbox.evaluation.table import percent, points
from swiftbox.formatting import counted, duration
from swiftbox.language import language, text

STYLE = Path(__file__).with_name("page.css")

CHANGES = 40
"""At most so many changed questions are listed per comparison."""

FOUR_CHOICES = ("ceval", "mmlu", "cmmlu")
"""Benchmarks with four choices: guessing scores a quarter."""

Report = Mapping[str, Any]
Results = Mapping[tuple[str, str], Mapping[str, Any]]


def page(report: Report, results: Results, answers: Answers = MappingProxyType({})) -> str:
    """Return the page; `answers` are those to the user's own rows, by candidate."""
    names = [str(candidate["name"]) for candidate in report["candidates"]]
    title = " / ".join(names)
    parts = [
        f"<h1>{escape(text(f'Evaluation: {title}', f'评测：{title}'))}</h1>",
        f'<p class="about">{escape(_about(report))}</p>',
        *(f'<p class="remark">{escape(remark)}</p>' for remark in report["remarks"]),
        *rows_section(report.get("own_rows"), answers),
        _scoreboard(report) if report["benchmarks"] else "",
    ]
    for benchmark in report["benchmarks"]:
        parts += _benchmark(report, benchmark, results)
    parts += [_conditions(report)]
    lang = "zh-CN" if language() == "zh" else "en"
    return (
        f'<!doctype html>\n<html lang="{lang}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _about(report: Report) -> str:
    tools = ", ".join(dict.fromkeys(str(benchmark["tool"]) for benchmark in report["benchmarks"]))
    parts = (report["made"], tools, f"swiftbox {report['swiftbox']}")
    content = " · ".join(str(part) for part in parts if part)
    return content + text(" · intervals are 95 %", " · 区间均为 95 %")


def _scoreboard(report: Report) -> str:
    """Return the score table: a row per candidate, a column per benchmark."""
    head = "".join(f"<th>{escape(benchmark['name'])}</th>" for benchmark in report["benchmarks"])
    rows = []
    for number, candidate in enumerate(report["candidates"]):
        cells = (
            _cell(report, str(candidate["name"]), benchmark) for benchmark in report["benchmarks"]
        )
        kind = " · ".join(part for part in (_kind(candidate), str(candidate["quantized"])) if part)
        rows.append(
            f'<tr><th><i class="c{number % charts.COLOURS}"></i>{escape(candidate["name"])}'
            f"<small>{escape(kind)}</small></th>{''.join(cells)}</tr>"
        )
    return f'<table class="board"><tr><th></th>{head}</tr>{"".join(rows)}</table>'


def _kind(candidate: Report) -> str:
    names = {
        "base": text("the baseline of the comparison", "比较的基准"),
        "adapter": text("adapter", "适配器"),
        "model": text("model", "模型"),
        "endpoint": text("at an endpoint", "外部服务"),
    }
    return names[str(candidate["kind"])]


def _cell(report: Report, name: str, benchmark: Report) -> str:
    score = _find(report["scores"], name, benchmark)
    difference = _find(report["differences"], name, benchmark)
    interval = f"{100 * score['low']:.1f} - {100 * score['high']:.1f}"
    content = f"<b>{percent(score['value'])}</b><small>{interval}</small>"
    if difference:
        verdict = escape(_verdict(difference))
        content += f'<small class="{_class(difference)}">{verdict}</small>'
    return f"<td>{content}</td>"


def _find(rows: Sequence[Report], name: str, benchmark: Report) -> Report:
    key = (name, benchmark["name"])
    return next((row for row in rows if (row["candidate"], row["benchmark"]) == key), {})


def _class(difference: Report) -> str:
    if not difference["told"]:
        return "same"
    return "better" if difference["value"] > 0 else "worse"


def _verdict(difference: Report) -> str:
    if not difference["told"]:
        return text("no significant difference", "看不出差异")
    points_gained = f"{100 * difference['value']:+.1f}"
    return text(f"{points_gained} points", f"{points_gained} 个百分点")


def _benchmark(report: Report, benchmark: Report, results: Results) -> Iterator[str]:
    scores = [row for row in report["scores"] if row["benchmark"] == benchmark["name"]]
    chance = 0.25 if benchmark["of"] in FOUR_CHOICES else None
    facts = escape(_facts(benchmark, scores, chance))
    yield f"<section><h2>{escape(benchmark['title'])}</h2><p>{facts}</p>"
    yield f"<figure>{charts.bars(scores, chance=chance)}</figure>"
    differences = [row for row in report["differences"] if row["benchmark"] == benchmark["name"]]
    if differences:
        yield _differences(differences)
    if len(scores[0]["subjects"]) > 1:
        yield f"<h3>{text('By subject', '分科目')}</h3>"
        yield charts.legend([str(row["candidate"]) for row in scores])
        yield f"<figure>{charts.subjects(scores)}</figure>"
    for row in differences:
        yield _changes(row, results)
    yield "</section>"


def _facts(benchmark: Report, scores: Sequence[Report], chance: float | None) -> str:
    unread = ", ".join(f"{row['candidate']} {row['unread']}" for row in scores if row["unread"])
    few_shot = benchmark["few_shot"]
    parts = [
        text(counted(scores[0]["count"], "question"), f"{scores[0]['count']} 题"),
        str(benchmark["metric"]),
        text(f"{counted(few_shot, 'example')} before each", f"每题前 {few_shot} 个示例")
        if few_shot is not None
        else "",
        text("dashed: guessing, 25 %", "虚线：随机猜测 25 %") if chance else "",
        text(f"answers without a choice: {unread}", f"无法识别选项的回答：{unread}")
        if unread
        else "",
    ]
    return " · ".join(part for part in parts if part)


def _differences(rows: Sequence[Report]) -> str:
    head = "".join(
        f"<th>{escape(heading)}</th>"
        for heading in (
            text(f"against {rows[0]['against']}", f"与 {rows[0]['against']} 相比"),
            text("points (95 %)", "百分点（95 %）"),
            text("only now correct", "仅现在答对"),
            text("only before correct", "仅原来答对"),
            "p",
            "",
        )
    )
    body = "".join(
        f"<tr><th>{escape(row['candidate'])}</th><td>{escape(points(row))}</td>"
        f"<td>{row['gained']}</td><td>{row['lost']}</td><td>{row['p']:.3g}</td>"
        f'<td class="{_class(row)}">{escape(_verdict(row))}</td></tr>'
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _changes(row: Report, results: Results) -> str:
    """Return the questions on which a candidate differs from the baseline."""
    name = str(row["benchmark"])
    before = {sample["id"]: sample for sample in results[row["against"], name]["samples"]}
    after = results[row["candidate"], name]["samples"]
    changed = [
        sample for sample in after if before.get(sample["id"], sample)["score"] != sample["score"]
    ]
    if not changed:
        return ""
    rows = "".join(
        f"<tr><td>{escape(str(sample['id']))}</td><td>{escape(str(sample['expected']))}</td>"
        f"<td>{escape(_answer(before[sample['id']]))}</td><td>{escape(_answer(sample))}</td></tr>"
        for sample in changed[:CHANGES]
    )
    head = "".join(
        f"<th>{escape(heading)}</th>"
        for heading in (
            text("question", "题目"),
            text("correct", "正确答案"),
            str(row["against"]),
            str(row["candidate"]),
        )
    )
    count = f"{min(len(changed), CHANGES)}/{len(changed)}"
    title = text(
        f"Questions on which {row['candidate']} differs ({count})",
        f"{row['candidate']} 结果不同的题目（{count}）",
    )
    return (
        f"<details><summary>{escape(title)}</summary><table><tr>{head}</tr>{rows}</table></details>"
    )


def _answer(sample: Report) -> str:
    return str(sample.get("read") or "") or text("(none)", "（无）")


def _conditions(report: Report) -> str:
    """Return everything that a reader needs to repeat the measurement."""
    settings = {key: value for key, value in report["settings"].items() if value is not None}
    machine = report["machine"]
    backend, cores = machine["backend"], machine["cores"]
    devices = ", ".join(machine["devices"])
    devices = devices or text(f"{backend}, {cores} cores", f"{backend}，{cores} 核")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rows = {
        **{key: scalar(value) for key, value in settings.items()},
        text("machine", "机器"): devices,
        text("versions", "版本"): versions,
        text("time", "用时"): duration(report["seconds"]),
    }
    listed = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>"
        for key, value in rows.items()
    )
    method = text(
        "Intervals of scores are Wilson's. Differences are paired by question, with McNemar's "
        "exact test and Newcombe's paired interval (1998, method 10). A difference is significant "
        "if p is below 0.05 and the interval excludes 0; about one in twenty comparisons of equal "
        "models is so by chance.",
        "得分区间采用 Wilson 方法；差异按题配对，用 McNemar 精确检验与 Newcombe 配对区间"
        "（1998，方法 10）。p 小于 0.05 且区间不含 0 时才算有差异；"
        "二十次相同模型的比较中约有一次会偶然如此。",
    )
    title = text("What was measured", "测量条件")
    table = f'<table class="said">{listed}</table>'
    return f"<section><h2>{title}</h2><p>{escape(method)}</p>{table}</section>"
