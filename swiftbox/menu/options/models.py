"""What a question for a model or a dataset offers: what is here first, then the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

from swiftbox.data.readers import READERS
from swiftbox.devices.machine import Machine
from swiftbox.fit.source import Found, find_shape, of_row
from swiftbox.fit.table import NOTHING, fit_of
from swiftbox.language import text
from swiftbox.models import catalogue, local
from swiftbox.models.catalogue import UNTRAINED, Dataset, Model
from swiftbox.models.download_request import HUBS
from swiftbox.models.local import Local
from swiftbox.models.requirements import installed, requirements

MachineNow = Callable[[], Machine | None]
"""Gives the machine, None while nobody knows it yet."""

ALL, HERE, FITS, FAMILIES = "all", "here", "fits", "families"
PLAIN = ".txt"
SENSES = ("text", "image", "video", "audio", "omni")


@dataclass(frozen=True)
class Offer:
    """One thing to choose; `value` is what a config names it by."""

    value: str
    name: str
    local: Local | None = None
    row: Model | Dataset | None = None
    family: str = ""
    """Of a family of models: its name; choosing it lists its models."""
    count: int = 0


@dataclass
class Models:
    """The models to choose from; what fits is known once the machine is."""

    machine: MachineNow
    fetched: bool = False
    """Whether it is to be fetched, by its id; else it is used from where it is."""
    trained: bool = True
    """Whether it is to be trained, which it may be too large for here."""
    head: tuple[str, ...] = field(init=False)
    widths: tuple[int, ...] = (38, 5, 7, 10, 5, 5)
    right: tuple[int, ...] = (1, 4)
    """Columns of numbers."""

    def __post_init__(self) -> None:
        self.head = (
            text("model", "模型"),
            "B",
            text("reads", "模态"),
            text("kind", "类型"),
            text("disk", "磁盘"),
            text("fits", "可训"),
        )
        if not self.trained:
            self.head, self.widths = self.head[:-1], (44, *self.widths[1:-1])
        self._fit: Callable[[Found | None], str | None] | None = None
        self._known: dict[str, str | None] = {}

    @cached_property
    def here(self) -> list[Offer]:
        """What is on this machine; looked for once."""
        found = [Offer(_value(one), one.id, one, catalogue.model(one.id)) for one in local.here()]
        return _by_id(found) if self.fetched else found

    def tabs(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        senses = zip(
            SENSES,
            (
                text("text", "文本"),
                text("image", "图像"),
                text("video", "视频"),
                text("audio", "音频"),
                text("omni", "全模态"),
            ),
            strict=True,
        )
        return [
            (ALL, text("all", "全部")),
            (HERE, text("here", "本机")),
            *([(FITS, text("fits", "可训练"))] if self.trained else []),
            *senses,
            (FAMILIES, text("families", "系列")),
        ]

    def find(self, query: str, tab: str, family: str = "") -> list[Offer]:
        """Return what matches, models on this machine first."""
        if tab == FAMILIES and not family:
            return _families(query)
        here = [one for one in self.here if _matches(one, query, tab, family)]
        if tab == HERE:
            return here
        sense = tab if tab in SENSES else None
        rows = catalogue.search(query, modality=sense, family=family or None)
        taken = {one.row.name for one in here if one.row is not None}
        others = [
            Offer(row.name, row.name, row=row)
            for row in rows
            if row.name not in taken and (self.fetched or row.kind not in UNTRAINED)
        ]
        found = [*here, *others]
        if tab == FITS:
            found = [one for one in found if self.fit(one) not in (None, NOTHING)]
        return found

    def fit(self, one: Offer) -> str | None:
        """Name the richest training that fits; `no` for none, None while it is not known."""
        if self._fit is None:
            machine = self.machine()  # once: free memory and versions take their time
            if machine is None:
                return None
            self._fit = fits_on(machine)
        if one.value not in self._known:
            untrained = isinstance(one.row, Model) and one.row.kind in UNTRAINED
            self._known[one.value] = NOTHING if untrained else self._fit(_shape(one))
        return self._known[one.value]

    def cells(self, one: Offer) -> tuple[str, ...]:
        """Return the columns of a row."""
        if one.family:
            count = text(f"{one.count} models", f"{one.count} 个")
            return (one.family, "", "", count, "", "")[: len(self.head)]
        row = one.row if isinstance(one.row, Model) else None
        disk = one.local.size_bytes if one.local else row.disk_bytes if row else None
        kind = (row.kind if row else "?") + ("" if row is None or row.native == "yes" else "*")
        return (
            (text("here ", "本机 ") if one.local else "") + one.name,
            f"{row.params_b:g}" if row and row.params_b else "",
            senses(row) if row else "",
            kind if row else "",
            gigabytes(disk),
            (self.fit(one) or "") if self.trained else "",
        )[: len(self.head)]

    def details(self, one: Offer) -> list[str]:
        """Return two lines on a model: where it is or what it takes, and what it needs."""
        if one.family:
            return [text("Enter lists this family's models", "回车列出该系列的模型")]
        lines = _whole_name(one, self.widths[0])
        lines += [where(one.local)] if one.local else []
        if isinstance(one.row, Model):
            lines.append(brief(one.row))
            lines += [str(said) for said in requirements(one.row)]
        return lines


@dataclass
class Datasets:
    """The datasets to choose from."""

    fetched: bool = False
    """Whether it is to be fetched, by its id."""
    plain: bool = False
    """Whether plain text is learned from; else files of it are no rows."""
    head: tuple[str, ...] = field(init=False)
    widths: tuple[int, ...] = (38, 11, 24)
    right: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        self.head = (text("dataset", "数据集"), text("rows", "行数"), text("about", "内容"))

    @cached_property
    def here(self) -> list[Offer]:
        """What is on this machine: files of the current folder, then what the caches hold."""
        files = [Offer(f"./{one.name}", f"./{one.name}") for one in self._files()]
        kept = [
            Offer(_value(one), one.id, one, catalogue.dataset(one.id))
            for one in local.here("dataset")
        ]
        return _by_id(kept) if self.fetched else [*files, *kept]

    def _files(self) -> list[Path]:
        """Return the data files of the current folder, where text is wanted those of text first."""
        found = [one for one in _data_files(Path.cwd()) if self.plain or one.suffix != PLAIN]
        return sorted(found, key=lambda one: (self.plain and one.suffix != PLAIN, one.name))

    def tabs(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        return [(ALL, text("all", "全部")), (HERE, text("here", "本机"))]

    def find(self, query: str, tab: str, family: str = "") -> list[Offer]:  # noqa: ARG002 - as models
        """Return what matches, datasets on this machine first."""
        words = query.lower().split()
        here = [one for one in self.here if all(word in one.name.lower() for word in words)]
        if tab == HERE:
            return here
        taken = {one.name.lower() for one in here}
        rows = catalogue.search_datasets(query)
        others = [Offer(row.name, row.name, row=row) for row in rows]
        return [*here, *(one for one in others if one.name.lower() not in taken)]

    def cells(self, one: Offer) -> tuple[str, ...]:
        """Return the columns of a row."""
        row = one.row if isinstance(one.row, Dataset) else None
        count = f"{row.rows:,}" if row and row.rows else ""
        about = ";".join([*row.languages, *row.tags]) if row else ""
        size = gigabytes(one.local.size_bytes) if one.local else ""
        is_here = one.local is not None or one.row is None
        mark = text("here ", "本机 ") if is_here else ""
        return (
            mark + one.name,
            count or (text("huge", "巨大") if row and row.huge else size),
            about,
        )

    def details(self, one: Offer) -> list[str]:
        """Return a line on where a dataset is, and which parts it has."""
        lines = _whole_name(one, self.widths[0])
        lines += [where(one.local)] if one.local else []
        row = one.row if isinstance(one.row, Dataset) else None
        if row and row.subsets:
            parts = ", ".join(row.subsets)
            lines.append(text(f"subsets: {parts}", f"子集：{parts}"))
        if row and row.format:
            lines.append(text(f"format: {row.format}", f"格式：{row.format}"))
        return lines


def fits_on(machine: Machine) -> Callable[[Found | None], str | None]:
    """Return what names the richest usual training of a shape that fits a machine."""
    from swiftbox.plan import plan
    from swiftbox.tasks.load import loads

    usual = ["model=owner/name", "dataset=rows.jsonl", "report_to=none"]
    if len(machine.devices) > 1:
        usual.append("distributed=fsdp")
    settled: Any = plan(loads("", source="models", overrides=usual).config, machine).config
    return fit_of(settled.model_copy(update={"gradient_checkpointing": "true"}), machine)


def _whole_name(one: Offer, width: int) -> list[str]:
    """Return the name where its column cuts it; of what is here the folder's line says it."""
    return [one.name] if one.local is None and places(one.name) > width else []


