"""Find the answer that a text states: in \\boxed{}, <answer>, after ####, or after "the answer is".

A text that states none has no answer: its last number is not taken for one. Pure text; what an
answer means is decided by math_equality.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST_ANSWER = 2_000
"""Characters of an answer; a longer text is not taken for one."""

LONGEST_SEARCH = 20_000
"""Characters at the end of a text in which "the answer is" is searched."""

LONGEST_WORDS = 200
"""Characters of an answer that is not a formula."""

BOX = re.compile(r"\\(?:boxed|fbox)\s*")
JOINT = re.compile(r"[\s$]*(?:,|、|;|\b(?:and|or)\b|和|或|与)[\s$]*")
TAG = ("<answer>", "</answer>")
HASHES = "####"
PHRASE = re.compile(
    r"(?:\banswers?\b[^.\n:=]{0,60}?(?:\b(?:is|are)\b|:|=)|答案[^。\n:,]{0,20}?(?:是|为|:))[\s:]*",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"\n|。|；|;\s|[.!?](?=\s|$)|,(?=\s+[A-Za-z]{2})")
MATH = re.compile(
    r"\$\$(?P<display>.+?)\$\$|\$(?!\s)(?P<inline>[^$\n]+?)(?<!\s)\$(?!\d)"
    r"|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]",
    re.DOTALL,
)

NUMBER = (
    r"[-+±]?\s?[$€£¥]?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?:\s?/\s?\d+)?(?:\s?\\?%)?"
)
NUMBERS = re.compile(rf"{NUMBER}(?:\s*(?:,|、|\band\b|\bor\b|和|或)\s*{NUMBER})*")
MEASURE = re.compile(
    rf"(?P<number>{NUMBER})\s*(?P<unit>(?:[A-Za-zµ°Ω]+|[\u4e00-\u9fff]+)"
    r"(?:[/ ][A-Za-z]+)?(?:\^?[23²³])?)"
)
CHOICE = re.compile(r"\(?([A-Z])\)?(?=[.,:)\s*]*$)")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
TEXT_GROUP = re.compile(r"\\(?:text|mathrm|mbox|textbf|textit|operatorname|mathbf)\s*\{[^{}]*\}")
COMMAND = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z]+\*?\}|\\[A-Za-z]+")
LETTERS = re.compile(r"[A-Za-z]{2,}")
FORMULA_WORDS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp sqrt min max mod "
    "det lim gcd lcm pi inf and or frac dx dy dt".split()
)
SHORT_WORDS = frozenset(
    "am an as at be by do go he hi if in is it me my no of ok on so to up us we".split()
)
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def stated_answer(content: str) -> str | None:
    """Return the final answer that a text states, or that it consists of; None if there is none.

    Reasoning up to </think> is not looked at; reasoning that is not closed states no answer.
    """
    content = content.translate(FULL_WIDTH)
    reasoning, _, content = content.rpartition("</think>")
    if not reasoning and "<think>" in content:
        return None
    marked = marked_answer(content)
    if marked is not None:
        return marked or None
    if alone := formula_alone(content):
        return alone
    end_of_text = content[-LONGEST_SEARCH:]
    for match in reversed(list(PHRASE.finditer(end_of_text))):
        if answer := leading_answer(end_of_text[match.end() :][:LONGEST_ANSWER]):
            return answer
    return None


def solution_answer(solution: Any) -> str | None:
    """Return the answer of a cell of the solution column; a few words alone are an answer too."""
    if isinstance(solution, (list, tuple)) and len(solution) == 1:
        solution = solution[0]
    if isinstance(solution, (list, tuple, dict)) or solution is None:
        return None
    content = str(solution)
    answer = stated_answer(content)
    if answer is None and "<think>" not in content:
        phrase = content.translate(FULL_WIDTH).strip()
        short = 0 < len(phrase) <= LONGEST_WORDS // 4
        return phrase if short and not SENTENCE_END.search(phrase[:-1]) else None
    return answer


def row_answer(columns: Mapping[str, Any]) -> str | None:
    """Return the answer of a row: of its column solution, else of its column answer."""
    return solution_answer(columns.get("solution")) or solution_answer(columns.get("answer"))


def marked_answer(content: str) -> str | None:
    """Return what stands in the last mark of an answer; empty if that is not complete."""
    if BOX.search(content):
        return boxed_answer(content)
    before, tag, _ = content.rpartition(TAG[1])
    _, mark, inner = before.rpartition(TAG[0]) if tag else content.rpartition(HASHES)
    if not mark:
        return None
    inner = inner.strip() if tag else inner.strip().partition("\n")[0].strip()
    answer = formula_alone(inner) or _phrased(inner) or inner
    return answer if len(answer) <= LONGEST_WORDS or is_formula(answer) else ""


def _phrased(content: str) -> str | None:
    match = PHRASE.match(content)
    return leading_answer(content[match.end() :]) if match else None


def boxed_answer(content: str) -> str:
    """Return the content of the last box; boxes joined by "and" or a comma are a list.

    Empty if the last box is not closed, as in an answer that was cut off.
    """
    boxes = list(_boxes(content))
    if not boxes or boxes[-1][2] is None:
        return ""
    parts: list[str] = []
    begin = len(content)
    for start, end, inner in reversed(boxes):
        if inner is None or (parts and not JOINT.fullmatch(content[end:begin])):
            break
        if len(inner) > LONGEST_ANSWER:
            return ""
        nested = boxed_answer(inner) if BOX.search(inner) else inner.strip()
        parts = [nested, *(part for part in parts if part != nested)]
        begin = start
    answer = ", ".join(parts)
    return answer if len(answer) <= LONGEST_ANSWER else ""


def _boxes(content: str) -> Iterator[tuple[int, int, str | None]]:
    """Yield start, end and content of each box that is not in another; None if it is not closed."""
    position = 0
    while match := BOX.search(content, position):
        start, opening = match.span()
        if content[opening : opening + 1] == "{":
            end = _closing(content, opening)
            if end is None:
                yield start, len(content), None
                return
            inner = content[opening + 1 : end - 1]
        else:
            word = re.match(r"[^\s$\\{}]*", content[opening:])
            inner = word.group() if word else ""
            end = opening + len(inner)
        yield start, end, inner
        position = max(end, opening + 1)


def _closing(content: str, opening: int) -> int | None:
    """Return the position after the brace that closes the one at `opening`; None without it."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(content, opening):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end()
    return None


