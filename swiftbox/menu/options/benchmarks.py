"""What the questions for adapters, benchmarks, deployments and further models offer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from swiftbox.evaluation.benchmarks import SAMPLES
from swiftbox.language import text
from swiftbox.menu.options.models import ALL, HERE, MachineNow, Models, Offer, shortest
from swiftbox.models import catalogue
from swiftbox.models import local_adapters as adapters_here
from swiftbox.models.catalogue import Benchmark
from swiftbox.models.local_adapters import Kept
from swiftbox.runs import folder as run_folder

NAMED = ("ceval", "mmlu", "cmmlu", "gsm8k", "ifeval", "arc", "hellaswag", "humaneval")
"""Benchmarks that most people ask for: listed first."""

CATEGORIES = ("llm", "vlm", "agent", "aigc")


def _has(words: str, *parts: str) -> bool:
    around = " ".join(parts).lower()
    return all(word in around for word in words.lower().split())


class _Own:
    """A source without views or families."""

    head: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    right: tuple[int, ...] = ()

    def tabs(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        return [(ALL, text("on this machine", "本机"))]


def tail(name: str) -> str:
    """Return what people know a model by: an id whole, of a folder its last two names."""
    return "/".join(Path(name).parts[-2:]) if name.startswith(("/", "~", ".")) else name


@dataclass
class Adapters(_Own):
    """The adapters on this machine: results of runs, the newest first, then folders."""

    head: tuple[str, ...] = field(init=False)
    widths: tuple[int, ...] = (37, 24, 11)

    def __post_init__(self) -> None:
        self.head = (text("adapter", "适配器"), text("base", "基座"), text("made", "时间"))

    @cached_property
    def _kept(self) -> dict[str, Kept]:
        return {named(one.folder): one for one in adapters_here.here()}

    @cached_property
    def here(self) -> list[Offer]:
        """What is on this machine; looked for once."""
        return [Offer(value, one.name) for value, one in self._kept.items()]

    def find(self, query: str, tab: str, family: str = "") -> list[Offer]:  # noqa: ARG002
        """Return what matches."""
        kept = self._kept
        return [one for one in self.here if _has(query, one.value, one.name, kept[one.value].base)]

    def cells(self, one: Offer) -> tuple[str, ...]:
        """Return the columns of a row."""
        kept = self._kept[one.value]
        made = time.strftime("%m-%d %H:%M", time.localtime(kept.made))
        return (one.name, tail(kept.base), made)

    def details(self, one: Offer) -> list[str]:
        """Return lines on a row."""
        kept = self._kept.get(one.value)
        return [f"{one.value}  {kept.kind}", kept.base] if kept else []


def named(folder: Path) -> str:
    """Return a folder as a config names it: one of this folder with `./`, so that it is a path."""
    name = shortest(folder)
    return name if "/" in name else f"./{name}"


@dataclass
class Comparable:
    """What a model is compared with: further adapters, and models."""

    machine: MachineNow
    base: bool = False
    """Whether the base itself can be named as such, by the word `base`."""
    head: tuple[str, ...] = field(init=False)
    widths: tuple[int, ...] = field(init=False)
    right: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._models = Models(self.machine, trained=False)
        self._adapters = Adapters()
        self.head, self.widths = self._models.head, self._models.widths
        self.right = self._models.right

    @cached_property
    def here(self) -> list[Offer]:
        """What is on this machine."""
        return [*self._adapters.here, *self._models.here]

    @cached_property
    def _bases(self) -> list[Offer]:
        name = text("base: the adapter's own base", "base：适配器的基座")
        return [Offer("base", name)] if self.base else []

    def tabs(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        return [*self._models.tabs()[:2], ("adapters", text("adapters", "适配器"))]

    def find(self, query: str, tab: str, family: str = "") -> list[Offer]:
        """Return what matches, adapters first."""
        adapters = self._adapters.find(query, ALL)
        if tab == "adapters":
            return adapters
        bases = self._bases if not query else []
        return [*bases, *adapters, *self._models.find(query, tab if tab == HERE else ALL, family)]

    def cells(self, one: Offer) -> tuple[str, ...]:
        """Return the columns of a row."""
        if one in self._adapters.here:
            name, _, _ = self._adapters.cells(one)
            kind = text("adapter", "适配器")
            return (text("here ", "本机 ") + name, "", "", kind, "")
        return self._models.cells(one)

    def details(self, one: Offer) -> list[str]:
        """Return lines on a row."""
        return self._adapters.details(one) or self._models.details(one)


@dataclass
class Benchmarks(_Own):
    """The benchmarks: what is shipped first, then what most people ask for, then all others."""

    head: tuple[str, ...] = field(init=False)
    widths: tuple[int, ...] = (26, 21, 6, 20)
    right: tuple[int, ...] = (2,)

    def __post_init__(self) -> None:
        self.head = (
            text("benchmark", "评测集"),
            text("task", "任务类型"),
            text("rows", "题数"),
            text("about", "内容"),
        )

    @cached_property
    def _rows(self) -> dict[str, Benchmark]:
        found = {one.name: one for one in catalogue.benchmarks()}
        first = [name for name in NAMED if name in found]
        return {name: found[name] for name in dict.fromkeys([*first, *found])}

    @cached_property
    def here(self) -> list[Offer]:
        """All of them: every row has columns."""
        return [Offer(name, name) for name in (*SAMPLES, *self._rows)]

    def tabs(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        titles = (
            text("language", "语言"),
            text("images", "视觉"),
            text("agents", "智能体"),
            text("drawing", "生成"),
        )
        return [(ALL, text("all", "全部")), *zip(CATEGORIES, titles, strict=True)]

    def find(self, query: str, tab: str, family: str = "") -> list[Offer]:  # noqa: ARG002
        """Return what matches."""
        found = []
        for one in self.here:
            row = self._rows.get(one.value)
            about = [one.value, one.name]
            if row is not None:
                about += [row.title or "", row.task_type or "", *row.tags]
            in_view = tab in (ALL, "llm") if row is None else tab in (ALL, row.category)
            if in_view and _has(query, *about):
                found.append(one)
        return found

    def cells(self, one: Offer) -> tuple[str, ...]:
        """Return the columns of a row."""
        row = self._rows.get(one.value)
        if row is None:
            return (one.name, text("sample, offline", "样例，离线"), "", SAMPLES[one.value])
        count = f"{row.samples}" if row.samples else ""
        return (one.name, row.task_type or "", count, ", ".join(row.tags))

    def details(self, one: Offer) -> list[str]:
        """Return lines on a row."""
        row = self._rows.get(one.value)
        if row is None:
            own = text("small, of our own making: to try an evaluation", "自带小样本，供试用")
            return [own] if one.value in SAMPLES else []
        shots = text(f"{row.few_shot or 0} examples shown", f"示例数 {row.few_shot or 0}")
        judged = ", ".join(row.metrics)
        lines = [f"{row.title or row.name}: {row.dataset_id or '?'}; {shots}; {judged}"]
        if row.sandbox:
            lines.append(
                text(
                    "runs code that the model wrote: needs a sandbox",
                    "会执行模型写的代码：需要沙箱",
                )
            )
        return lines


@dataclass
class Endpoints(_Own):
    """Deployments that run now, by their addresses."""

    head: tuple[str, ...] = field(init=False)
    widths: tuple[int, ...] = (32, 42)

    def __post_init__(self) -> None:
        self.head = (text("address", "地址"), text("deployment", "部署"))

    @cached_property
    def _running(self) -> dict[str, str]:
        return {url: one.name for one, url in deployments()}

    @cached_property
    def here(self) -> list[Offer]:
        """What runs now; looked for once."""
        return [Offer(url, url) for url in self._running]

    def find(self, query: str, tab: str, family: str = "") -> list[Offer]:  # noqa: ARG002
        """Return what matches."""
        return [one for one in self.here if _has(query, one.value, self._running[one.value])]

    def cells(self, one: Offer) -> tuple[str, ...]:
        """Return the columns of a row."""
        return (one.value, self._running[one.value])

    def details(self, one: Offer) -> list[str]:  # noqa: ARG002
        """Return lines on a row."""
        return []


def deployments() -> list[tuple[run_folder.Run, str]]:
    """Return the runs that serve a model now, with their addresses."""
    found = ((one, str(one.state.get("url") or "")) for one in run_folder.runs())
    return [(one, url) for one, url in found if url and one.is_active]
