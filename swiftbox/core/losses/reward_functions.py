"""Reward functions of online methods: the built-in ones, and those of a file of the user's.

A reward function takes `prompts`, `completions` and every other column of the rows as lists of
equal length, and returns a number for every completion (None: not judged). A completion is a list
with one message, as TRL passes conversations.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.errors import ConfigError
from swiftbox.language import text

Reward = Callable[..., Sequence[float | None]]

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")

THINKING = re.compile(r"<think>.+?</think>\s*\S.*", re.DOTALL)

EXPECTED_WORDS = 100
"""Answers up to this many words get the whole reward for length; twice as many get none."""


def said(completion: Any) -> str:
    """Return the words of a completion."""
    if isinstance(completion, str):
        return completion
    return str(completion[-1]["content"])


def accuracy(completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Give 1 where the final answer is that of the column solution (or answer), else 0.

    A final answer is what stands in \\boxed{}, in <answer></answer>, behind ####, or the last
    number; numbers are compared as numbers. A row without a solution is not judged.
    """
    wanted = columns.get("solution") or columns.get("answer") or [None] * len(completions)
    return [
        None if solution is None else float(same(final_answer(said(one)), final_answer(solution)))
        for one, solution in zip(completions, wanted, strict=True)
    ]


def final_answer(words: Any) -> str:
    """Return the part of an answer that is its result."""
    whole = str(words).strip()
    for pattern in (r"\\boxed\{([^{}]*)\}", r"<answer>(.*?)</answer>", r"####\s*(.+)"):
        found = re.findall(pattern, whole, re.DOTALL)
        if found:
            return str(found[-1]).strip()
    numbers = NUMBER.findall(whole.split("</think>")[-1])
    return numbers[-1] if numbers else whole


def same(one: str, other: str) -> bool:
    """Compare two results, as numbers where both are."""
    left, right = as_number(one), as_number(other)
    if left is not None and right is not None:
        return abs(left - right) <= 1e-6 * max(1.0, abs(right))
    return one.strip().casefold() == other.strip().casefold()


def as_number(words: str) -> float | None:
    """Return the number that a text is; None when it is none."""
    if not NUMBER.fullmatch(words.strip().rstrip(".").lstrip("$")):
        return None
    top, _, bottom = words.strip().rstrip(".").lstrip("$").replace(",", "").partition("/")
    if bottom and float(bottom) == 0:
        return None
    return float(top) / float(bottom or 1)


def format(completions: Sequence[Any], **columns: Any) -> list[float]:  # noqa: ARG001
    """Give 1 to an answer that thinks in <think></think> first and then says something."""
    return [float(THINKING.fullmatch(said(one).strip()) is not None) for one in completions]


def length(completions: Sequence[Any], **columns: Any) -> list[float]:  # noqa: ARG001
    """Give 1 to answers of up to EXPECTED_WORDS words, falling to 0 at twice as many."""
    words = [len(said(one).split()) for one in completions]
    return [max(0.0, min(1.0, 2 - count / EXPECTED_WORDS)) for count in words]


REWARDS: Mapping[str, Reward] = {"accuracy": accuracy, "format": format, "length": length}


def require(names: Sequence[str]) -> None:
    """Raise ConfigError unless every function is there; a file is read, not run."""
    for name in names:
        if name in REWARDS:
            continue
        path, function = split(name)
        if not path.is_file():
            raise ConfigError(
                text(f"reward_funcs: no file {path}", f"reward_funcs：文件 {path} 不存在"),
                hint=known(),
            )
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError) as error:
            raise ConfigError(
                text(
                    f"reward_funcs: {path} is not Python: {error}",
                    f"reward_funcs：{path} 不是合法的 Python：{error}",
                )
            ) from None
        defined = [one.name for one in tree.body if isinstance(one, ast.FunctionDef)]
        if function not in defined:
            listed = ", ".join(defined) or "-"
            raise ConfigError(
                text(
                    f"reward_funcs: {path} defines no {function} (it has {listed})",
                    f"reward_funcs：{path} 中没有函数 {function}（有 {listed}）",
                )
            )


def split(name: str) -> tuple[Path, str]:
    """Split `my_rewards.py:name`; raise ConfigError for anything else."""
    path, mark, function = name.rpartition(":")
    if not mark or not path.endswith(".py") or not function.isidentifier():
        raise ConfigError(
            text(
                f"reward_funcs: {name} is no reward function", f"reward_funcs：{name} 不是奖励函数"
            ),
            hint=known(),
        )
    return Path(path).expanduser(), function


def known() -> str:
    """Return what may be written."""
    names = ", ".join(REWARDS)
    return text(f"write {names}, or my_rewards.py:name", f"可写 {names} 或 my_rewards.py:函数名")


def load(name: str) -> Reward:
    """Return a reward function; a file of the user's is run, as the YAML asks by name."""
    if name in REWARDS:
        return REWARDS[name]
    path, function = split(name)
    space: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    found: Reward = space[function]
    return found
