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

from swiftbox.core.losses.answer_judge import AnswerJudge
from swiftbox.core.losses.stated_answers import row_answer, stated_answer
from swiftbox.errors import ConfigError
from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.security.regular import read_regular

Reward = Callable[..., Sequence[float | None]]

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


class Accuracy:
    """Gives 1 if the stated answer equals that of the solution, 0 if not; None: not judged.

    The solution is the column `solution`; where that states no answer, the column `answer`.
    Answers are compared by math-verify (https://github.com/huggingface/Math-Verify). A completion
    that states no answer, a solution without one, and a pair that cannot be compared are not
    judged: the last number of a text is never taken for its answer.
    """

    __name__ = "accuracy"
    """TRL calls the metric so."""

    def __init__(self) -> None:
        self._judge = AnswerJudge()

    def reached_limits(self) -> Mapping[str, int]:
        """Return how many comparisons reached each limit; their answers are not judged."""
        return self._judge.reached

    def close(self) -> None:
        """End the process that compares answers; it ends with this object too."""
        self._judge.close()

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Score completions."""
        blank = [None] * len(completions)
        solutions = [
            row_answer({"solution": solution, "answer": answer})
            for solution, answer in zip(
                columns.get("solution") or blank, columns.get("answer") or blank, strict=True
            )
        ]
        answers = [stated_answer(content_of(completion)) for completion in completions]
        pairs = [
            (solution, answer)
            for solution, answer in zip(solutions, answers, strict=True)
            if solution and answer
        ]
        verdicts = iter(self._judge.compare(pairs))
        scores: list[float | None] = []
        for solution, answer in zip(solutions, answers, strict=True):
            verdict = next(verdicts) if solution and answer else None
            scores.append(None if verdict is None else float(verdict))
        return scores


def format(completions: Sequence[Any], **columns: Any) -> list[float]:  # noqa: ARG001
    """Give 1 to a completion with reasoning in <think></think> followed by an answer."""
    contents = [content_of(completion).strip() for completion in completions]
    return [float(THINKING.fullmatch(content) is not None) for content in contents]


def length(completions: Sequence[Any], **columns: Any) -> list[float]:  # noqa: ARG001
    """Give 1 to completions of up to EXPECTED_WORDS words, falling to 0 at twice as many."""
    counts = [len(content_of(completion).split()) for completion in completions]
    return [max(0.0, min(1.0, 2 - count / EXPECTED_WORDS)) for count in counts]


REWARDS: Mapping[str, Callable[[], Reward]] = {
    "accuracy": Accuracy,
    "format": lambda: format,
    "length": lambda: length,
}
"""Makes each built-in function; some keep a process."""


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
        return REWARDS[name]()
    path, function = split(name)
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
    reward: Reward = namespace[function]
    return reward
