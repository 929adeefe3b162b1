"""Why a transfer failed, in the same terms for all hubs, and which failures are retried."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.security.secrets import hide_secrets

TRANSIENT_STATUSES = (408, 425, 429)
"""Request timeout, too early, too many requests."""

PROXY_SIGN_IN = 407
"""The proxy wants a name and a password."""

MAX_FAILURES = 4
"""Consecutive failures without a byte in between after which a file is given up."""

MAX_PAUSE_S = 60.0
MAX_REQUESTED_PAUSE_S = 600.0
"""The longest Retry-After of a hub that is honoured."""

ErrorKind = Literal[
    "denied",
    "missing",
    "passing",
    "corrupt",
    "full",
    "page",
    "pointer",
    "shards",
    "unusable",
    "commit",
    "offline",
    "proxy",
]
Result = TypeVar("Result")


class TransferError(Exception):
    """A hub refused a request, or a transfer broke; `after_s` is the pause that the hub wants."""

    def __init__(self, kind: ErrorKind, message: str, *, after_s: float | None = None) -> None:
        super().__init__(hide_secrets(message))
        self.kind: ErrorKind = kind
        self.after_s = after_s

    @property
    def is_transient(self) -> bool:
        """Return whether a retry can help."""
        return self.kind == "passing"


def error_of_status(status: int, message: str, after_s: float | None = None) -> TransferError:
    """Classify an HTTP status; overload and server errors are transient."""
    if status in (401, 403):
        return TransferError("denied", message)
    if status == PROXY_SIGN_IN:
        return TransferError("proxy", message)
    if status >= 500 or status in TRANSIENT_STATUSES:
        return TransferError("passing", message, after_s=after_s)
    return TransferError("missing", message)


def retry(
    transfer: Callable[[], Result],
    *,
    bytes_done: Callable[[], int],
    on_pause: Callable[[TransferError, float], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Repeat a transfer with growing pauses while its error is transient; raise the last error.

    A transfer whose `bytes_done` grows between failures is not given up.
    """
    failures, bytes_before = 0, bytes_done()
    while True:
        try:
            return transfer()
        except TransferError as error:
            failures = 1 if bytes_done() > bytes_before else failures + 1
            bytes_before = bytes_done()
            if not error.is_transient or failures >= MAX_FAILURES:
                raise
            pause = min(2.0 ** (failures - 1), MAX_PAUSE_S)
            if error.after_s is not None:
                pause = min(max(error.after_s, 0.0), MAX_REQUESTED_PAUSE_S)
            on_pause(error, pause)
            sleep(pause)


def final_error(name: str, hub: str, error: TransferError) -> HubError:
    """Return what the user reads when no retry and no other hub helped."""
    return HubError(
        text(f"cannot fetch {name} from {hub} ({error})", f"无法从 {hub} 获取 {name}（{error}）"),
        hint=_hint(hub, error.kind),
    )


def _hint(hub: str, kind: ErrorKind) -> str:
    token = "MODELSCOPE_API_TOKEN" if hub == "modelscope" else "HF_TOKEN"
    hints = {
        "denied": text(
            f"check the id; a private or gated model needs an access token in {token}",
            f"请检查 id；私有或受限模型需要在环境变量 {token} 中提供有权限的令牌",
        ),
        "missing": text(
            "check the id, the revision and the hub (hub: modelscope | huggingface); a private "
            f"model needs an access token in {token}",
            "请检查 id、revision 与 hub（modelscope | huggingface）；"
            f"私有模型需要在环境变量 {token} 中提供令牌",
        ),
        "passing": text(
            "run it again later: it resumes where it stopped; or check the proxy, if one is set, "
            "or set another endpoint",
            "稍后再次运行，会从中断处继续；也可检查代理（若已设置）或更换 endpoint",
        ),
        "corrupt": text(
            "the received files differ from the hub's listing; try again later, or set another "
            "endpoint",
            "收到的内容与社区列出的不一致；请稍后再试或更换 endpoint",
        ),
        "full": text(
            "free some space and run it again: it resumes where it stopped",
            "请清理磁盘后再次运行，会从中断处继续",
        ),
    }
    return hints.get(kind) or _hint_of_answer(kind)


def _hint_of_answer(kind: ErrorKind) -> str:
    """Return the cure for an answer that is not what was asked for."""
    hints = {
        "page": text(
            "a network that wants a sign-in, a proxy or a broken mirror answered in place of the "
            "hub; open the address in a browser, check HTTPS_PROXY, or set another endpoint",
            "应答的不是社区，而是需要登录的网络、代理或失效的镜像：请在浏览器中打开该地址、检查 "
            "HTTPS_PROXY，或更换 endpoint",
        ),
        "pointer": text(
            "the mirror or the repository lacks the file itself: set another endpoint or hub, or "
            "leave it out with ignore_patterns (task: download)",
            "镜像或仓库缺少该文件本身：请更换 endpoint 或 hub，或用 ignore_patterns 跳过它"
            "（task: download）",
        ),
        "shards": text(
            "the upload is incomplete or the mirror is not up to date: set another endpoint or "
            "hub, or another revision",
            "上传不完整，或镜像未同步：请更换 endpoint 或 hub，或指定其他 revision",
        ),
        "unusable": text("check the id, or set another endpoint", "请检查 id，或更换 endpoint"),
        "proxy": text(
            "check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY: http://USER:PASSWORD@HOST:PORT; hosts in "
            "NO_PROXY are reached without it",
            "请检查 HTTP_PROXY、HTTPS_PROXY 与 ALL_PROXY：http://用户:密码@主机:端口；NO_PROXY "
            "中的主机不经代理",
        ),
        "commit": text(
            "its cache needs one: set local_dir (task: download) and use that folder, or set "
            "another endpoint",
            "社区的缓存需要提交：请设置 local_dir（task: download）并使用该目录，或更换 endpoint",
        ),
        "offline": text(
            "unset HF_HUB_OFFLINE to download from Hugging Face",
            "如需从 Hugging Face 下载，请取消环境变量 HF_HUB_OFFLINE",
        ),
    }
    return hints[kind]
