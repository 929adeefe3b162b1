"""What the verbs of the catalogue do: `models` and `datasets`, offline."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.errors import ConfigError
from swiftbox.hub import catalogue
from swiftbox.hub.catalogue import SELDOM, UNTRAINED, Model
from swiftbox.language import text
from swiftbox.verbs import answer, say

if TYPE_CHECKING:  # what asks over the network is loaded only to ask
    from swiftbox.hub.online import Found


def models(options: argparse.Namespace) -> int:
    """Find models in the catalogue, with what of them fits."""
    if options.local or options.verify or options.remove:
        from swiftbox import local_verbs

        return local_verbs.listed(options, "model")
    query = " ".join(options.query)
    online = _online(options, query, "models")
    exact = catalogue.model(query) if query else None
    filters = (options.modality, options.kind, options.family, options.max_size, options.native)
    if not query and not any(filters) and not options.fits and not options.online:
        return _counts(options)
    found = [exact] if exact else _found(query, options)
    if options.fits and options.kind is None:
        found = [one for one in found if one.kind not in UNTRAINED]  # no method here trains them
    fits = _fits(options)
    rows = [(one, fits(one)) for one in found]
    if options.fits:
        rows = [(one, fit) for one, fit in rows if fit not in (None, "no")]
    if not rows and not online:
        near = catalogue.similar(query) if query else []
        raise ConfigError(
            text(f"no model found for {query or 'these filters'}", f"未找到模型：{query}"),
            hint=text(f"near: {', '.join(near)}", f"相近：{', '.join(near)}") if near else "",
        )
    if options.json:
        listed = [{**asdict(one), "fit": fit} for one, fit in rows[: options.limit or None]]
        answer(json.dumps(merged(listed, online), ensure_ascii=False))
    elif exact:
        from swiftbox.offers import full_details

        for line in full_details(exact, rows[0][1]):
            answer(line)
    elif rows:
        _list(rows, options.limit)
    if online and not options.json:
        _list_online(online, "models")
    return 0


def _online(options: argparse.Namespace, query: str, kind: str) -> tuple[Found, ...]:
    """Return what the hub lists, when it is asked for; say why where it cannot be had."""
    if not options.online:
        return ()
    from swiftbox.hub.online import search

    said = search(query, kind=kind)
    if said.trouble:
        say(text(f"note: {said.trouble}", f"提示：{said.trouble}"))
    return said.found


def merged(rows: list[dict[str, Any]], online: Sequence[Found]) -> list[dict[str, Any]]:
    """Add to known rows what the hub says of them, and behind them what only the hub has."""
    if not online:
        return rows
    left = {one.id.lower(): asdict(one) for one in online}
    known = []
    for row in rows:
        names = [str(row[key]).lower() for key in ("id", "hf_id") if row[key]]
        hits = [left.pop(name) for name in names if name in left]
        known.append({**row, "online": hits[0] if hits else None})
    return [*known, *({"id": one["id"], "online": one} for one in left.values())]


def _list_online(online: Sequence[Found], kind: str) -> None:
    """Print what the hub lists: downloads, size, licence; + where the catalogue has no row."""
    known = catalogue.model if kind == "models" else catalogue.dataset
    hub = online[0].hub
    answer(
        text(f"on {hub}, by downloads (+: not in the catalogue)", f"{hub} 按下载量（+：目录外）")
    )
    for one in online:
        mark = "" if known(one.id) else " +"
        size = f"{one.size_bytes / 1e9:.1f}G" if one.size_bytes else ""
        downloads = f"{one.downloads:,}" if one.downloads is not None else "?"
        answer(f"{one.id + mark:<46} {downloads:>12} {size:>7} {one.license or '':.20}".rstrip())


def _found(query: str, options: argparse.Namespace) -> list[Model]:
    found = catalogue.search(
        query, modality=options.modality, kind=options.kind, family=options.family
    )
    if options.max_size is not None:
        found = [one for one in found if one.params_b and one.params_b <= options.max_size]
    if options.native:
        found = [one for one in found if one.native == "yes"]
    return found


def _fits(options: argparse.Namespace) -> Any:
    """Return what names the richest training of a model that fits this machine, or that of --on."""
    from swiftbox.devices.imagined import imagined
    from swiftbox.devices.probe import probe
    from swiftbox.fit.source import of_row
    from swiftbox.offers import fits_on

    fit = fits_on(imagined(options.on) if options.on else probe(Path.cwd()))
    return lambda row: fit(of_row(row))


def _counts(options: argparse.Namespace) -> int:
    """Say how much there is."""
    every = catalogue.models()
    language = [one for one in every if one.kind not in SELDOM]
    counts = {
        "text": sum(one.modality == "text" for one in language),
        "multimodal": sum(one.modality != "text" for one in language),
        "embedding_and_reranker": len(every) - len(language),
        "datasets": len(catalogue.datasets()),
        "benchmarks": len(catalogue.benchmarks()),
    }
    if options.json:
        answer(json.dumps(counts))
        return 0
    names = {
        "text": text("text models", "文本模型"),
        "multimodal": text("multimodal models", "多模态模型"),
        "embedding_and_reranker": text("embedding models and rerankers", "嵌入与重排模型"),
        "datasets": text("datasets", "数据集"),
        "benchmarks": text("benchmarks", "评测基准"),
    }
    for key, count in counts.items():
        answer(f"{count:>5}  {names[key]}")
    families = Counter(one.family for one in language).most_common(12)
    listed = ", ".join(f"{name} {count}" for name, count in families)
    answer(text(f"families: {listed}, ...", f"系列：{listed} 等"))
    say(text("next: swiftbox models qwen --fits", "下一步：swiftbox models qwen --fits"))
    return 0


def _list(rows: Sequence[tuple[Model, str | None]], limit: int) -> None:
    """Print a table of 80 columns."""
    from swiftbox.offers import gigabytes, senses, table_line

    shown = rows[: limit or None]
    widths, right = (min(42, max(len(one.name) for one, _ in shown)), 5, 7, 11, 5, 5), (1, 4)
    head = (text("model", "模型"), "B", text("reads", "模态"), text("kind", "类型"))
    behind = (text("disk", "磁盘"), text("fits", "可训"))
    answer(table_line((*head, *behind), widths, right))
    for one, fit in shown:
        mark = "" if one.native == "yes" else "*"
        size = f"{one.params_b:g}" if one.params_b else "?"
        cells = (one.name, size, senses(one), one.kind + mark, gigabytes(one.disk_bytes))
        answer(table_line((*cells, fit or "?"), widths, right))
    if len(rows) > len(shown):
        more = len(rows) - len(shown)
        say(text(f"{more} more; --limit 0 shows all", f"另有 {more} 个；--limit 0 显示全部"))
    if any(one.native != "yes" for one, _ in shown):
        say(text("* needs Python of its own (remote code)", "* 需要自带代码（remote code）"))


def datasets(options: argparse.Namespace) -> int:
    """Find datasets in the catalogue, or those that are here."""
    if options.local or options.verify or options.remove:
        from swiftbox import local_verbs

        return local_verbs.listed(options, "dataset")
    found = catalogue.search_datasets(" ".join(options.query))
    online = _online(options, " ".join(options.query), "datasets")
    if not found and not online:
        raise ConfigError(
            text("no dataset found", "未找到数据集"),
            hint=text("try fewer words, or a tag such as sft", "请减少关键词，或用 sft 等标签"),
        )
    if options.json:
        answer(json.dumps(merged([asdict(one) for one in found], online), ensure_ascii=False))
        return 0
    shown = found[: options.limit or None]
    for one in shown:
        rows = f"{one.rows:,}" if one.rows else text("huge", "巨大") if one.huge else "?"
        about = ";".join([*one.languages, *one.tags])
        answer(f"{one.name:<46.46} {rows:>12} {about:.19}".rstrip())
    if len(found) > len(shown):
        more = len(found) - len(shown)
        say(text(f"{more} more; --limit 0 shows all", f"另有 {more} 个；--limit 0 显示全部"))
    if online:
        _list_online(online, "datasets")
    return 0
