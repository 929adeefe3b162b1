"""Reward functions of online methods: built in, or from a Python file of the user.

A reward function takes `prompts`, `completions` and all other columns of the rows as lists of equal
length, and returns a number for every completion (None: not scored). A completion is a list with
one message, the form in which TRL passes conversations.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.errors import ConfigError
from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.security.regular import read_regular

Reward = Callable[..., Sequence[float | None]]

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")

THINKING = re.compile(r"<think>.+?</think>\s*\S.*", re.DOTALL)

MAX_FILE_BYTES = 16 * 2**20
"""A file of reward functions has a few KB."""

EXPECTED_WORDS = 100
"""Answers of up to this many words get the full length reward; twice as many get none."""


def content_of(completion: Any) -> str:
    """Return the text of a completion."""
    if isinstance(completion, str):
        return completion
    return str(completion[-1]["content"])


def accuracy(completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Give 1 if the final answer equals that of the column solution (or answer), otherwise 0.

    The final answer is the content of \\boxed{} or <answer></answer>, the text after ####, or the
    last number. Numbers are compared as numbers. A row without a solution is not scored.
    """
    solutions = columns.get("solution") or columns.get("answer") or [None] * len(completions)
    return [
        None
        if solution is None
        else float(equal_answers(final_answer(content_of(completion)), final_answer(solution)))
        for completion, solution in zip(completions, solutions, strict=True)
    ]


def final_answer(answer: Any) -> str:
    """Extract the final answer from a completion or a solution."""
    content = str(answer).strip()
    for pattern in (r"\\boxed\{([^{}]*)\}", r"<answer>(.*?)</answer>", r"####\s*(.+)"):
        matches = re.findall(pattern, content, re.DOTALL)
        if matches:
            return str(matches[-1]).strip()
    numbers = NUMBER.findall(content.split("</think>")[-1])
    return numbers[-1] if numbers else content


def equal_answers(answer: str, solution: str) -> bool:
    """Compare two answers, as numbers if both are numbers."""
    left, right = parse_number(answer), parse_number(solution)
    if left is not None and right is not None:
        return abs(left - right) <= 1e-6 * max(1.0, abs(right))
    return answer.strip().casefold() == solution.strip().casefold()


def parse_number(answer: str) -> float | None:
    """Return the number or fraction that a text consists of, or None."""
    if not NUMBER.fullmatch(answer.strip().rstrip(".").lstrip("$")):
        return None
    top, _, bottom = answer.strip().rstrip(".").lstrip("$").replace(",", "").partition("/")
    if bottom and float(bottom) == 0:
        return None
    return float(top) / float(bottom or 1)


def format(completions: Sequence[Any], **columns: Any) -> list[float]:  # noqa: ARG001
    """Give 1 to a completion with reasoning in <think></think> followed by an answer."""
    contents = [content_of(completion).strip() for completion in completions]
    return [float(THINKING.fullmatch(content) is not None) for content in contents]


def length(completions: Sequence[Any], **columns: Any) -> list[float]:  # noqa: ARG001
    """Give 1 to completions of up to EXPECTED_WORDS words, falling to 0 at twice as many."""
    counts = [len(content_of(completion).split()) for completion in completions]
    return [max(0.0, min(1.0, 2 - count / EXPECTED_WORDS)) for count in counts]


REWARDS: Mapping[str, Reward] = {"accuracy": accuracy, "format": format, "length": length}


def require(names: Sequence[str]) -> None:
    """Raise ConfigError unless every function exists; files are parsed, not executed."""
    for name in names:
        if name in REWARDS:
            continue
        path, function = split(name)
        defined = [node.name for node in _parse(path).body if isinstance(node, ast.FunctionDef)]
        if function not in defined:
            listed = ", ".join(defined) or "-"
            raise ConfigError(
                text(
                    f"reward_funcs: {path} does not define {function} (it defines {listed})",
                    f"reward_funcs：{path} 中没有函数 {function}（现有 {listed}）",
                ),
                hint=text(
                    "write the function in the file, or name one that it defines",
                    "请在文件中写出该函数，或改用已有的函数",
                ),
            )


def _parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file; raise ConfigError for one that is not valid Python."""
    try:
        return ast.parse(read_regular(path, MAX_FILE_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            text(f"reward_funcs: {path} does not exist", f"reward_funcs：文件 {path} 不存在"),
            hint=usage(),
        ) from None
    except OSError as error:
        reason = reason_of(error)
        raise ConfigError(
            text(
                f"reward_funcs: {path} cannot be read ({reason})",
                f"reward_funcs：{path} 无法读取（{reason}）",
            ),
            hint=usage(),
        ) from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # deep nesting
        raise ConfigError(
            text(
                f"reward_funcs: {path} is not valid Python: {error}",
                f"reward_funcs：{path} 不是合法的 Python：{error}",
            ),
            hint=text(
                "`python -m py_compile FILE` shows the line",
                "`python -m py_compile FILE` 会指出哪一行",
            ),
        ) from None


def split(name: str) -> tuple[Path, str]:
    """Split `my_rewards.py:name` into file and function; raise ConfigError for any other form."""
    path, mark, function = name.rpartition(":")
    if not mark or not path.endswith(".py") or not function.isidentifier():
        raise ConfigError(
            text(
                f"reward_funcs: unknown reward function {name}",
                f"reward_funcs：未知的奖励函数 {name}",
            ),
            hint=usage(),
        )
    return Path(path).expanduser(), function


def usage() -> str:
    """Return the hint that lists the valid values."""
    names = ", ".join(REWARDS)
    return text(f"use {names}, or my_rewards.py:name", f"可用 {names} 或 my_rewards.py:函数名")


def load(name: str) -> Reward:
    """Return a reward function; this executes the file if the config names one."""
    if name in REWARDS:
        return REWARDS[name]
    path, function = split(name)
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
    reward: Reward = namespace[function]
    return reward
