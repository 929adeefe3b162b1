"""The laws of the house as pure functions of source text; test_house.py asserts them.

`python tests/house_laws.py [PATH ...]` lists what breaks them, file by file.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prose_laws import stilted, untranslated

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "swiftbox"

MAX_LOOSE_MODULES = 9
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 5
MAX_README_LINES = 220

EMPTY_NAMES = frozenset(
    "one found said told made held kept asked given own whole words here look carry_out how things "
    "helper helpers util utils manager base misc".split()
)
"""Names that do not say what the thing is."""

STILTED_PARTS = re.compile(
    r"(^|_)(said|told|anew|whom|look|wanted|(is|are)_no(?!_(longer|more))"
    r"|(go|goes|going|gone|went)_on|(is|are)_taken_for)(_|$)"
)
"""Parts of names that are translated word by word, in test names above all."""

DEVICE_NAMES = frozenset({"cuda", "rocm", "npu", "mps"})
FAMILIES = re.compile(
    r"^(qwen|llama(?!pro|factory|-factory|_cpp)|gemma|mistral|mixtral|deepseek|glm|chatglm|phi|internlm|baichuan|yi|mamba|rwkv)"
)

Violations = list[str]


def python_files(*folders: Path) -> list[Path]:
    """Return the Python files of folders, or of the package."""
    return sorted(path for folder in folders or (PACKAGE,) for path in folder.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


# ---- sizes


def surplus_lines(source: str, limit: int) -> int:
    """Return how many lines a text has beyond a limit."""
    return max(0, len(source.splitlines()) - limit)


def surplus_modules(package: Path) -> list[str]:
    """Return the loose modules of a package if there are too many."""
    loose = sorted(path.name for path in package.glob("*.py"))
    return loose if len(loose) > MAX_LOOSE_MODULES else []


def long_functions(source: str) -> list[tuple[int, str, int]]:
    """Return the line, name and length of every function of more than 40 lines."""
    lengths = [
        (node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    return [entry for entry in lengths if entry[2] > MAX_FUNCTION_LINES]


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.arg]:
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return plain + [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]


def wide_signatures(source: str) -> list[tuple[int, str, int]]:
    """Return the line, name and count of every signature of more than 5 parameters.

    `self`, `cls`, `*args` and `**kwargs` are not counted.
    """
    wide = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = node.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = sum(parameter.arg not in ("self", "cls") for parameter in named)
            if count > MAX_PARAMETERS:
                wide.append((node.lineno, node.name, count))
    return wide


# ---- names


def bound_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and name of every local, parameter, loop variable, function and class."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for parameter in parameters_of(node):
                yield parameter.lineno, parameter.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif (isinstance(node, ast.ExceptHandler) and node.name) or (
            isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name
        ):
            yield node.lineno, node.name
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def empty_names(source: str) -> list[tuple[int, str]]:
    """Return the line and name of every binding whose name says nothing or is stilted."""
    return sorted(
        {
            (line, name)
            for line, name in bound_names(source)
            if name.strip("_") in EMPTY_NAMES or STILTED_PARTS.search(name)
        }
    )


def lacks_docstring(source: str) -> bool:
    """Tell whether a module has code and no docstring."""
    return bool(source.strip()) and not ast.get_docstring(ast.parse(source))


def class_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Map each class name that stands for several classes to the files that define it."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file)
    return {name: files for name, files in places.items() if len(files) > 1}


# ---- one place for each thing

UNIT = re.compile(r"^ ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB|ms|s|min|h|hours?|minutes?|seconds?)\b")
CHINESE_UNIT = re.compile(r"^ ?(字节|毫秒|秒|分钟|小时)")


def formatted_units(source: str) -> list[int]:
    """Return the lines of f-strings that write a number of bytes or seconds themselves."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, following in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(following, ast.Constant):
                continue
            tail = str(following.value)
            if UNIT.match(tail) or CHINESE_UNIT.match(tail):
                lines.add(value.lineno)
    return sorted(lines)


WIDTH_CALLS = frozenset({"get_cwidth", "wcwidth", "wcswidth", "cell_len", "east_asian_width"})
WIDTH_MODULES = frozenset({"textwrap"})
"""Count letters, not cells: a Chinese character takes two."""

FILE_CALLS = frozenset({"flock", "lockf", "disk_usage", "statvfs", "fsync"})


def calls_of(source: str, names: Iterable[str]) -> list[int]:
    """Return the lines that call a function of one of these names, as attribute or alone."""
    searched = set(names)
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in searched or (name == "replace" and is_os(node.func)):
                lines.append(node.lineno)
    return lines


def imports_of(source: str, modules: Iterable[str]) -> list[int]:
    """Return the lines that import one of these modules, or something from it."""
    names = set(modules)
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Import) and names & {alias.name for alias in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module in names)
    ]


