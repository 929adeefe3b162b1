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
    if normalized(solution) == normalized(answer):
        return True
    kinds = [_is_mathematical(side) for side in (solution, answer)]
    if not any(kinds):
        return False
    if not all(kinds):
        return None
    (solution, unit), (answer, other) = _without_unit(solution), _without_unit(answer)
    if unit and other and unit != other:
        return None
    return _equal_formulas(solution, answer)


def normalized(answer: str) -> str:
    """Return an answer without what does not belong to its meaning: spaces, case, LaTeX's text."""
    plain = TEXT_GROUP.sub(lambda group: group.group().partition("{")[2].removesuffix("}"), answer)
    return re.sub(r"\\[ ,;!]|[\s$*.]+$|\s+|[$*]", "", plain).casefold()


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
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - sympy may raise whatever Python raises
        return None
    return bool(equal)


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
