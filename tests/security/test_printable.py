"""The filter of screens: nothing acts on the terminal, and text stays readable."""

from __future__ import annotations

import json
import random

import pytest
from terminal_attacks import ATTACKS, PAYLOAD, READABLE, everything, intrusions, mixed

from swiftbox.security.printable import PrintableStream, escape_json, printable

SEEDS = range(400)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_is_left(name: str) -> None:
    for text in (ATTACKS[name], f"a{ATTACKS[name]}b", ATTACKS[name] * 3):
        assert not intrusions(printable(text)), printable(text)
        assert PAYLOAD not in printable(text)
        assert not intrusions(printable(text, lines=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_mixture_of_attacks_is_left(seed: int) -> None:
    text = mixed(seed)
    for shown in (printable(text), printable(text, lines=True)):
        assert not intrusions(shown), ascii(shown)
        assert printable(shown, lines=True) == shown


def test_every_control_character_is_removed_and_only_they() -> None:
    for code in [*range(0x20), *range(0x7F, 0xA0)]:
        shown = printable(f"a{chr(code)}b")
        assert shown == ("a b" if chr(code) in "\t\n\r\x85" else shown)
        assert all(letter == " " or letter.isalnum() for letter in shown), hex(code)


def test_readable_text_of_all_scripts_stays() -> None:
    assert printable(READABLE) == READABLE


def test_controls_of_direction_are_shown() -> None:
    assert printable("photo_\u202egnp.exe") == "photo_<U+202E>gnp.exe"
    assert printable("\u2066a\u2069\u061c") == "<U+2066>a<U+2069><U+061C>"


def test_a_joiner_between_latin_letters_is_shown() -> None:
    assert printable("pay\u200dpal") == "pay<U+200D>pal"


def test_a_line_break_becomes_a_space_except_in_text_of_many_lines() -> None:
    assert printable("a\nerror: b\r\nc\td") == "a error: b c d"
    assert printable("a\nb\r\nc\td", lines=True) == "a\nb\nc\td"


def test_text_hidden_by_a_carriage_return_is_seen() -> None:
    assert printable("rm -rf /\rls", lines=True) == "rm -rf /\nls"


def test_an_unfinished_sequence_does_not_swallow_what_follows() -> None:
    assert printable("\x1b]0;error: the truth\nsecond", lines=True) == "0;error: the truth\nsecond"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_cut_anywhere_shows_what_the_complete_text_shows(seed: int) -> None:
    text, dice = mixed(seed), random.Random(seed)
    stream, shown, at = PrintableStream(), "", 0
    while at < len(text):
        length = dice.choice((1, 1, 2, 3, 7))
        shown += stream.feed(text[at : at + length])
        at += length
    assert shown + stream.feed("", end=True) == printable(text, lines=True)


def test_a_stream_does_not_wait_for_an_end_that_never_comes() -> None:
    stream = PrintableStream()
    shown = stream.feed("\x1b]0;") + "".join(stream.feed("x" * 100) for _ in range(100))
    assert len(shown) >= 5000
    assert not intrusions(shown)


@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_safe_for_a_terminal_and_parses_to_the_same_value(indent: int | None) -> None:
    value = {everything(): [everything(), READABLE, "".join(map(chr, range(0x300)))]}
    encoded = escape_json(json.dumps(value, ensure_ascii=False, indent=indent))
    assert not intrusions(encoded)
    assert json.loads(encoded) == value
    assert "中文" in encoded


@pytest.mark.parametrize("start", ["\x9d", "\x1b]", "\x1b[1;", "\x1b ", "\x9b", "\r", "\u200d"])
def test_many_starts_without_an_end_take_linear_time(start: str) -> None:
    printable(start * 200_000)  # quadratic time would take hours