def is_os(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "os"


def compared_constants(source: str) -> list[tuple[int, str]]:
    """Return the line and text of every string constant that something is compared with."""
    constants = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Compare, ast.MatchValue)):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    constants.append((node.lineno, part.value))
    return constants


def device_tests(source: str) -> list[int]:
    """Return the lines that compare something with the name of a device."""
    return [line for line, constant in compared_constants(source) if constant in DEVICE_NAMES]


def method_tests(source: str, methods: Iterable[str]) -> list[int]:
    """Return the lines that compare something with the name of a training method."""
    names = set(methods)
    return [line for line, constant in compared_constants(source) if constant in names]


def family_tests(source: str) -> list[int]:
    """Return the lines that compare something with the name of a model family."""
    return [line for line, constant in compared_constants(source) if FAMILIES.match(constant)]


def literal_events(source: str) -> list[int]:
    """Return the lines that emit an event by a literal name instead of its constant."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = str(getattr(node.func, "attr", getattr(node.func, "id", "")))
        position = {"emit": 0, "_emit": 0, "append_event": 1}.get(name)
        if position is None or len(node.args) <= position:
            continue
        if isinstance(node.args[position], ast.Constant):
            lines.append(node.lineno)
    return lines


def sniffed_keys(source: str) -> list[int]:
    """Return the lines that tell an event by a key that it holds."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Constant)
        and isinstance(node.ops[0], (ast.In, ast.NotIn))
        and getattr(node.comparators[0], "id", "") in ("event", "fields")
    ]


# ---- imports


def module_of(path: Path, root: Path) -> str:
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    return name.removesuffix(".__init__")


def import_graph(root: Path, package: str = "swiftbox") -> dict[str, set[str]]:
    """Map each module of a package to those it imports; deferred and typing imports count."""
    paths = {module_of(path, root): path for path in (root / package).rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    imported.add(full if full in paths else node.module)
        graph[module] = {name for name in imported if name in paths and name != module}
    return graph


def import_circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for imported in sorted(graph[module]):
            if imported not in index:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], index[imported])
        if lowest[module] == index[module]:
            start = stack.index(module)
            component = stack[start:]
            del stack[start:]
            if len(component) > 1:
                circles.append(sorted(component))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return circles


# ---- the report for people who work on the house


def violations(path: Path) -> Violations:
    """Return what breaks the laws in one file, a line each."""
    source = path.read_text("utf-8")
    file = name_of(path)
    lines = [f"{file}:{line} name says nothing: {name}" for line, name in empty_names(source)]
    lines += [
        f"{file}:{line} {name} has {count} lines" for line, name, count in long_functions(source)
    ]
    lines += [
        f"{file}:{line} {name} takes {count} parameters"
        for line, name, count in wide_signatures(source)
    ]
    lines += [f"{file}:{line} stilted: {word}" for line, word in stilted(source)]
    lines += [f"{file}:{line} no Chinese: {english}" for line, english in untranslated(source)]
    if surplus := surplus_lines(source, MAX_FILE_LINES):
        lines.append(f"{file} has {MAX_FILE_LINES + surplus} lines")
    if path.stem.strip("_") in EMPTY_NAMES:
        lines.append(f"{file} name says nothing")
    if not path.is_relative_to(PACKAGE):
        return lines
    if path.name != "formatting.py" and "tools" not in path.parts:
        lines += [f"{file}:{line} formats a unit" for line in formatted_units(source)]
        widths = calls_of(source, WIDTH_CALLS) + imports_of(source, WIDTH_MODULES)
        lines += [f"{file}:{line} measures a width" for line in widths]
    if path.name != "files.py" and "tools" not in path.parts:
        lines += [
            f"{file}:{line} locks, replaces or measures a disk"
            for line in calls_of(source, FILE_CALLS)
        ]
    lines += [f"{file}:{line} emits a literal event" for line in literal_events(source)]
    if "display" in path.parts:
        lines += [f"{file}:{line} tells an event by a key" for line in sniffed_keys(source)]
    return lines


def main() -> None:
    """Print every violation in the files or folders named, or in the whole package."""
    named = [Path(argument).resolve() for argument in sys.argv[1:]] or [PACKAGE]
    files = [path for path in named if path.is_file()]
    files += (
        python_files(*(path for path in named if path.is_dir())) if len(files) < len(named) else []
    )
    for path in files:
        print(*violations(path), sep="\n", end="\n" if violations(path) else "")
    sources = {name_of(path): path.read_text("utf-8") for path in python_files()}
    for name, places in class_names(sources).items():
        if any(str(path).endswith(place) for path in files for place in places):
            print(f"class {name} stands for several classes: {', '.join(places)}")


if __name__ == "__main__":
    main()