def formula_alone(content: str) -> str | None:
    """Return a text that is nothing but a formula, a measure or the letter of a choice."""
    plain = _undecorated(content)
    if not plain or len(plain) > LONGEST_ANSWER:
        return None
    if math := _joined_math(plain, complete=True):
        return math
    if choice := CHOICE.fullmatch(plain):
        return choice[1]
    return plain if MEASURE.fullmatch(plain) or is_formula(plain) else None


def leading_answer(rest: str) -> str | None:
    """Return the answer at the beginning of what follows "the answer is"; None if it is none."""
    rest = rest.lstrip("*_ \t\n:")
    if math := _joined_math(rest, complete=False):
        return math
    end = SENTENCE_END.search(rest)
    clause = _undecorated(rest[: end.start()] if end else rest)
    if alone := formula_alone(clause):
        return alone
    numbers = NUMBERS.match(clause)
    following = clause[numbers.end() :] if numbers else ""
    return (
        numbers.group().strip() if numbers and not re.match(r"\s*[-+*/^=\d]", following) else None
    )


def _joined_math(content: str, *, complete: bool) -> str | None:
    """Return the formulas in dollars or brackets at the start, joined by "and" or a comma."""
    formulas: list[str] = []
    position = 0
    while match := MATH.match(content, position):
        formulas.append(next(group for group in match.groups() if group is not None).strip())
        position = match.end()
        joint = JOINT.match(content, position)
        if joint is None or not MATH.match(content, joint.end()):
            break
        position = joint.end()
    percent = re.match(r"\s?(?:\\?%|percent\b)", content[position:]) if formulas else None
    if percent:
        formulas[-1] += r"\%"
        position += percent.end()
    if complete and content[position:].strip(" ."):
        return None
    return ", ".join(formulas) or None


def is_formula(plain: str) -> bool:
    """Tell whether a text is a formula, not words of a language."""
    without_text = TEXT_GROUP.sub(" ", plain)
    bare = COMMAND.sub(" ", without_text)
    if CHINESE.search(bare):
        return False
    spelled = [word.lower() for word in LETTERS.findall(bare)]
    if any(word in SHORT_WORDS for word in spelled):
        return False
    if any(len(word) > 2 and word not in FORMULA_WORDS for word in spelled):
        return False
    letters = re.findall(r"[A-Za-z]", bare)
    return bool(re.search(r"[\d\\=+*/^<>∞π√]", without_text)) or len(letters) == 1


def _undecorated(content: str) -> str:
    plain = content.strip().strip("*_").strip()
    return plain.removesuffix("。").removesuffix(".").strip() if plain != "." else ""
