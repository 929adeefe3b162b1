"""YAML text as nodes and plain values, within limits: strangers write YAML too.

A file of a few lines can stand for terabytes (aliases of aliases), and one of a few megabytes can
nest deeper than the stack. Both are found before anything is built from the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import yaml

from swiftbox.language import text

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NON_PRINTABLE = yaml.reader.Reader.NON_PRINTABLE
"""Finds a character that YAML does not allow."""

MAX_BYTES = 2**20
"""Of a YAML file: the longest that people write have some kilobytes."""

MAX_DEPTH = 64
"""Lists and mappings inside each other; a pipeline needs four."""

MAX_NODES = 50_000
"""Keys, values and items, those behind an alias counted as often as it is used."""

MAX_KEYS = 1000
"""Of a file: all tasks together have fewer than 200."""

TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = frozenset(
    TAG + kind
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "value", "seq", "map", "merge")
)
"""What YAML finds without an explicit tag; `!!binary`, `!!set` and `!!python/...` are others."""

OnProblem = Callable[[int, str], None]
"""Takes a line and what is wrong there."""


class YamlProblem(yaml.MarkedYAMLError):
    """YAML that is well formed and still refused; `problem` is written for people."""


def composed(loader: Any, content: str) -> Any:
    """Return the root node of one document; None if it is empty.

    Raises yaml.MarkedYAMLError with the place of what is wrong, YamlProblem for a limit.
    """
    if control := NON_PRINTABLE.search(content):
        raise _control_character(content, control.start())
    _limit_depth(content)
    node = loader.get_single_node()
    if node is not None:
        _Extent().of(node)
    return node


def _control_character(content: str, position: int) -> YamlProblem:
    line = content.count("\n", 0, position)
    code = f"U+{ord(content[position]):04X}"
    what = text(
        f"contains the control character {code}; delete it, or write it as an escape in quotes",
        f"含有控制字符 {code}；请删除，或在引号中写成转义",
    )
    return YamlProblem(problem=what, problem_mark=yaml.Mark("", position, line, 0, None, 0))


def _limit_depth(content: str) -> None:
    """Raise YamlProblem for text that is nested too deeply; no function here calls itself."""
    depth = 0
    for event in yaml.parse(content, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(node: Any) -> YamlProblem:
    what = text(f"is nested more than {MAX_DEPTH} levels deep", f"嵌套超过 {MAX_DEPTH} 层")
    return YamlProblem(problem=what, problem_mark=node.start_mark)


class _Extent:
    """Counts nodes and levels as if every alias were written out."""

    def __init__(self) -> None:
        self.extents: dict[int, tuple[int, int]] = {}
        self.open: set[int] = set()

    def of(self, node: Any) -> tuple[int, int]:
        """Return the number of nodes and of levels; raise YamlProblem beyond the limits."""
        key = id(node)
        if key in self.open:
            what = text("an alias refers to the block it is in", "别名引用了其所在的块")
            raise YamlProblem(problem=what, problem_mark=node.start_mark)
        if key not in self.extents:
            self.open.add(key)
            inside = [self.of(child) for child in _children(node)]
            self.open.remove(key)
            count = 1 + sum(number for number, _ in inside)
            depth = 1 + max((depth for _, depth in inside), default=0)
            if count > MAX_NODES:
                raise _too_many_nodes(node)
            if depth > MAX_DEPTH + 1:
                raise _too_deep(node)
            self.extents[key] = count, depth
        return self.extents[key]


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _too_many_nodes(node: Any) -> YamlProblem:
    what = text(
        f"has more than {MAX_NODES:,} keys and values, aliases written out",
        f"展开别名后超过 {MAX_NODES:,} 个键与值",
    )
    return YamlProblem(problem=what, problem_mark=node.start_mark)


class Values:
    """Makes plain values of the nodes of one document; `on_problem` takes what is wrong in them."""

    def __init__(self, loader: Any, on_problem: OnProblem) -> None:
        self.loader = loader
        self.on_problem = on_problem
        self.mappings: dict[int, dict[Any, Any]] = {}
        """Of the nodes seen; an alias is the same node again."""

    def of(self, node: Any) -> Any:
        """Return the value of a node.

        A text that looks like a number or a date and is none (`2024-13-45`) stays a text.
        """
        if node.tag not in PLAIN_TAGS:
            self._report(node, _unknown_tag(node.tag.replace(TAG, "!!")))
            return node.value if isinstance(node, yaml.ScalarNode) else None
        if isinstance(node, yaml.SequenceNode):
            return [self.of(item) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self.mappings:
                self.mappings[id(node)] = self._mapping(node)
            return self.mappings[id(node)]
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError):
            return node.value  # PyYAML raises whatever its conversions raise

    def _mapping(self, node: Any) -> dict[Any, Any]:
        self._report_repeated_keys(node)
        try:
            self.loader.flatten_mapping(node)  # brings in what `<<: *another` names
        except yaml.constructor.ConstructorError as error:
            self._report(node, str(error.problem))
            return {}
        values: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                values[self.of(key_node)] = self.of(value_node)
            else:
                self._report(key_node, not_a_key())
        return values

    def _report_repeated_keys(self, node: Any) -> None:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == TAG + "merge":
                continue
            if key_node.value in lines:
                self._report(key_node, repeated_key(key_node.value, lines[key_node.value]))
            lines.setdefault(key_node.value, key_node.start_mark.line + 1)

    def _report(self, node: Any, what: str) -> None:
        self.on_problem(node.start_mark.line + 1, what)


def _unknown_tag(tag: str) -> str:
    return text(
        f"the tag {tag} is not supported; write a plain value",
        f"不支持标签 {tag}；请直接写值",
    )


def repeated_key(key: str, first_line: int) -> str:
    """Describe a key that a mapping has twice."""
    return text(
        f"{key} is given twice (first in line {first_line})",
        f"{key} 重复出现（首次在第 {first_line} 行）",
    )


def not_a_key() -> str:
    """Describe a list or mapping in place of a key."""
    return text("a key should be text, not a list or mapping", "键应为文字，而不是列表或映射")
