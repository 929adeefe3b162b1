"""The topics of the guide, and the text of a page in the current language."""

from __future__ import annotations

from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.formatting import did_you_mean, nearest
from swiftbox.language import language, text

FOLDER = Path(__file__).resolve().parent

TOPICS = (
    "start",
    "models",
    "download",
    "data",
    "conversations",
    "train",
    "preference",
    "reward",
    "classification",
    "tuners",
    "devices",
    "distributed",
    "import",
    "merge",
    "mix",
    "quantize",
    "evaluate",
    "deploy",
    "openai",
    "chat",
    "pipeline",
    "runs",
    "engines",
    "docker",
    "python",
    "troubleshooting",
    "develop",
)
"""In the order in which they are read: prepare, train, use, look after."""


def page(topic: str) -> str:
    """Return the Markdown of a topic; raise ConfigError for one that does not exist."""
    if topic not in TOPICS:
        raise _unknown(topic)
    return path_of(topic, language()).read_text(encoding="utf-8")


def path_of(topic: str, language_name: str) -> Path:
    """Return the file of a page."""
    return FOLDER / language_name / f"{topic}.md"


def titles() -> dict[str, str]:
    """Map each topic to its title, the first heading of its page."""
    return {topic: page(topic).partition("\n")[0].removeprefix("# ") for topic in TOPICS}


def _unknown(topic: str) -> ConfigError:
    listing = text("`swiftbox guide` lists the topics", "`swiftbox guide` 列出全部主题")
    return ConfigError(
        text(f"no guide page named {topic}", f"指南中没有 {topic} 这一主题"),
        hint=did_you_mean(nearest(topic, TOPICS)) or listing,
    )
