"""An adapter that an engine cannot load: merged into its base with one key, then served."""

from __future__ import annotations

import json
from pathlib import Path

from swiftbox.config.groups import as_list
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.launch.prepare import agreed, prepare_loaded
from swiftbox.menu.actions import run_prepared
from swiftbox.menu.draft import Draft
from swiftbox.menu.questions import Back
from swiftbox.menu.start_questions import ask_to_start
from swiftbox.models.unservable_adapters import UnservableAdapter
from swiftbox.tasks.load import loads

TITLE = ("merge the adapter into its base first", "先将适配器合并进基座")

NAMES_ADAPTERS = ("adapter", "adapters")


def title() -> str:
    """Return the title of the action in the current language."""
    return text(*TITLE)


def can_merge(draft: Draft, error: UserError | None) -> bool:
    """Tell whether merging the only adapter of a draft answers an error."""
    if not isinstance(error, UnservableAdapter) or "steps" in draft.values:
        return False
    return len(_adapters(draft)) == 1


def _adapters(draft: Draft) -> list[str]:
    named = draft.values.get("adapters") or {}
    return [*as_list(draft.values.get("adapter") or []), *named.values()]


def merge(draft: Draft) -> Draft:
    """Merge the adapter of a draft; return the draft with the result as its model.

    Raises Back if the merge was stopped or failed, UserError if it is refused.
    """
    (adapter,) = _adapters(draft)
    settings = {"task": "merge", "adapter": adapter, "hub": draft.values.get("hub")}
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items() if value]
    prepared = prepare_loaded(loads("", source="menu", overrides=overrides))
    folder = run_prepared(agreed(prepared, ask_to_start), detach=False)
    if folder is None:
        raise Back
    for key in NAMES_ADAPTERS:
        draft = draft.without(key)
    return draft.with_values(model=_short(folder))


def _short(folder: Path) -> str:
    """Return a folder as a path from here where it is inside."""
    current = Path.cwd()
    return str(folder.relative_to(current) if folder.is_relative_to(current) else folder)
