"""What users read: the README and every page of the guide, with the code that stands in them."""

from __future__ import annotations

import re
from pathlib import Path

from swiftbox.guide.pages import TOPICS, path_of
from swiftbox.language import LANGUAGES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")

DOCUMENTS = {"README": README} | {
    f"{language}/{topic}": path_of(topic, language).read_text("utf-8")
    for language in LANGUAGES
    for topic in TOPICS
}


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced code of a language."""
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


def commands(document: str) -> list[str]:
    """Return the shell commands, each on one line."""
    joined = "\n".join(blocks(document, "bash")).replace("\\\n", " ")
    lines = (" ".join(line.split()) for line in joined.splitlines())
    return [line for line in dict.fromkeys(lines) if line]


def inline_commands(document: str) -> list[str]:
    """Return the swiftbox commands that stand in the text and in tables."""
    text = re.sub(r"```.*?```", "", document, flags=re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", text)
    return [span.split(" | ")[-1] for span in spans if re.search(r"(^|\| )swiftbox( |$)", span)]
