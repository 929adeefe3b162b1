"""What the verbs of the catalogue do: `models` and `datasets`, offline."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from swiftbox.cli.verbs import answer, say
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.catalogue import SELDOM, UNTRAINED, Dataset, Model

if TYPE_CHECKING:  # what asks over the network is loaded only to ask
    from swiftbox.hub.online import Found


def models(options: argparse.Namespace) -> int:
    """Find models in the catalogue, with what of them fits."""
    if is_local(options):
        from swiftbox.cli import local_models as local_verbs

        refuse_beside_local(options)
        return local_verbs.listed(options, "model")
    query = " ".join(options.query)
    _settle(options)
    online = _online(options, query, "models")
    exact = catalogue.model(query) if query else None
    filters = (options.modality, options.kind, options.family, options.max_size, options.native)
    if not query and not any((*filters, options.fits, options.on, options.online)):
        return _counts(options)
    found = [exact] if exact else _found(query, options)
    if options.fits and options.kind is None and not exact:
        found = [one for one in found if one.kind not in UNTRAINED]
    fits = _fits(options)
    rows = [(one, fits(one)) for one in found]
    if options.fits:
        rows = [(one, fit) for one, fit in rows if fit not in (None, "no")]
    if not rows and not online:
        raise _nothing(query, options, exact)
    if options.json:
        listed = [{**asdict(one), "fit": fit} for one, fit in rows[: options.limit or None]]
        answer(json.dumps(merged(listed, online), ensure_ascii=False))
    elif exact and rows:
        from swiftbox.menu.options.models import full_details

        for line in full_details(exact, rows[0][1]):
            answer(line)
    elif rows:
        _list(rows, options.limit)
    if online and not options.json:
        _list_online(online, "models")
    return 0


def is_local(options: argparse.Namespace) -> bool:
    """Tell whether what is on this machine is meant, not the catalogue."""
    return bool(options.local or options.verify or options.remove)


def refuse_beside_local(options: argparse.Namespace) -> None:
    """Raise ConfigError for options that mean nothing for what is on this machine."""
    names = ("modality", "kind", "family", "max_size", "native", "fits", "on", "online")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name, None)]
    if given:
        raise ConfigError(
            text(
                f"{', '.join(given)}: not with --local, --verify and --remove",
                f"{', '.join(given)}：不能与 --local、--verify、--remove 同用",
            ),
            hint=text("words alone narrow what is here", "可用关键词筛选本机内容"),
        )


def _settle(options: argparse.Namespace) -> None:
    """Take kind and family whatever their case; raise ConfigError for what no model has."""
    for name in ("kind", "family"):
        given = getattr(options, name)
        if given is None:
            continue
        known = {str(getattr(one, name)).lower(): getattr(one, name) for one in catalogue.models()}
        if given.lower() not in known:
            near = get_close_matches(given.lower(), known, n=5, cutoff=0.5)
            shown = [known[one] for one in near] or sorted(set(known.values()))[:14]
            raise ConfigError(
                text(f"--{name} {given}: no model has it", f"--{name} {given}：没有这样的模型"),
                hint=text(f"such as {', '.join(shown)}", f"例如 {', '.join(shown)}"),
            )
        setattr(options, name, known[given.lower()])


def _nothing(query: str, options: argparse.Namespace, exact: Model | None) -> ConfigError:
    """Return what is said where nothing is left: of the words, or of the filters."""
    where = f" (--on {options.on})" if options.on else text(" on this machine", "（本机）")
    if exact is not None:
        smaller = f"swiftbox models --family '{exact.family}' --fits"
        return ConfigError(
            text(f"{exact.name} cannot be trained{where}", f"{exact.name} 无法训练{where}"),
            hint=text(f"what can be: {smaller}", f"可训练的：{smaller}"),
        )
    if options.kind in UNTRAINED and options.fits:
        return ConfigError(
            text(
                f"no method here trains models of kind {options.kind}",
                f"没有方法可训练 {options.kind} 类模型",
            ),
            hint=text("leave out --fits to list them", "去掉 --fits 即可列出"),
        )
    said = text(f"no model found for {query}", f"未找到模型：{query}")
    if not query or catalogue.search(query):
        said = text("no model is left by these filters", "这些条件下没有模型")
        return ConfigError(said, hint=text("leave one of them out", "请去掉其中一个条件"))
    near = ", ".join(catalogue.similar(query))
    asking = text("--online asks the hub too", "--online 可同时在社区搜索")
    return ConfigError(said, hint=text(f"near: {near}", f"相近：{near}") if near else asking)


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
    from swiftbox.menu.options.models import fits_on

    fit = fits_on(imagined(options.on) if options.on else probe(Path.cwd()))
    # No method here trains some kinds, however small they are.
    return lambda row: "no" if row.kind in UNTRAINED else fit(of_row(row))


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
    said = text(f"families: {listed}, ...", f"系列：{listed} 等")
    for line in wrap(said, 79, subsequent_indent="  ", break_on_hyphens=False):
        answer(line)
    say(text("next: swiftbox models qwen --fits", "下一步：swiftbox models qwen --fits"))
    return 0


def _list(rows: Sequence[tuple[Model, str | None]], limit: int) -> None:
    """Print a table of 80 columns."""
    from swiftbox.menu.options.models import gigabytes, senses, table_line

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
    if is_local(options):
        from swiftbox.cli import local_models as local_verbs

        refuse_beside_local(options)
        return local_verbs.listed(options, "dataset")
    query = " ".join(options.query)
    found = catalogue.search_datasets(query)
    exact = catalogue.dataset(query) if query else None
    online = _online(options, query, "datasets")
    if not found and not online:
        raise ConfigError(
            text(f"no dataset found for {query}", f"未找到数据集：{query}"),
            hint=text(
                "try fewer words, or a tag such as sft; --online asks the hub too",
                "请减少关键词，或用 sft 等标签；--online 可同时在社区搜索",
            ),
        )
    shown = found[: options.limit or None]
    if options.json:
        answer(json.dumps(merged([asdict(one) for one in shown], online), ensure_ascii=False))
        return 0
    if exact:
        for line in _dataset_details(exact):
            answer(line)
    elif found:
        _list_datasets(shown)
        if len(found) > len(shown):
            more = len(found) - len(shown)
            say(text(f"{more} more; --limit 0 shows all", f"另有 {more} 个；--limit 0 显示全部"))
    if online:
        _list_online(online, "datasets")
    return 0


def _list_datasets(shown: Sequence[Dataset]) -> None:
    """Print a table of 80 columns."""
    from swiftbox.menu.options.models import table_line

    widths, right = (min(44, max(len(one.name) for one in shown)), 11, 22), (1,)
    head = (text("dataset", "数据集"), text("rows", "行数"), text("about", "内容"))
    answer(table_line(head, widths, right))
    for one in shown:
        rows = f"{one.rows:,}" if one.rows else text("huge", "巨大") if one.huge else "?"
        about = ";".join([*one.languages, *one.tags])
        answer(table_line((one.name, rows, about), widths, right))


def _dataset_details(one: Dataset) -> list[str]:
    """Say all that is known of a dataset, a line each."""
    rows = f"{one.rows:,}" if one.rows else text("very many", "非常多") if one.huge else None
    lines = {
        text("dataset", "数据集"): one.name,
        "Hugging Face": one.hf_id,
        text("rows", "行数"): rows,
        text("subsets", "子集"): ", ".join(one.subsets),
        text("format", "格式"): one.format,
        text("holds", "模态"): one.modality,
        text("languages", "语言"): ", ".join(one.languages),
        text("about", "内容"): ", ".join(one.tags),
    }
    return [f"{key}: {value}" for key, value in lines.items() if value]