def where(one: Local) -> str:
    """Say where something on this machine is, how much it is, and whether it is whole."""
    whole = "" if one.complete else text(", not complete", "，不完整")
    return f"{one.folder} ({gigabytes(one.size_bytes)}{whole})"


def senses(one: Model) -> str:
    """Return what a model reads in seven letters: text, image, img+vid, i+v+a."""
    parts = one.modality.split("+")
    letters = {1: 7, 2: 3}.get(len(parts), 1)
    return "+".join(
        "img"[:letters] if part == "image" and letters < 7 else part[:letters] for part in parts
    )


def brief(one: Model) -> str:
    """Say the rest that is known of a model on one line."""
    needs = " ".join(filter(None, (one.transformers_spec, one.max_transformers)))
    parts = (
        f"{one.model_type}, {one.stage or one.kind}",
        text("needs Python of its own", "需要自带代码") if one.native != "yes" else "",
        one.quant if one.quant != "none" else "",
        text(f"context {one.context:,}", f"上下文 {one.context:,}") if one.context else "",
        text(f"{one.active_params_b:g} B active", f"激活 {one.active_params_b:g} B")
        if one.active_params_b
        else "",
        f"transformers {needs}" if needs else "",
        f"HF {one.hf_id}" if one.hf_id and one.hf_id != one.id else "",
    )
    return " · ".join(part for part in parts if part)


