"""Compare two answers with math-verify, in a process that may be killed.

Usage: `python -m swiftbox.core.losses.math_equality`. Each line of the standard input is a JSON
list of solution and answer; each line of the output says whether they are equal: true, false, or
null if that cannot be decided. A pair that takes too much processor time or memory ends the
process: math-verify's own time limits use signals, which only a main thread gets, and which do not
interrupt a computation inside of a C library.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from typing import Any

from swiftbox.core.losses.stated_answers import CHOICE, MEASURE, TEXT_GROUP, is_formula
from swiftbox.security.template_trial import limit_process

CPU_S = 2.0
"""The processor time for one pair; usual ones take hundredths of a second."""

EXPONENT = re.compile(r"(\d)[eE]([-+]?\d+)$")
BASED = re.compile(r"\s*([0-9A-Za-z]+)_\{?(\d{1,2})\}?\s*")
"""A number in another base than ten, as 101_2."""

LETTER = re.compile(r"\(([a-z])\)")

DIGITS = 20
TOLERANCE = 1e-4
"""How far apart, relative to their size, two equal numbers may be: rounded ones are equal."""

SCALES = frozenset("hundred thousand million billion trillion k m bn 百 千 万 百万 千万 亿".split())
"""Words that multiply the number before them, so that it is not compared with one without them."""

PERCENT = 100
"""math-verify takes 28 for 28 %."""


def main() -> int:
    """Compare the pairs of the standard input."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr  # nothing else may write between two answers
    logging.disable(logging.ERROR)
    import math_verify  # noqa: F401 - takes a second, which no pair is to be charged with

    for line in sys.stdin.buffer:
        solution, answer = json.loads(line)
        limit_process(CPU_S)
        equal = equal_answers(solution, answer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        output.write(json.dumps(equal).encode() + b"\n")
        output.flush()
    return 0


def equal_answers(solution: str, answer: str) -> bool | None:
    """Tell whether two answers are equal; None if that cannot be decided.

    Formulas are compared by their value, words by their letters. Different units are not converted,
    and a formula is not compared with words.
    """
    plain = [normalized(side) for side in (solution, answer)]
    if plain[0] == plain[1]:
        return True
    if all(len(side) == 1 and side.isalpha() and side.isascii() for side in plain):
        return False  # two choices, one of them perhaps as text
    kinds = [_is_mathematical(side) for side in (solution, answer)]
    if not any(kinds):
        return False
    if not all(kinds):
        return None
    (solution, unit), (answer, other) = _without_unit(solution), _without_unit(answer)
    if unit != other and ((unit and other) or {unit, other} & SCALES):
        return None
    bases = [BASED.fullmatch(side) for side in (solution, answer)]
    if bases[0] and bases[1]:
        return _equal_in_bases(bases[0].groups(), bases[1].groups())
    return _equal_formulas(solution, answer)


def normalized(answer: str) -> str:
    """Return an answer without what does not belong to its meaning: spaces, case, LaTeX's text."""
    plain = TEXT_GROUP.sub(lambda group: group.group().partition("{")[2].removesuffix("}"), answer)
    bare = re.sub(r"\\[ ,;!]|[\s$*.]+$|\s+|[$*]", "", plain).casefold()
    choice = LETTER.fullmatch(bare)
    return choice[1] if choice else bare


def _is_mathematical(answer: str) -> bool:
    return bool(CHOICE.fullmatch(answer) or MEASURE.fullmatch(answer) or is_formula(answer))


def _without_unit(answer: str) -> tuple[str, str]:
    """Return an answer without the unit behind its number, and the unit."""
    spelled = TEXT_GROUP.sub(
        lambda group: " " + group.group().partition("{")[2].removesuffix("}").strip(), answer
    )
    measure = MEASURE.fullmatch(spelled.strip())
    if measure is None or measure["unit"].lower() in ("pi", "x", "y", "z", "i", "e"):
        return answer, ""
    unit = measure["unit"].lower().replace(" ", "").removesuffix("s")
    return measure["number"], "%" if unit == "percent" else unit


def _equal_formulas(solution: str, answer: str) -> bool | None:
    from math_verify import verify

    parsed = [_parsed(side) for side in (solution, answer)]
    if not all(parsed):
        return None
    try:
        equal = verify(
            *parsed, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True
        )
        return bool(equal) and not _differ(parsed[0][0], parsed[1][0])
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - sympy may raise whatever Python raises
        return None


def _equal_in_bases(solution: tuple[str, ...], answer: tuple[str, ...]) -> bool | None:
    """Compare two numbers with their bases, which math-verify does not read."""
    try:
        return int(solution[0], int(solution[1])) == int(answer[0], int(answer[1]))
    except ValueError:
        return None


def _differ(solution: Any, answer: Any) -> bool:
    """Tell whether expressions that math-verify calls equal have different numbers.

    It rounds to six decimals, so that it takes all very small numbers for equal.
    """
    import sympy

    if getattr(solution, "is_number", False) and getattr(answer, "is_number", False):
        return _far_apart(solution.evalf(DIGITS), answer.evalf(DIGITS))
    if not isinstance(solution, (sympy.Interval, sympy.Eq, sympy.Tuple)):
        return False
    if solution.func != answer.func or len(solution.args) != len(answer.args):
        return False
    return any(_differ(*pair) for pair in zip(solution.args, answer.args, strict=True))


def _far_apart(solution: Any, answer: Any) -> bool:
    if not (solution.is_finite and answer.is_finite):
        return False
    larger, smaller = max(abs(solution), abs(answer)), min(abs(solution), abs(answer))
    is_percent = abs(larger - PERCENT * smaller) <= TOLERANCE * larger
    return not is_percent and bool(abs(solution - answer) > TOLERANCE * larger)


def _parsed(answer: str) -> list[Any]:
    """Return the expressions of an answer; empty if math-verify cannot read it."""
    from math_verify import LatexExtractionConfig, parse

    latex = EXPONENT.sub(r"\1 \\times 10^{\2}", answer.strip()).replace("、", ",")
    expressions: list[Any] = parse(
        rf"\boxed{{{latex}}}",
        [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return expressions


if __name__ == "__main__":
    sys.exit(main())
