"""A written YAML holds nothing that acts on a terminal, and no key that a comment brought in."""

from __future__ import annotations

import pytest
import yaml
from terminal_attacks import ATTACKS, READABLE, everything, intrusions

from swiftbox.config.writing import entry, scalar, write
from swiftbox.tasks.load import loads


def test_a_line_break_in_a_comment_brings_in_no_key() -> None:
    config = loads("task: download\nmodel: a/b\n", source="a.yaml").config
    document = write(config, header=["by x\nmodel: other/model"], reasons={"model": "w\nhub: x"})
    assert yaml.safe_load(document)["model"] == "a/b"
    assert "hub: x" not in document.splitlines()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_value_is_escaped_and_read_back_unchanged(name: str) -> None:
    value = f"{READABLE}{ATTACKS[name]}"
    assert not intrusions(scalar(value))
    assert yaml.safe_load(scalar(value)) == value


def test_a_list_of_mappings_is_escaped_and_read_back_unchanged() -> None:
    value = [{"name": everything()}]
    document = "\n".join(entry("key", value, ""))
    assert not intrusions(document)
    assert yaml.safe_load(document) == {"key": value}


def test_readable_text_stays_readable() -> None:
    assert scalar(READABLE) in (READABLE, f"'{READABLE}'")
