"""Answer in this process what a child would be asked about a model: milliseconds, not seconds."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swiftbox.errors import UserError
from swiftbox.models.trial_loading import LOAD
from swiftbox.runs.asked_child import ChildQuestion

ask_child = ChildQuestion._ask


def asked_here(question: ChildQuestion) -> dict[str, Any] | None:
    """Load on trial in this process; let a child answer every other question."""
    if question.module != LOAD:
        return ask_child(question)
    from swiftbox.core.weights.trial_load import report_on

    folder, *purpose = question.arguments
    with quiet_loading():
        try:
            return report_on(Path(folder), score="score" in purpose)
        except (ImportError, OSError, RuntimeError, UserError):  # a child would fail
            return {}


def share_answers(home: Path, source: Path) -> None:
    """Let children with another home find the answers of one: they would ask children again."""
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "placements").symlink_to(source / "placements")


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Load models without a word in this block, as the child does."""
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()
