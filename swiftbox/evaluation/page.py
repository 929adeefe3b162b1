"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from swiftbox.config.writing import scalar
from swiftbox.evaluation import drawing
from swiftbox.evaluation.table import percent, points
from swiftbox.language import language, text

STYLE = Path(__file__).with_name("page.css")

CHANGES = 40
"""Questions that changed are listed up to this many of each comparison."""

FOUR_CHOICES = ("ceval", "mmlu", "cmmlu")
"""Benchmarks of which guessing gets a quarter."""

Report = Mapping[str, Any]
Results = Mapping[tuple[str, str], Mapping[str, Any]]


def page(report: Report, results: Results) -> str:
    """Return the page."""
    names = [str(one["name"]) for one in report["candidates"]]
    title = " / ".join(names)
    parts = [
        f"<h1>{escape(text('Evaluation', '评测'))}: {escape(title)}</h1>",
        f'<p class="about">{escape(_about(report))}</p>',
        *(f'<p class="remark">{escape(one)}</p>' for one in report["remarks"]),
        _scoreboard(report),
    ]
    for one in report["benchmarks"]:
        parts += _benchmark(report, one, results)
    parts += [_measured(report)]
    lang = "zh-CN" if language() == "zh" else "en"
    return (
        f'<!doctype html>\n<html lang="{lang}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _about(report: Report) -> str:
    tools = ", ".join(dict.fromkeys(str(one["tool"]) for one in report["benchmarks"]))
    return text(
        f"{report['made']} · {tools} · swiftbox {report['swiftbox']} · intervals are 95 %",
        f"{report['made']} · {tools} · swiftbox {report['swiftbox']} · 区间均为 95 %",
    )


def _scoreboard(report: Report) -> str:
    """Return base, tuned and quantized side by side: a row each, a column for each benchmark."""
    head = "".join(f"<th>{escape(one['name'])}</th>" for one in report["benchmarks"])
    rows = []
    for number, who in enumerate(report["candidates"]):
        cells = (_cell(report, str(who["name"]), one) for one in report["benchmarks"])
        kind = " · ".join(one for one in (_kind(who), str(who["quantized"])) if one)
        rows.append(
            f'<tr><th><i class="c{number % drawing.COLOURS}"></i>{escape(who["name"])}'
            f"<small>{escape(kind)}</small></th>{''.join(cells)}</tr>"
        )
    return f'<table class="board"><tr><th></th>{head}</tr>{"".join(rows)}</table>'


def _kind(who: Report) -> str:
    names = {
        "base": text("the base that others are compared with", "比较的基准"),
        "adapter": text("adapter", "适配器"),
        "model": text("model", "模型"),
        "endpoint": text("at an endpoint", "外部服务"),
    }
    return names[str(who["kind"])]


def _cell(report: Report, name: str, benchmark: Report) -> str:
    one = _of(report["scores"], name, benchmark)
    found = _of(report["differences"], name, benchmark)
    interval = f"{100 * one['low']:.1f} - {100 * one['high']:.1f}"
    said = f"<b>{percent(one['value'])}</b><small>{interval}</small>"
    if found:
        said += f'<small class="{_class(found)}">{escape(_verdict(found))}</small>'
    return f"<td>{said}</td>"


def _of(rows: Sequence[Report], name: str, benchmark: Report) -> Report:
    wanted = (name, benchmark["name"])
    return next((one for one in rows if (one["candidate"], one["benchmark"]) == wanted), {})


def _class(found: Report) -> str:
    return ("better" if found["value"] > 0 else "worse") if found["told"] else "same"


def _verdict(found: Report) -> str:
    if not found["told"]:
        return text("no difference can be told", "看不出差异")
    return text(f"{100 * found['value']:+.1f} points", f"{100 * found['value']:+.1f} 个百分点")


def _benchmark(report: Report, one: Report, results: Results) -> Iterator[str]:
    scores = [row for row in report["scores"] if row["benchmark"] == one["name"]]
    chance = 0.25 if one["of"] in FOUR_CHOICES else None
    yield f"<section><h2>{escape(one['title'])}</h2><p>{escape(_asked(one, scores, chance))}</p>"
    yield f"<figure>{drawing.bars(scores, chance=chance)}</figure>"
    found = [row for row in report["differences"] if row["benchmark"] == one["name"]]
    if found:
        yield _differences(found)
    if len(scores[0]["subjects"]) > 1:
        yield f"<h3>{text('By subject', '分科目')}</h3>"
        yield drawing.legend([str(row["candidate"]) for row in scores])
        yield f"<figure>{drawing.subjects(scores)}</figure>"
    for row in found:
        yield _changes(row, results)
    yield "</section>"


def _asked(one: Report, scores: Sequence[Report], chance: float | None) -> str:
    unread = ", ".join(f"{row['candidate']} {row['unread']}" for row in scores if row["unread"])
    few = one["few_shot"]
    parts = [
        text(f"{scores[0]['count']} questions", f"{scores[0]['count']} 题"),
        str(one["metric"]),
        text(f"{few} examples before each", f"每题前 {few} 个示例") if few is not None else "",
        text("dashed: guessing, 25 %", "虚线：随机猜测 25 %") if chance else "",
        text(f"answers without a choice: {unread}", f"无法识别选项的回答：{unread}")
        if unread
        else "",
    ]
    return " · ".join(part for part in parts if part)


def _differences(found: Sequence[Report]) -> str:
    head = "".join(
        f"<th>{escape(one)}</th>"
        for one in (
            text(f"against {found[0]['against']}", f"与 {found[0]['against']} 相比"),
            text("points (95 %)", "百分点（95 %）"),
            text("only now right", "仅现在答对"),
            text("only before right", "仅原来答对"),
            "p",
            "",
        )
    )
    rows = "".join(
        f"<tr><th>{escape(one['candidate'])}</th><td>{escape(points(one))}</td>"
        f"<td>{one['gained']}</td><td>{one['lost']}</td><td>{one['p']:.3g}</td>"
        f'<td class="{_class(one)}">{escape(_verdict(one))}</td></tr>'
        for one in found
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _changes(row: Report, results: Results) -> str:
    """Return the questions on which a candidate did otherwise than the base."""
    name = str(row["benchmark"])
    before = {one["id"]: one for one in results[row["against"], name]["samples"]}
    after = results[row["candidate"], name]["samples"]
    changed = [one for one in after if before.get(one["id"], one)["score"] != one["score"]]
    if not changed:
        return ""
    rows = "".join(
        f"<tr><td>{escape(str(one['id']))}</td><td>{escape(str(one['expected']))}</td>"
        f"<td>{escape(_read(before[one['id']]))}</td><td>{escape(_read(one))}</td></tr>"
        for one in changed[:CHANGES]
    )
    head = "".join(
        f"<th>{escape(one)}</th>"
        for one in (
            text("question", "题目"),
            text("right", "正确答案"),
            str(row["against"]),
            str(row["candidate"]),
        )
    )
    count = f"{min(len(changed), CHANGES)}/{len(changed)}"
    words = text(
        f"Questions on which {row['candidate']} differs ({count})",
        f"{row['candidate']} 结果不同的题目（{count}）",
    )
    return (
        f"<details><summary>{escape(words)}</summary><table><tr>{head}</tr>{rows}</table></details>"
    )


def _read(one: Report) -> str:
    return str(one.get("read") or "") or text("(none)", "（无）")


def _measured(report: Report) -> str:
    """Return all that a reader needs to measure it again."""
    said = {key: value for key, value in report["settings"].items() if value is not None}
    machine = report["machine"]
    devices = ", ".join(machine["devices"]) or f"{machine['backend']}, {machine['cores']} cores"
    versions = ", ".join(f"{name} {one}" for name, one in machine["versions"].items())
    rows = {
        **{key: scalar(value) for key, value in said.items()},
        text("machine", "机器"): devices,
        text("versions", "版本"): versions,
        text("time", "用时"): f"{report['seconds']:.0f} s",
    }
    listed = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>"
        for key, value in rows.items()
    )
    how = text(
        "A score's interval is Wilson's; a difference is taken question by question, with "
        "McNemar's exact test and Newcombe's paired interval (1998, method 10). A difference "
        "counts as told when p is below 0.05 and the interval leaves out 0; of twenty "
        "comparisons of equals about one does so by chance.",
        "得分区间采用 Wilson 方法；差异按题配对，用 McNemar 精确检验与 Newcombe 配对区间"
        "（1998，方法 10）。p 小于 0.05 且区间不含 0 时才算有差异；"
        "二十次相同模型的比较中约有一次会偶然如此。",
    )
    title = text("What was measured", "测量条件")
    table = f'<table class="said">{listed}</table>'
    return f"<section><h2>{title}</h2><p>{escape(how)}</p>{table}</section>"
