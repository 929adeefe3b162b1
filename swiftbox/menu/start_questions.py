"""The questions before a start: whether to trust what it executes, and to install its engines."""

from __future__ import annotations

from collections.abc import Callable

from swiftbox.engines.consent import install_missing, offer_question
from swiftbox.language import text
from swiftbox.launch.disclosure import Disclosure
from swiftbox.launch.prepare import Prepared, offered_engines
from swiftbox.menu.questions import Back, select
from swiftbox.menu.terminal import print_wrapped


def ask_to_start(disclosure: Disclosure) -> bool:
    """Ask whether to start what was shown; raise Back if not."""
    for effect in disclosure.questions:
        print_wrapped(effect.line())
    choices = [(False, text("no", "否")), (True, text("yes, I trust it", "是，我信任它"))]
    if not select(text("Start this?", "开始吗？"), choices):
        raise Back
    return True


def with_offers(prepared: Prepared, prepare: Callable[[], Prepared]) -> Prepared:
    """Offer engines that a run can do without; prepare it again if they were installed.

    Raises UserError if an engine cannot be installed.
    """
    engines = offered_engines(prepared)
    if not engines:
        return prepared
    for engine in engines:
        print_wrapped(engine.line())
    choices = [
        (False, text("no, use what is installed", "不，使用现有的")),
        (True, text("install it now", "现在安装")),
    ]
    if not select(offer_question(engines), choices):
        return prepared
    try:
        install_missing(engines, lambda _missing: True)
    except KeyboardInterrupt:
        raise Back from None
    return prepare()


def install_engines(prepared: Prepared) -> None:
    """Install the engines that are missing, with the user's consent.

    Raises Back without consent; UserError if an engine cannot be installed.
    """
    if not prepared.engines:
        return
    for engine in prepared.engines:
        print_wrapped(engine.line())
    names = text(", ", "、").join(engine.engine.name for engine in prepared.engines)
    choices = [(True, text("install it now", "现在安装")), (False, text("not now", "暂不"))]
    if not select(text(f"Install {names}?", f"安装 {names}？"), choices):
        raise Back
    try:
        install_missing(prepared.engines, lambda _missing: True)
    except KeyboardInterrupt:
        raise Back from None
