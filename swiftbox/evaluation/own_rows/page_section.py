"""The first section of the report's page: the user's own rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.evaluation.markup import escape
from swiftbox.evaluation.own_rows.metric_names import (
    difference_text,
    interval_text,
    is_gain,
    judged_counts,
    judged_word,
    metric_name,
    value_text,
    verdict_word,
)
from swiftbox.formatting import counted
from swiftbox.language import text

SHOWN_ROWS = 40
"""At most so many rows are listed with their answers."""

SHOWN_LETTERS = 600
"""Of an answer in that list; the files in own_rows/ have all."""

Report = Mapping[str, Any]

Answers = Mapping[str, Sequence[Mapping[str, Any]]]
"""Answers with their scores, by candidate."""


def rows_section(report: Report | None, answers: Answers) -> Iterator[str]:
    """Yield the section; nothing without own rows."""
    if report is None:
        return
    yield f"<section><h2>{escape(str(report['title']))}</h2><p>{escape(_facts(report))}</p>"
    metrics = [name for name in report["metrics"] if name != "win_rate"]
    if report["scores"]:
        yield _table(report, metrics)
    for name, why in report["unmeasured"].items():
        line = text(f"{name}: loss not measured: {why}", f"{name}：未测损失：{why}")
        yield f"<p>{escape(line)}</p>"
    if report["judge"] is not None:
        yield from _judged(report["judge"])
    if any(answers.values()):
        yield _listed(answers)
    yield f"<details><summary>{escape(_how_title())}</summary>"
    yield f"<p>{escape(_method(report))}</p></details></section>"


def _facts(report: Report) -> str:
    parts = [text(counted(report["rows"], "row"), f"{report['rows']} 行")]
    if report["cut"]:
        parts.append(
            text(f"{report['cut']} cut at max_length", f"{report['cut']} 行在 max_length 处截断")
        )
    if report["left_out"]:
        parts.append(text(f"{report['left_out']} left out", f"{report['left_out']} 行未用"))
    return " · ".join(parts)


def _table(report: Report, metrics: Sequence[str]) -> str:
    """Return the scores: a row per candidate, a column per metric."""
    names = list(dict.fromkeys(row["candidate"] for row in report["scores"]))
    head = "".join(f"<th>{escape(metric_name(metric))}</th>" for metric in metrics)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(_cell(report, name, metric) for metric in metrics)
        + "</tr>"
        for name in names
    )
    return f'<table class="board"><tr><th></th>{head}</tr>{rows}</table>'


def _cell(report: Report, name: str, metric: str) -> str:
    score, difference = (
        next((row for row in rows if (row["candidate"], row["metric"]) == (name, metric)), None)
        for rows in (report["scores"], report["differences"])
    )
    if score is None:
        return "<td></td>"
    content = f"<b>{value_text(metric, score['value'])}</b>"
    content += f"<small>{interval_text(score, metric)}</small>"
    if "perplexity" in score:
        perplexity = text("perplexity", "困惑度")
        content += f"<small>{escape(perplexity)} {score['perplexity']:.4g}</small>"
    if difference is not None:
        kind = "same"
        if difference["told"]:
            kind = "better" if is_gain(difference) else "worse"
        content += f'<small class="{kind}">{escape(difference_text(difference))}</small>'
        word = verdict_word(difference) if difference["told"] else _no_difference()
        content += f'<small class="{kind}">{escape(word)}</small>'
    return f"<td>{content}</td>"


def _no_difference() -> str:
    return text("no significant difference", "看不出差异")


def _judged(judge: Report) -> Iterator[str]:
    title = text(f"Win rate, judged by {judge['model']}", f"由 {judge['model']} 评审的胜率")
    yield f"<h3>{escape(title)}</h3>"
    rows = "".join(_judged_row(row) for row in judge["verdicts"])
    yield f'<table class="board">{rows}</table>'
    summary = text("What the judge is asked", "向评审模型提出的问题")
    yield f"<details><summary>{escape(summary)}</summary><p>{escape(judge['prompt'])}</p></details>"


def _judged_row(row: Report) -> str:
    name = text(
        f"{row['candidate']} against {row['against']}", f"{row['candidate']} 对 {row['against']}"
    )
    content = ""
    if row["count"]:
        kind = "same" if not row["told"] else "better" if row["value"] > 0.5 else "worse"
        word = judged_word(row) if row["told"] else _no_difference()
        content = (
            f"<b>{value_text('win_rate', row['value'])}</b>"
            f"<small>{interval_text(row, 'win_rate')}</small>"
            f'<small class="{kind}">{escape(word)}</small>'
        )
    counts = escape(judged_counts(row))
    return f"<tr><th>{escape(name)}</th><td>{content}</td><td>{counts}</td></tr>"


def _listed(answers: Answers) -> str:
    """Return the first rows with the expected answer and that of each candidate."""
    names = [name for name, rows in answers.items() if rows]
    expected = text("expected", "参考回答")
    head = "".join(f"<th>{escape(title)}</th>" for title in ("", expected, *names))
    first = answers[names[0]]
    body = "".join(
        f"<tr><td>{escape(str(row['id']))}</td><td>{escape(_short(row['expected']))}</td>"
        + "".join(f"<td>{escape(_short(answers[name][number]['answer']))}</td>" for name in names)
        + "</tr>"
        for number, row in enumerate(first[:SHOWN_ROWS])
    )
    count = f"{min(len(first), SHOWN_ROWS)}/{len(first)}"
    title = text(f"Answers ({count})", f"回答（{count}）")
    return (
        f"<details><summary>{escape(title)}</summary><table><tr>{head}</tr>{body}</table></details>"
    )


def _short(content: str) -> str:
    return content if len(content) <= SHOWN_LETTERS else content[:SHOWN_LETTERS] + "..."


def _how_title() -> str:
    return text("How this was measured", "测量方法")


def _method(report: Report) -> str:
    return text(
        "Loss: mean cross-entropy of the learned tokens in nats, as the training measures it on "
        "held-out rows. Answers are to the last turn of each row; reasoning is left out. Exact "
        "match: after Unicode NFKC, in lower case, with white space joined. ROUGE-L: F1 of words; "
        "each character of Chinese, Japanese and Thai is a word. BLEU: sacrebleu's corpus score, "
        f"tokenizer {report['bleu_tokenizer']}; chrF: mean of the rows. Differences are paired by "
        "row: McNemar and Newcombe for exact match, normal for means, 1,000 bootstrap samples of "
        "rows for loss and BLEU. Judge: each pair is asked in both orders and decided only if both "
        "verdicts agree; a tie is half a win; the interval is Wilson's, the test is of signs.",
        "损失：所学 token 的平均交叉熵（nat），与训练在留出数据上的测量一致。回答针对每行的"
        "最后一轮，不含推理。完全一致：经 Unicode NFKC、转小写并合并空白后比较。ROUGE-L：按词的 "
        "F1，中文、日文、泰文以单字为词。BLEU：sacrebleu 的语料级得分，分词 "
        f"{report['bleu_tokenizer']}；chrF：各行均值。差异按行配对：完全一致用 McNemar 与 "
        "Newcombe，均值用正态近似，损失与 BLEU 用 1000 次按行自助抽样。评审：每对回答按两种次序"
        "各问一次，两次一致才算胜负；平局计半胜；区间为 Wilson 区间，检验为符号检验。",
    )