def full_details(one: Model, fit: str | None) -> list[str]:
    """Say all that is known of a model, a line each."""
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


def gigabytes(count: float | None) -> str:
    """Write a size in three figures: 16G, 1.2G, 480M; ? where it is not known."""
    if count is None:
        return "?"
    if count >= 1e9:
        return f"{count / 1e9:.3g}G" if count < 1e12 else f"{count / 1e12:.3g}T"
    return f"{count / 1e6:.0f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"


def places(line: str) -> int:
    """Return how many places of a terminal a line takes; Chinese letters take two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in line)


def table_line(cells: Sequence[str], widths: Sequence[int], right: Iterable[int]) -> str:
    """Write cells as columns of so many places; what is too long is cut, Chinese counts double."""
    parts = []
    for at, (cell, wide) in enumerate(zip(cells, widths, strict=True)):
        cut = cell
        if places(cut) > wide:
            while places(cut) > wide - 1:
                cut = cut[:-1]
            cut += "~"
        gap = " " * (wide - places(cut))
        parts.append(gap + cut if at in right else cut + gap)
    return " ".join(parts).rstrip()


def _by_id(offers: Iterable[Offer]) -> list[Offer]:
    """Return what hubs have, by the ids that they have it under."""
    return [replace(one, value=one.name) for one in offers if one.local and one.local.where in HUBS]


def _value(one: Local) -> str:
    """Return what a config names a local thing by; an id only where that finds it again."""
    if one.where == HUBS[0] and one.folder.parent.name == "snapshots":
        return one.id  # an unfinished one is gone on with
    if one.where == "folder" and one.id.startswith("./"):
        return one.id
    return shortest(one.folder)


def shortest(folder: Path) -> str:
    """Return a folder as it is named from here: below the current one without what is above."""
    place, here = folder.resolve(), Path.cwd().resolve()
    return str(place.relative_to(here)) if place.is_relative_to(here) else str(place)


def _shape(one: Offer) -> Found | None:
    if one.local is not None and one.local.complete:
        return find_shape(str(one.local.folder), ask=False)  # a list must not wait for it
    return of_row(one.row) if isinstance(one.row, Model) else None


def _matches(one: Offer, query: str, tab: str, family: str) -> bool:
    row = one.row if isinstance(one.row, Model) else None
    if (family and (row is None or row.family != family)) or (
        tab in SENSES and (row is None or tab not in row.modality)
    ):
        return False
    around = f"{one.name} {row.family if row else ''} {row.kind if row else ''}".lower()
    return all(word in around for word in query.lower().split())


def _families(query: str) -> list[Offer]:
    counts: dict[str, int] = {}
    for row in catalogue.models():
        counts[row.family] = counts.get(row.family, 0) + 1
    words = query.lower().split()
    named = sorted(counts, key=lambda name: (-counts[name], name))
    return [
        Offer(name, name, family=name, count=counts[name])
        for name in named
        if all(word in name.lower() for word in words)
    ]


def _data_files(folder: Path) -> list[Path]:
    try:
        found = sorted(one for one in folder.iterdir() if one.suffix in READERS and one.is_file())
    except OSError:
        return []
    return [one for one in found if not one.name.startswith((".", "README", "requirements"))]
