"""Why a fetch failed, in our words: what can be tried again, and what cannot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from swiftbox.errors import HubError
from swiftbox.language import text

TOKENS = ("MODELSCOPE_API_TOKEN", "MODELSCOPE_SDK_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

PASSING = (408, 425, 429)
"""Statuses of requests that came at the wrong time: timeout, too early, too many."""

TRIES = 4
"""Failures in a row, without a byte in between, after which a file is given up."""

LONGEST_PAUSE_S = 60.0
LONGEST_ASKED_PAUSE_S = 600.0
"""A hub that asks for patience gets it, up to this."""

Kind = Literal["denied", "missing", "passing", "corrupt", "full"]
Made = TypeVar("Made")


class TransferError(Exception):
    """A hub's refusal or a broken transfer; `after_s` is the patience that the hub asked for."""

    def __init__(self, kind: Kind, words: str, *, after_s: float | None = None) -> None:
        super().__init__(without_tokens(words))
        self.kind: Kind = kind
        self.after_s = after_s

    @property
    def passes(self) -> bool:
        """Tell whether trying again can help."""
        return self.kind == "passing"


def without_tokens(words: str) -> str:
    """Return words without any token of the environment."""
    for name in TOKENS:
        if (value := os.environ.get(name, "").strip()) and len(value) > 3:
            words = words.replace(value, f"${name}")
    return words


def error_of_status(status: int, words: str, after_s: float | None = None) -> TransferError:
    """Return what an HTTP status means; what is busy or broken for now passes."""
    if status in (401, 403):
        return TransferError("denied", words)
    if status >= 500 or status in PASSING:
        return TransferError("passing", words, after_s=after_s)
    return TransferError("missing", words)


def retry(
    act: Callable[[], Made],
    *,
    done: Callable[[], int],
    on_pause: Callable[[TransferError, float], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Made:
    """Do something again with growing pauses while its trouble passes; raise the last Trouble.

    `done` counts bytes: a transfer that gets on between its troubles is not given up.
    """
    failures, before = 0, done()
    while True:
        try:
            return act()
        except TransferError as trouble:
            failures = 1 if done() > before else failures + 1
            before = done()
            if not trouble.passes or failures >= TRIES:
                raise
            pause = min(2.0 ** (failures - 1), LONGEST_PAUSE_S)
            if trouble.after_s is not None:
                pause = min(max(trouble.after_s, 0.0), LONGEST_ASKED_PAUSE_S)
            on_pause(trouble, pause)
            sleep(pause)


def final_error(name: str, hub: str, trouble: TransferError) -> HubError:
    """Return what the user reads when a hub's trouble is final."""
    token = "MODELSCOPE_API_TOKEN" if hub == "modelscope" else "HF_TOKEN"
    hints = {
        "denied": text(
            f"check the id; a private or gated model wants a token with access to it in {token}",
            f"请检查 id；私有或受限模型需要在环境变量 {token} 中提供有权限的令牌",
        ),
        "missing": text(
            "check the id, the revision and the hub (hub: modelscope | huggingface); a private "
            f"model wants {token}",
            f"请检查 id、revision 与 hub（modelscope | huggingface）；私有模型需要 {token}",
        ),
        "passing": text(
            "run it again later: it continues where it stopped; or set another endpoint",
            "稍后再次运行，会从中断处继续；或更换 endpoint",
        ),
        "corrupt": text(
            "what arrives is not what the hub lists; try again later or another endpoint",
            "收到的内容与社区列出的不一致；请稍后再试或更换 endpoint",
        ),
        "full": text("free some room; it continues then", "请清理磁盘，之后会继续"),
    }
    return HubError(
        text(
            f"cannot fetch {name} from {hub} ({trouble})", f"无法从 {hub} 获取 {name}（{trouble}）"
        ),
        hint=hints[trouble.kind],
    )
