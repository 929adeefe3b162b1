"""`models` and `datasets`: the catalogue, offline; with --online what the hub lists too."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.cli.output import DONE, answer, answer_json, note, say
from swiftbox.errors import ConfigError
from swiftbox.formatting import near, size, table_row, wrap
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.catalogue import NON_GENERATIVE, NOT_TRAINABLE, Dataset, Model

if TYPE_CHECKING:  # what asks over the network is loaded only to ask
    from swiftbox.hub.online import SearchHit

Row = tuple[Model, str | None]
"""A model and the richest training that fits: full, lora, qlora, no, or None when unknown."""


def models(options: argparse.Namespace) -> int:
    """Find models in the catalogue, and show how each can be trained."""
    if is_local(options):
        return list_local(options, "model")
    query = " ".join(options.query)
    normalize_filters(options)
    online = search_online(options, query, "models")
    exact = catalogue.model(query) if query else None
    if not query and not has_filters(options):
        return show_counts(options)
    rows = matching_rows(query, options, exact)
    if not rows and not online:
        raise no_models(query, options, exact)
    if options.json:
        listed = [{**asdict(model), "fit": fit} for model, fit in rows[: options.limit or None]]
        answer_json(merged(listed, online))
        return DONE
    if exact and rows:
        from swiftbox.models.description import details

        for line in details(exact, rows[0][1]):
            answer(line)
    elif rows:
        print_models(rows, options.limit)
    if online:
        print_online(online, "models")
    return DONE


def has_filters(options: argparse.Namespace) -> bool:
    """Tell whether an option narrows the catalogue."""
    filters = (options.modality, options.kind, options.family, options.max_size, options.native)
    return any((*filters, options.fits, options.on, options.online))


def matching_rows(query: str, options: argparse.Namespace, exact: Model | None) -> list[Row]:
    """Return the models that match the words and the filters, with what fits."""
    matches = [exact] if exact else matching_models(query, options)
    if options.fits and options.kind is None and not exact:
        matches = [model for model in matches if model.kind not in NOT_TRAINABLE]
    fit_of = fit_function(options)
    rows = [(model, fit_of(model)) for model in matches]
    if options.fits:
        rows = [(model, fit) for model, fit in rows if fit not in (None, "no")]
    return rows


def matching_models(query: str, options: argparse.Namespace) -> list[Model]:
    """Return the models that match the words and the filters of their rows."""
    matches = catalogue.search(
        query, modality=options.modality, kind=options.kind, family=options.family
    )
    if options.max_size is not None:
        limit = options.max_size
        matches = [model for model in matches if model.params_b and model.params_b <= limit]
    if options.native:
        matches = [model for model in matches if model.native == "yes"]
    return matches


def fit_function(options: argparse.Namespace) -> Callable[[Model], str | None]:
    """Return the function that finds the richest training of a model on this machine, or --on."""
    from swiftbox.devices.hypothetical import hypothetical_machine
    from swiftbox.devices.probe import probe
    from swiftbox.fit.profile import profile_of_row
    from swiftbox.menu.options.training_fit import training_that_fits

    fit = training_that_fits(hypothetical_machine(options.on) if options.on else probe(Path.cwd()))
    # No method trains these kinds, however small the model is.
    return lambda row: "no" if row.kind in NOT_TRAINABLE else fit(profile_of_row(row))


# ---- what is on this machine


def is_local(options: argparse.Namespace) -> bool:
    """Tell whether the local models are meant, not the catalogue."""
    return bool(options.local or options.verify or options.remove)


def list_local(options: argparse.Namespace, kind: str) -> int:
    """List, verify or remove what is on this machine."""
    from swiftbox.cli import local_models

    refuse_filters(options)
    return local_models.list_local(options, "model" if kind == "model" else "dataset")


def refuse_filters(options: argparse.Namespace) -> None:
    """Raise ConfigError for options that do not apply to local models."""
    names = ("modality", "kind", "family", "max_size", "native", "fits", "on", "online")
    flags = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name, None)]
    if not flags:
        return
    listed = ", ".join(flags)
    raise ConfigError(
        text(
            f"{listed}: not with --local, --verify and --remove",
            f"{'、'.join(flags)}：不能与 --local、--verify、--remove 同用",
        ),
        hint=text("filter with words instead", "可用关键词筛选"),
    )


# ---- filters and errors


def normalize_filters(options: argparse.Namespace) -> None:
    """Accept kind and family in any case; raise ConfigError for values no model has."""
    for name in ("kind", "family"):
        value = getattr(options, name)
        if value is None:
            continue
        values = {str(getattr(row, name)) for row in catalogue.models()}
        by_lower = {known.lower(): known for known in values}
        if value.lower() not in by_lower:
            raise unknown_filter(f"--{name} {value}", value, by_lower)
        setattr(options, name, by_lower[value.lower()])


def unknown_filter(option: str, value: str, by_lower: dict[str, str]) -> ConfigError:
    """Return the error for a kind or family that no model has."""
    similar = near(value.lower(), by_lower, limit=5, cutoff=0.5)
    listed = ", ".join([by_lower[name] for name in similar] or sorted(by_lower.values())[:14])
    return ConfigError(
        text(f"{option}: no such models", f"{option}：没有这样的模型"),
        hint=text(f"such as {listed}", f"例如 {listed}"),
    )


def no_models(query: str, options: argparse.Namespace, exact: Model | None) -> ConfigError:
    """Return the error for an empty result, which names the words or the filters."""
    machine = f" (--on {options.on})" if options.on else text(" on this machine", "（本机）")
    if exact is not None:
        command = f"swiftbox models --family '{exact.family}' --fits"
        command += f" --on {options.on}" if options.on else ""
        return ConfigError(
            text(f"{exact.name} cannot be trained{machine}", f"{exact.name} 无法训练{machine}"),
            hint=text(f"models of its family that fit: {command}", f"同系列中可训练的：{command}"),
        )
    if options.kind in NOT_TRAINABLE and options.fits:
        return ConfigError(
            text(
                f"no method here trains models of kind {options.kind}",
                f"没有方法可训练 {options.kind} 类模型",
            ),
            hint=text("leave out --fits to list them", "去掉 --fits 即可列出"),
        )
    if not query or catalogue.search(query):
        return ConfigError(
            text("no model is left by these filters", "没有符合这些条件的模型"),
            hint=text("leave one of them out", "请去掉其中一个条件"),
        )
    similar = ", ".join(catalogue.similar(query))
    return ConfigError(
        text(f"no model found for {query}", f"未找到模型：{query}"),
        hint=text(f"near: {similar}", f"相近：{similar}") if similar else online_hint(),
    )


def online_hint() -> str:
    """Return the hint to search the hub."""
    return text("--online searches the hub too", "--online 可同时在社区搜索")


# ---- the hub


def search_online(options: argparse.Namespace, query: str, kind: str) -> tuple[SearchHit, ...]:
    """Return what the hub lists with --online; note why when it cannot be reached."""
    if not options.online:
        return ()
    from swiftbox.hub.online import search

    result = search(query, kind=kind)
    if result.problem:
        note(result.problem)
    return result.hits


def merged(rows: list[dict[str, Any]], online: Sequence[SearchHit]) -> list[dict[str, Any]]:
    """Add what the hub says to the rows of the catalogue; append what only the hub has."""
    if not online:
        return rows
    unmatched = {entry.id.lower(): asdict(entry) for entry in online}
    known = []
    for row in rows:
        names = [str(row[key]).lower() for key in ("id", "hf_id") if row[key]]
        matches = [unmatched.pop(name) for name in names if name in unmatched]
        known.append({**row, "online": matches[0] if matches else None})
    return [*known, *({"id": entry["id"], "online": entry} for entry in unmatched.values())]


def print_online(online: Sequence[SearchHit], kind: str) -> None:
    """Print what the hub lists: downloads, size, licence; + marks what the catalogue lacks."""
    known = catalogue.model if kind == "models" else catalogue.dataset
    hub = online[0].hub
    answer(
        text(f"on {hub}, by downloads (+: not in the catalogue)", f"{hub} 按下载量（+：目录外）")
    )
    for entry in online:
        mark = "" if known(entry.id) else " +"
        disk = size(entry.size_bytes) if entry.size_bytes else ""
        downloads = f"{entry.downloads:,}" if entry.downloads is not None else "?"
        line = f"{entry.id + mark:<44} {downloads:>12} {disk:>9} {entry.license or '':.20}"
        answer(line.rstrip())


# ---- what is printed


def show_counts(options: argparse.Namespace) -> int:
    """Print the number of models in the catalogue."""
    language = [row for row in catalogue.models() if row.kind not in NON_GENERATIVE]
    counts = {
        "text": sum(row.modality == "text" for row in language),
        "multimodal": sum(row.modality != "text" for row in language),
        "embedding_and_reranker": len(catalogue.models()) - len(language),
        "datasets": len(catalogue.datasets()),
        "benchmarks": len(catalogue.benchmarks()),
    }
    if options.json:
        answer_json(counts)
        return DONE
    names = {
        "text": text("text models", "文本模型"),
        "multimodal": text("multimodal models", "多模态模型"),
        "embedding_and_reranker": text("embedding models and rerankers", "嵌入与重排模型"),
        "datasets": text("datasets", "数据集"),
        "benchmarks": text("benchmarks", "评测基准"),
    }
    for key, count in counts.items():
        answer(f"{count:>5}  {names[key]}")
    families = Counter(row.family for row in language).most_common(12)
    listed = ", ".join(f"{name} {count}" for name, count in families)
    line = text(f"families: {listed}, ...", f"系列：{listed} 等")
    for part in wrap(line, 79, indent="  "):
        answer(part)
    say(text("next: swiftbox models qwen --fits", "下一步：swiftbox models qwen --fits"))
    return DONE


def print_models(rows: Sequence[Row], limit: int) -> None:
    """Print a table of 80 columns."""
    from swiftbox.models.description import kind_of, modalities

    shown = rows[: limit or None]
    name_width = min(38, max(len(model.name) for model, _ in shown))
    widths, right = (name_width, 5, 7, 11, 9, 5), (1, 4)
    head = (text("model", "模型"), "B", text("reads", "模态"), text("kind", "类型"))
    answer(table_row((*head, text("disk", "磁盘"), text("fits", "可训")), widths, right=right))
    for model, fit in shown:
        parameters = f"{model.params_b:g}" if model.params_b else "?"
        disk = size(model.disk_bytes) if model.disk_bytes else "?"
        cells = (model.name, parameters, modalities(model), kind_of(model), disk, fit or "?")
        answer(table_row(cells, widths, right=right))
    say_more(len(rows) - len(shown))
    if any(model.native != "yes" for model, _ in shown):
        say(text("* runs Python code from its repository", "* 需要运行模型自带的代码"))


def say_more(hidden: int) -> None:
    """Report how many rows --limit hides."""
    if hidden > 0:
        say(text(f"{hidden} more; --limit 0 shows all", f"另有 {hidden} 个；--limit 0 显示全部"))


# ---- datasets


def datasets(options: argparse.Namespace) -> int:
    """Find datasets in the catalogue, or on this machine."""
    if is_local(options):
        return list_local(options, "dataset")
    query = " ".join(options.query)
    matches = catalogue.search_datasets(query)
    exact = catalogue.dataset(query) if query else None
    online = search_online(options, query, "datasets")
    if not matches and not online:
        raise no_datasets(query)
    shown = matches[: options.limit or None]
    if options.json:
        from swiftbox.models.dataset_columns import reading_of

        rows = [{**asdict(dataset), "reading": reading_of(dataset)} for dataset in shown]
        answer_json(merged(rows, online))
        return DONE
    if exact:
        for line in dataset_details(exact):
            answer(line)
    elif matches:
        print_datasets(shown)
        say_more(len(matches) - len(shown))
    if online:
        print_online(online, "datasets")
    return DONE


def no_datasets(query: str) -> ConfigError:
    """Return the error for a search without result."""
    return ConfigError(
        text(f"no dataset found for {query}", f"未找到数据集：{query}"),
        hint=text(
            "try fewer words, or a tag such as sft; --online searches the hub too",
            "请减少关键词，或用 sft 等标签；--online 可同时在社区搜索",
        ),
    )


def print_datasets(shown: Sequence[Dataset]) -> None:
    """Print a table of 80 columns."""
    from swiftbox.models.description import terms

    widths, right = (min(44, max(len(dataset.name) for dataset in shown)), 11, 22), (1,)
    head = (text("dataset", "数据集"), text("rows", "行数"), text("about", "内容"))
    answer(table_row(head, widths, right=right))
    for dataset in shown:
        about = terms([*dataset.languages, *dataset.tags])
        answer(table_row((dataset.name, row_count(dataset) or "?", about), widths, right=right))


def row_count(dataset: Dataset) -> str:
    """Write the number of rows; empty when it is unknown."""
    if dataset.rows:
        return f"{dataset.rows:,}"
    return text("huge", "极多") if dataset.huge else ""


def dataset_details(dataset: Dataset) -> Iterable[str]:
    """Return the details of a dataset, one per line."""
    from swiftbox.models.dataset_columns import known_columns, reason_of
    from swiftbox.models.description import term, terms
    from swiftbox.models.known_columns import column_details

    fields = {
        text("dataset", "数据集"): dataset.name,
        "Hugging Face": dataset.hf_id,
        text("rows", "行数"): row_count(dataset),
        text("subsets", "子集"): ", ".join(dataset.subsets),
        text("format", "格式"): dataset.format,
        **column_details(dataset),
        text("note", "注意"): reason_of(known_columns(dataset)),
        text("modality", "模态"): term(dataset.modality or ""),
        text("languages", "语言"): terms(dataset.languages),
        text("about", "内容"): terms(dataset.tags),
    }
    return [f"{key}{text(': ', '：')}{value}" for key, value in fields.items() if value]
