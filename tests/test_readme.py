"""The README: what it captures, names and promises is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from box import COMMAND
from documents import README

from swiftbox.cli.parser import parser
from swiftbox.config.presets import presets


def test_the_capture_of_the_menu_is_what_the_menu_paints() -> None:
    code = "from swiftbox.menu import home; home.paint()"
    environment = {**os.environ, "SWIFTBOX_LANG": "en"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    painted = [f"    {line}".rstrip() for line in done.stdout.splitlines()]
    assert "\n".join(painted) in README


def test_every_verb_explains_itself_with_an_example() -> None:
    for verb in verbs():
        done = subprocess.run(
            [*COMMAND, verb, "--help"], capture_output=True, text=True, check=True
        )
        assert "example: swiftbox" in done.stdout, verb


def test_the_page_names_every_verb() -> None:
    for verb in verbs():
        assert f"`{verb}`" in README, verb


def verbs() -> list[str]:
    """Return the verbs that `swiftbox --help` lists."""
    listed = re.findall(r"^    ([a-z]+) ", parser().format_help(), re.MULTILINE)
    assert len(listed) > 10
    return listed


def test_the_table_of_goals_names_every_preset() -> None:
    table = README[README.index("| goal |") : README.index("## What is measured")]
    named = set(re.findall(r"`([a-z0-9-]+)`", table))
    # One of these has a sister in the table, the other is a step of pipelines.
    assert set(presets()) - named <= {"dpo-full", "starter"}
    assert named <= set(presets())
