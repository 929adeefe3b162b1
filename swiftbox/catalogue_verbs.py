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
from swiftbox.hub.catalogue import Dataset, Model
from swiftbox.hub.requirements import installed, requirements
from swiftbox.language import text
from swiftbox.verbs import answer, say

if TYPE_CHECKING:  # what asks over the network is loaded only to ask
    from swiftbox.hub.online import Found

SELDOM = ("embedding", "reranker")
"""Kinds that do not write text; they are not counted as language models."""


def models(options: argparse.Namespace) -> int:
    """Find models in the catalogue, with what of them fits."""
    query = " ".join(options.query)
    online = _online(options, query, "models")
    exact = catalogue.model(query) if query else None
    filters = (options.modality, options.kind, options.family, options.max_size, options.native)
    if not query and not any(filters) and not options.fits and not options.online:
        return _counts(options)
    found = [exact] if exact else _found(query, options)
    if options.fits and options.kind is None:
        found = [one for one in found if one.kind not in SELDOM]  # no method here trains them
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
        for line in details(exact, rows[0][1]):
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
    from swiftbox.fit.table import fit_of
    from swiftbox.plan import plan
    from swiftbox.tasks.load import loads

    machine = imagined(options.on) if options.on else probe(Path.cwd())
    usual = ["model=owner/name", "dataset=rows.jsonl", "report_to=none"]
    if len(machine.devices) > 1:
        usual.append("distributed=fsdp")
    settled: Any = plan(loads("", source="models", overrides=usual).config, machine).config
    return fit_of(settled.model_copy(update={"gradient_checkpointing": "true"}), machine)


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
    shown = rows[: limit or None]
    width = min(46, max(len(one.name) for one, _ in shown))
    head = (text("model", "模型"), "B", text("reads", "模态"), text("kind", "类型"))
    answer(_line(width, *head, text("disk", "磁盘"), text("fits", "可训练")))
    for one, fit in shown:
        disk = f"{one.disk_bytes / 1e9:.0f}G" if one.disk_bytes else "?"
        mark = "" if one.native == "yes" else "*"
        size = f"{one.params_b:g}" if one.params_b else "?"
        answer(_line(width, one.name, size, one.modality, one.kind + mark, disk, fit or "?"))
    if len(rows) > len(shown):
        more = len(rows) - len(shown)
        say(text(f"{more} more; --limit 0 shows all", f"另有 {more} 个；--limit 0 显示全部"))
    if any(one.native != "yes" for one, _ in shown):
        say(text("* needs Python of its own (remote code)", "* 需要自带代码（remote code）"))


def _line(width: int, *cells: str) -> str:
    from prompt_toolkit.utils import get_cwidth

    widths = (width, 5, 8, 10, 6, 6)
    parts = []
    for at, (cell, wide) in enumerate(zip(cells, widths, strict=True)):
        cut = cell if get_cwidth(cell) <= wide else cell[: wide - 1] + "~"
        gap = " " * max(0, wide - get_cwidth(cut))
        parts.append(gap + cut if at in (1, 4) else cut + gap)
    return " ".join(parts).rstrip()


def details(one: Model, fit: str | None) -> list[str]:
    """Say all that is known of a model."""
    targets = catalogue.lora_targets(one.model_type)
    needs = " ".join(filter(None, (one.transformers_spec, one.max_transformers)))
    lines = {
        text("model", "模型"): one.name,
        "Hugging Face": one.hf_id,
        text("family", "系列"): f"{one.family} ({one.model_type}, {one.architecture})",
        text("size", "规模"): f"{one.params_b:g} B" if one.params_b else None,
        text("active", "激活"): f"{one.active_params_b:g} B" if one.active_params_b else None,
        text("reads", "模态"): one.modality,
        text("kind", "类型"): f"{one.kind}, {one.stage}",
        text("format", "格式"): one.quant if one.quant != "none" else "16 bits",
        text("disk", "磁盘"): f"{one.disk_bytes / 1e9:.1f} GB" if one.disk_bytes else None,
        text("context", "上下文"): f"{one.context:,} tokens" if one.context else None,
        text("loads", "加载"): one.native,
        "transformers": f"{needs or '-'} ({text('here', '本机')} {installed('transformers')})",
        text("packages", "依赖包"): " ".join(one.extra_requires),
        text("LoRA layers", "LoRA 层"): ", ".join(
            [*targets.get("attention", ()), *targets.get("mlp", ())]
        ),
        text("trains here with", "本机可训练"): fit,
    }
    known = [f"{key}: {value}" for key, value in lines.items() if value]
    return [*known, *map(str, requirements(one))]


def datasets(options: argparse.Namespace) -> int:
    """Find datasets in the catalogue."""
    words = " ".join(options.query).lower().split()
    found = [one for one in catalogue.datasets() if all(word in _around(one) for word in words)]
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


def _around(one: Dataset) -> str:
    parts = (one.id or "", one.hf_id or "", *one.tags, *one.languages, one.format or "")
    return " ".join(parts).lower()
