"""A list that narrows while one types: models and datasets, those of this machine first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import (
    BufferControl,
    FormattedTextControl,
    HSplit,
    Layout,
    VSplit,
    Window,
)
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.utils import get_cwidth

from swiftbox.language import text
from swiftbox.menu.options.models import ALL, Offer, table_line
from swiftbox.menu.questions import Back, say

MOST_ROWS = 11
"""With question, views, head, two lines on the row and the keys these fit 24 lines."""

AROUND = 9
"""Lines that are no rows."""

Check = Callable[[str], str]


class Source(Protocol):
    """What is offered: see swiftbox.menu.options.models."""

    head: tuple[str, ...]
    widths: tuple[int, ...]
    right: tuple[int, ...]

    def tabs(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""

    def find(self, query: str, tab: str, family: str = "") -> list[Offer]:
        """Return what matches."""

    def cells(self, one: Offer) -> tuple[str, ...]:
        """Return the columns of a row."""

    def details(self, one: Offer) -> list[str]:
        """Return lines on a row."""


@dataclass
class Picker:
    """The state of the list; what it shows is derived from it."""

    question: str
    source: Source
    check: Check
    current: str = ""
    many: bool = False
    """Whether several are chosen, with Tab."""
    empty: str = ""
    """What to call leaving it empty, where it may be; that is offered first."""
    tab: int = 0
    at: int = 0
    family: str = ""
    chosen: list[str] = field(default_factory=list)
    wrong: str = ""
    marked: bool = False
    """Whether the user has set marks; until then those that are there are a proposal."""
    _found: tuple[tuple[str, int, str], list[Offer]] | None = None

    def __post_init__(self) -> None:
        self.typed = Buffer(multiline=False, on_text_changed=lambda _: self._moved())

    def pick(self) -> list[str]:
        """Show the list until something is chosen; Ctrl-C raises Back."""
        application: Application[list[str] | None] = Application(
            layout=Layout(self._layout()), key_bindings=self._keys(), erase_when_done=True
        )
        # A machine that becomes known meanwhile fills the column of what fits.
        application.refresh_interval = 0.5
        answer = application.run()
        if answer is None:
            raise Back
        say(f"? {self.question} {', '.join(answer) or self.empty}")
        return answer

    @property
    def query(self) -> str:
        """What was typed."""
        return self.typed.text.strip()

    def rows(self) -> list[Offer]:
        """Return what is listed now."""
        state = (self.query, self.tab, self.family)
        if self._found is None or self._found[0] != state:
            self._found = (state, self._listed())
        return self._found[1]

    def _listed(self) -> list[Offer]:
        query = self.query
        if is_path(query):
            own = [Offer(query, query)]
            return [*own, *(Offer(one, one) for one in completions(query) if one != query)]
        tab = self.source.tabs()[self.tab][0]
        found = self.source.find(query, tab, self.family)
        if not query and tab == ALL and self.empty and not self.family:
            found = [Offer("", self.empty), *found]
        if not query and tab == ALL and self.chosen and not self.marked:
            found = sorted(found, key=lambda one: one.value not in self.chosen)
        if not query and tab == ALL and self.current and not self.family:
            now = [one for one in found if one.value == self.current]
            others = [one for one in found if one.value != self.current]
            return [*(now[:1] or [Offer(self.current, self.current)]), *others]
        exact = any(query.lower() in (one.name.lower(), one.value.lower()) for one in found)
        if query and not exact and ("/" in query or not found):
            found = [*found, Offer(query, query)]  # an id that the catalogue does not have
        return found

    # ---- keys

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        path = Condition(lambda: is_path(self.query))

        @keys.add("c-c")
        @keys.add("<sigint>")
        @keys.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(result=None)

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            answer = self._entered()
            if answer is not None:
                event.app.exit(result=answer)

        @keys.add("tab")
        def _(_event: KeyPressEvent) -> None:
            self._tabbed()

        for key, step in (("up", -1), ("down", 1), ("pageup", -MOST_ROWS), ("pagedown", MOST_ROWS)):
            keys.add(key)(lambda _, step=step: self._step(step))
        for key, step in (("left", -1), ("right", 1)):
            keys.add(key, filter=~path)(lambda _, step=step: self._turn(step))

        @keys.add("backspace", filter=Condition(lambda: not self.typed.text and bool(self.family)))
        def _(_event: KeyPressEvent) -> None:
            self.family = ""
            self._moved()

        return keys

    def _moved(self) -> None:
        self.at, self.wrong = 0, ""

    def _step(self, by: int) -> None:
        last = len(self.rows()) - 1
        self.at = max(0, min(last, self.at + by))
        self.wrong = ""

    def _turn(self, by: int) -> None:
        self.tab = (self.tab + by) % len(self.source.tabs())
        self._moved()

    def _tabbed(self) -> None:
        """Complete a path; mark a row where several may be chosen."""
        rows = self.rows()
        if is_path(self.query):
            further = completions(self.query)
            if further:
                chosen = rows[self.at].value if self.at else common(further)
                self._type(chosen)
        elif self.many and rows and not rows[self.at].family:
            value = rows[self.at].value
            if not value:
                return
            (self.chosen.remove if value in self.chosen else self.chosen.append)(value)
            self.marked = True
            self._step(1)

    def _type(self, line: str) -> None:
        self.typed.text = line
        self.typed.cursor_position = len(line)

    def _entered(self) -> list[str] | None:
        """Return the answer; None where Enter led further in, or to what is wrong."""
        rows = self.rows()
        one = rows[self.at] if rows else None
        # Enter on something else than what is proposed means that instead.
        kept = self.marked or one is None or one.value in self.chosen
        if self.many and self.chosen and not self.query and kept:
            return self.chosen
        if one is None:
            self.wrong = text("nothing to choose", "没有可选项")
            return None
        if one.family:
            self.family, self.tab = one.family, 0
            self._type("")
            return None
        if is_path(self.query) and self.at and one.value.endswith("/"):
            self._type(one.value)
            return None
        self.wrong = self.check(one.value)
        if self.wrong:
            return None
        if self.many and one.value and self.marked:
            return [*self.chosen, *([] if one.value in self.chosen else [one.value])]
        return [one.value]

    # ---- what is shown

    def _layout(self) -> HSplit:
        prompt = Window(FormattedTextControl(lambda: f"? {self.question} "), dont_extend_width=True)
        line = VSplit([prompt, Window(BufferControl(self.typed), height=1)], height=1)
        return HSplit([line, Window(FormattedTextControl(self._below), height=self._height)])

    def _height(self) -> Dimension:
        return Dimension.exact(self._space() + AROUND - 2)

    @staticmethod
    def _space() -> int:
        return max(3, min(MOST_ROWS, shutil.get_terminal_size().lines - AROUND))

    def _below(self) -> StyleAndTextTuples:
        lines: StyleAndTextTuples = []
        rows, space = self.rows(), self._space()
        lines += self._views(len(rows))
        if not is_path(self.query):
            lines.append(
                ("", f"    {table_line(self.source.head, self._widths(), self._right())}\n")
            )
        first = max(0, min(self.at - space // 2, len(rows) - space))
        for at, one in enumerate(rows[first : first + space], first):
            lines.append(
                ("bold" if at == self.at else "", self._row(one, here=at == self.at) + "\n")
            )
        if len(rows) > space:
            lines.append(("", f"    {self.at + 1}/{len(rows)}\n"))
        lines.append(("", "\n"))
        lines += [("", self._cut(one) + "\n") for one in self._details(rows)[:2]]
        lines.append(("bold" if self.wrong else "", self._cut(self.wrong or self._instructions())))
        return lines

    def _details(self, rows: list[Offer]) -> list[str]:
        if not rows or is_path(self.query):
            return []
        return self.source.details(rows[min(self.at, len(rows) - 1)])

    def _views(self, count: int) -> StyleAndTextTuples:
        if is_path(self.query):
            return [
                ("", text("  a path on this machine (Tab completes)\n", "  本机路径（Tab 补全）\n"))
            ]
        found: StyleAndTextTuples = [("", "  ")]
        for at, (_, title) in enumerate(self.source.tabs()):
            chosen = at == self.tab
            found.append(("bold" if chosen else "", f"[{title}] " if chosen else f" {title}  "))
        family = text(f" family {self.family}", f" 系列 {self.family}") if self.family else ""
        marked = text(f" marked {len(self.chosen)}", f" 已选 {len(self.chosen)}")
        nothing = "" if count else text(" nothing found", " 未找到")
        return [*found, ("", family + (marked if self.chosen else "") + nothing + "\n")]

    def _row(self, one: Offer, *, here: bool) -> str:
        mark = " »" if here else "  "
        chosen = ("+ " if one.value in self.chosen else "  ") if self.many else " "
        known = one.row is not None or one.local is not None or one.family
        if is_path(self.query) or not (known or one in getattr(self.source, "here", ())):
            return self._cut(mark + chosen + one.name)
        return mark + chosen + table_line(self.source.cells(one), self._widths(), self._right())

    def _widths(self) -> tuple[int, ...]:
        """Return the columns' widths; a wide terminal shows long names whole."""
        spare = max(0, min(24, shutil.get_terminal_size().columns - 80))
        first, *others = self.source.widths
        return (first + spare, *others)

    def _right(self) -> tuple[int, ...]:
        return self.source.right

    def _instructions(self) -> str:
        if self.many:
            return text(
                "type to search, or an id; Tab marks, Enter; left/right: views; Ctrl-C: back",
                "输入以搜索或 id；方向键，Tab 多选，回车；左右键换视图；Ctrl-C 返回",
            )
        return text(
            "type to search, or a path; arrows, Enter; left/right: views; Ctrl-C: back",
            "输入以搜索或路径；方向键，回车；左右键换视图；Ctrl-C 返回",
        )

    @staticmethod
    def _cut(line: str) -> str:
        width = shutil.get_terminal_size().columns - 1
        while get_cwidth(line) > width:
            line = line[:-1]
        return line


def is_path(typed: str) -> bool:
    """Tell whether what is typed is a path, not a search or an id."""
    name = typed.partition("#")[0]
    return typed.startswith((".", "/", "~")) or ("/" in name and Path(name).exists())


def completions(typed: str) -> list[str]:
    """Return the paths that begin with what is typed, folders with a slash behind."""
    head, slash, tail = typed.rpartition("/")
    folder = Path(head + slash if slash else ".").expanduser()
    try:
        found = sorted(folder.iterdir(), key=lambda one: one.name.lower())
    except OSError:
        return []
    names = [one for one in found if one.name.startswith(tail)]
    shown = [one for one in names if tail.startswith(".") or not one.name.startswith(".")]
    return [f"{head}{slash}{one.name}{'/' if one.is_dir() else ''}" for one in shown]


def common(paths: list[str]) -> str:
    """Return what all paths begin with."""
    shortest = min(paths, key=len)
    same = (at for at, letter in enumerate(shortest) if any(one[at] != letter for one in paths))
    return shortest[: next(same, len(shortest))]
