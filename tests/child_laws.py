"""The law of child processes: their commands and environments come from security/children.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

CONSTRUCTORS = "security/children.py"

STARTS = frozenset(
    "subprocess.run subprocess.Popen subprocess.call subprocess.check_call subprocess.check_output "
    "ProcessGroup".split()
)
"""Calls that start a process with an environment."""

OTHER_STARTS = (
    "os.system os.popen os.exec os.spawn os.posix_spawn os.fork pty.spawn "
    "subprocess.getoutput subprocess.getstatusoutput asyncio.create_subprocess"
).split()
"""Beginnings of calls that start a process without a chosen environment."""

WORDS = (
    "subprocess",
    "ProcessGroup",
    "sys.executable",
    "which",
    "os.environ",
    "os.system",
    "os.popen",
    "os.exec",
    "os.spawn",
    "os.posix",
    "os.fork",
    "pty",
    "shell",
)
"""A file without any of these starts nothing; most files are not parsed."""

ENVIRONMENTS = frozenset({"child_environment", "with_safe_paths"})

MAY_NAME_OUR_PYTHON: Mapping[str, str] = {
    "devices/probe.py": "a part of the key of a cached answer",
    "engines/preconditions.py": "a Python for a venv; it runs with -I",
    "evaluation/own_rows/measuring.py": "the Python that measures; ProcessGroup runs it with -I",
    "quantization/gguf_steps.py": "our Python for the converter; ProcessGroup runs it with -I",
    "quantization/processes.py": "the Python that measures; ProcessGroup runs it with -I",
    "serving/server_process.py": "our Python for the guard of a server; it runs with -I",
}
"""Files outside of the constructors where sys.executable stands, and why."""

GETS_ENVIRONMENT: Mapping[str, str] = {
    "engines/tools/run_program.py": "guard.py gives it the environment of the engine",
    "engines/tool_runner.py": "its _environment() calls child_environment()",
    "engines/process_group.py": "its callers pass child_environment()",
    "serving/server_process.py": "the engines make its environment from child_environment()",
    "runs/supervise.py": "made in the same function from child_environment()",
}


def child_violations(path: str, source: str) -> list[str]:
    """Return what breaks the law in a file of the package; `path` is relative to the package."""
    if path == CONSTRUCTORS or not any(word in source for word in WORDS):
        return []
    tree = ast.parse(source)
    return [*_names(path, tree), *_calls(path, tree)]


def _names(path: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        name = _dotted(node)
        if name == "sys.executable" and path not in MAY_NAME_OUR_PYTHON:
            yield f"{path}:{node.lineno} names our Python"  # type: ignore[attr-defined]
        if name == "shutil.which":
            yield f"{path}:{node.lineno} searches the current folder"  # type: ignore[attr-defined]
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is None and _dotted(value) == "os.environ":
                    yield f"{path}:{value.lineno} copies our environment"


def _calls(path: str, tree: ast.AST) -> Iterator[str]:
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        makes_environment = any(_dotted(node) in ENVIRONMENTS for node in ast.walk(function))
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            name = _dotted(node.func)
            if name in STARTS and not makes_environment and path not in GETS_ENVIRONMENT:
                yield f"{path}:{node.lineno} {name} without child_environment()"
            if any(name.startswith(start) for start in OTHER_STARTS):
                yield f"{path}:{node.lineno} {name}"
            if any(keyword.arg == "shell" for keyword in node.keywords):
                yield f"{path}:{node.lineno} a shell"


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""
