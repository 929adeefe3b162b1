"""A list that narrows while one types; what it shows is derived from a small state.

Arrows move, left and right change the view, Tab marks a row (or completes a path), Enter takes the
row, Ctrl-C raises Back. What begins like a path lists folders and files instead of the source.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

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

from swiftbox.formatting import cut, pad, table_row, width
from swiftbox.language import text
from swiftbox.menu.options.option import ALL, Option, OptionSource
from swiftbox.menu.questions import Back
from swiftbox.menu.terminal import columns, fitting, print_line
from swiftbox.security.printable import printable

MAX_ROWS = 11
"""With question, views, titles, two lines of details and the keys these fit 24 lines."""

OTHER_LINES = 9
"""Lines of the screen that are not rows."""

DETAIL_LINES = 2

VIEW_MARGIN = 3
"""Cells around the title of a view: brackets or spaces."""

REFRESH_S = 0.5
"""A machine whose probe answers meanwhile fills the column of what fits."""

MIN_NAME_CELLS = 22
"""A terminal too narrow for names of this width and all columns shows fewer columns."""

MAX_SPARE_CELLS = 24
"""How much a wide terminal widens the column of names."""

Check = Callable[[str], str]
"""Returns what is wrong with an answer; an empty string if it is valid."""


@dataclass
class Picker:
    """The state of the list."""

    question: str
    source: OptionSource
    check: Check
    current: str = ""
    """The value so far, which is offered first."""
    many: bool = False
    """Whether several may be chosen, with Tab."""
    empty: str = ""
    """The title of the empty answer, which is offered first; without one it is not allowed."""
    view: int = 0
    position: int = 0
    family: str = ""
    marked: list[str] = field(default_factory=list)
    error: str = ""
    marks_are_chosen: bool = False
    """Whether the user has set marks; before that they are a proposal."""
    _listed: tuple[tuple[str, int, str], list[Option]] | None = None

    def __post_init__(self) -> None:
        self.typed = Buffer(multiline=False, on_text_changed=lambda _: self._restart())

    def pick(self) -> list[str]:
        """Show the list until something is chosen; Ctrl-C raises Back."""
        application: Application[list[str] | None] = Application(
            layout=Layout(self._layout()), key_bindings=self._keys(), erase_when_done=True
        )
        application.refresh_interval = REFRESH_S
        answer = application.run()
        if answer is None:
            raise Back
        names = text(", ", "、").join(answer)
        print_line(printable(f"? {self.question} {names or self.empty}"))
        return answer

    @property
    def query(self) -> str:
        """What was typed."""
        return self.typed.text.strip()

    def rows(self) -> list[Option]:
        """Return the rows listed now; looked up again when query, view or family change."""
        state = (self.query, self.view, self.family)
        if self._listed is None or self._listed[0] != state:
            self._listed = (state, self._find())
        return self._listed[1]

    def _find(self) -> list[Option]:
        query = self.query
        if is_path(query):
            others = [path for path in path_completions(query) if path != query]
            return [Option(path, path) for path in (query, *others)]
        view = self.source.views()[self.view][0]
        options = self.source.find(query, view, self.family)
        if query:
            return self._with_typed(options)
        return self._with_proposals(options) if view == ALL and not self.family else options

    def _with_typed(self, options: list[Option]) -> list[Option]:
        """Return the options and, if it may be an id that is not listed, what was typed."""
        query = self.query
        exact = any(query.lower() in (row.name.lower(), row.value.lower()) for row in options)
        if exact or ("/" not in query and options):
            return options
        return [*options, Option(query, query)]

    def _with_proposals(self, options: list[Option]) -> list[Option]:
        """Return the options with the current value, the marks and the empty answer first."""
        if self.empty:
            options = [Option("", self.empty), *options]
        if self.marked and not self.marks_are_chosen:
            options = sorted(options, key=lambda row: row.value not in self.marked)
        if self.current:
            current = [row for row in options if row.value == self.current][:1]
            others = [row for row in options if row.value != self.current]
            return [*(current or [Option(self.current, self.current)]), *others]
        return options

    # ---- keys

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        typing_path = Condition(lambda: is_path(self.query))

        @keys.add("c-c")
        @keys.add("<sigint>")
        @keys.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(result=None)

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            answer = self._enter()
            if answer is not None:
                event.app.exit(result=answer)

        @keys.add("tab")
        def _(_event: KeyPressEvent) -> None:
            self._complete_or_mark()

        for key, step in (("up", -1), ("down", 1), ("pageup", -MAX_ROWS), ("pagedown", MAX_ROWS)):
            keys.add(key)(lambda _, step=step: self._move(step))
        for key, step in (("left", -1), ("right", 1)):
            keys.add(key, filter=~typing_path)(lambda _, step=step: self._change_view(step))

        @keys.add("backspace", filter=Condition(lambda: not self.typed.text and bool(self.family)))
        def _(_event: KeyPressEvent) -> None:
            self.family = ""
            self._restart()

        return keys

    def _restart(self) -> None:
        self.position, self.error = 0, ""

    def _move(self, step: int) -> None:
        last = len(self.rows()) - 1
        self.position = max(0, min(last, self.position + step))
        self.error = ""

    def _change_view(self, step: int) -> None:
        self.view = (self.view + step) % len(self.source.views())
        self._restart()

    def _complete_or_mark(self) -> None:
        """Complete a path; otherwise mark the row if several may be chosen."""
        rows = self.rows()
        if is_path(self.query):
            paths = path_completions(self.query)
            if paths:
                self._type(rows[self.position].value if self.position else common_prefix(paths))
            return
        if not self.many or not rows:
            return
        row = rows[self.position]
        if row.value and not row.family:
            (self.marked.remove if row.value in self.marked else self.marked.append)(row.value)
            self.marks_are_chosen = True
            self._move(1)

    def _type(self, line: str) -> None:
        self.typed.text = line
        self.typed.cursor_position = len(line)

    def _enter(self) -> list[str] | None:
        """Return the answer; None if Enter led further in, or if the answer is wrong."""
        rows = self.rows()
        row = rows[self.position] if rows else None
        if self.many and self.marked and self._takes_marks(row):
            return self.marked
        if row is None:
            self.error = text("nothing to choose", "没有可选项")
            return None
        if row.family:
            self.family, self.view = row.family, 0
            self._type("")
            return None
        if is_path(self.query) and self.position and row.value.endswith("/"):
            self._type(row.value)
            return None
        self.error = self.check(row.value)
        if self.error:
            return None
        if self.many and is_path(self.query) and self.marks_are_chosen:
            return [*self.marked, *([] if row.value in self.marked else [row.value])]
        return [row.value]

    def _takes_marks(self, row: Option | None) -> bool:
        """Tell whether Enter takes the marked rows and no other; a typed path joins them.

        A family that was searched for leads further in. Without marks of the user, a search or a
        row that is not proposed replaces the proposal.
        """
        if self.marks_are_chosen:
            leads_in = bool(self.query and row is not None and row.family)
            return not leads_in and not is_path(self.query)
        return not self.query and (row is None or row.value in self.marked)

    # ---- what is shown

    def _layout(self) -> HSplit:
        prompt = Window(FormattedTextControl(lambda: f"? {self.question} "), dont_extend_width=True)
        line = VSplit([prompt, Window(BufferControl(self.typed), height=1)], height=1)
        return HSplit([line, Window(FormattedTextControl(self._below), height=self._height)])

    def _height(self) -> Dimension:
        return Dimension.exact(_row_space() + OTHER_LINES - 2)

    def _below(self) -> StyleAndTextTuples:
        """Return the lines below the question."""
        rows, space = self.rows(), _row_space()
        lines = self._views(len(rows))
        if not is_path(self.query):
            titles = self._table_row(self.source.columns.titles)
            lines.append(("", " " * self._indent + titles + "\n"))
        start = max(0, min(self.position - space // 2, len(rows) - space))
        for at, row in enumerate(rows[start : start + space], start):
            style = "bold" if at == self.position else ""
            lines.append((style, self._row(row, current=at == self.position) + "\n"))
        if len(rows) > space:
            lines.append(("", f"    {self.position + 1}/{len(rows)}\n"))
        lines.append(("", "\n"))
        lines += [("", _cut_line(line) + "\n") for line in self._details(rows)[:DETAIL_LINES]]
        footer = self.error or self._key_help()
        lines.append(("bold" if self.error else "", _cut_line(footer)))
        return lines

    def _details(self, rows: list[Option]) -> list[str]:
        if not rows or is_path(self.query):
            return []
        return self.source.details(rows[min(self.position, len(rows) - 1)])

    def _views(self, count: int) -> StyleAndTextTuples:
        """Return the line of the views: the current one in brackets, the family, the marks."""
        if is_path(self.query):
            help_line = text("  a path on this machine (Tab completes)", "  本机路径（Tab 补全）")
            return [("", _cut_line(help_line) + "\n")]
        notes = ""
        if self.family:
            family = printable(self.family)
            notes += text(f" family {family}", f" 系列 {family}")
        if self.marked:
            notes += text(f" marked {len(self.marked)}", f" 已选 {len(self.marked)}")
        if not count:
            notes += text(" nothing found", " 未找到")
        parts: StyleAndTextTuples = [("", "  ")]
        for at, title in self._visible_views(columns() - width(notes) - 2):
            current = at == self.view
            parts.append(("bold" if current else "", f"[{title}] " if current else f" {title}  "))
        return [*parts, ("", notes + "\n")]

    def _visible_views(self, room: int) -> list[tuple[int, str]]:
        """Return the views that fit, with their places; the current one is always among them."""
        views = [(at, title) for at, (_, title) in enumerate(self.source.views())]
        while len(views) > 1 and sum(width(title) + VIEW_MARGIN for _, title in views) > room:
            views.pop(0 if views[-1][0] == self.view else -1)
        return views

    @property
    def _indent(self) -> int:
        """The cells of the pointer and the mark in front of a row."""
        return 4 if self.many else 3

    def _row(self, row: Option, *, current: bool) -> str:
        mark = "+" if self.many and row.value in self.marked else " "
        start = pad((" »" if current else "  ") + mark, self._indent)
        has_cells = row.row is not None or row.local is not None or row.family
        if is_path(self.query) or not (has_cells or row in self.source.local):
            return _cut_line(start + row.name)
        cells = tuple(printable(cell) for cell in self.source.cells(row))
        return start + self._table_row(cells)

    def _table_row(self, cells: tuple[str, ...]) -> str:
        """Align cells in the columns that fit; a wide terminal shows long names in full."""
        name_cells, *others = self.source.columns.widths
        room = columns() - self._indent
        while others and MIN_NAME_CELLS + sum(others) + len(others) > room:
            others.pop()
        name_cells = min(name_cells + MAX_SPARE_CELLS, room - sum(others) - len(others))
        widths = (name_cells, *others)
        return table_row(cells[: len(widths)], widths, self.source.columns.right)

    def _key_help(self) -> str:
        if self.many:
            return fitting(
                text(
                    "type to search, or an id; Tab marks, Enter; left/right: views; Ctrl-C: back",
                    "输入以搜索或 id；方向键，Tab 多选，回车；左右键换视图；Ctrl-C 返回",
                ),
                text("type; Tab marks, Enter; Ctrl-C: back", "输入，Tab 多选，回车，Ctrl-C 返回"),
            )
        return fitting(
            text(
                "type to search, or a path; arrows, Enter; left/right: views; Ctrl-C: back",
                "输入以搜索或路径；方向键，回车；左右键换视图；Ctrl-C 返回",
            ),
            text("type, arrows, Enter; Ctrl-C: back", "输入，方向键，回车，Ctrl-C 返回"),
        )


def _row_space() -> int:
    return max(3, min(MAX_ROWS, shutil.get_terminal_size().lines - OTHER_LINES))


def _cut_line(line: str) -> str:
    return cut(printable(line), columns())


def is_path(typed: str) -> bool:
    """Tell whether what is typed is a path, not a search or an id."""
    name = typed.partition("#")[0]
    return typed.startswith((".", "/", "~")) or ("/" in name and Path(name).exists())


def path_completions(typed: str) -> list[str]:
    """Return the paths that begin with what is typed; folders end with a slash."""
    head, slash, tail = typed.rpartition("/")
    folder = Path(head + slash if slash else ".").expanduser()
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name.lower())
    except OSError:
        return []
    matching = [entry for entry in entries if entry.name.startswith(tail)]
    visible = [
        entry for entry in matching if tail.startswith(".") or not entry.name.startswith(".")
    ]
    return [f"{head}{slash}{entry.name}{'/' if entry.is_dir() else ''}" for entry in visible]


def common_prefix(paths: list[str]) -> str:
    """Return the common prefix of paths."""
    shortest = min(paths, key=len)
    differing = (
        at for at, letter in enumerate(shortest) if any(path[at] != letter for path in paths)
    )
    return shortest[: next(differing, len(shortest))]
