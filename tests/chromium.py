"""A headless Chromium, driven by its DevTools protocol over two pipes; no package is needed.

Debian's `chromium` or `chromium-headless-shell` do; CHROMIUM names another program.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from box import HANG_S

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome", "chrome", "chromium-browser")

FLAGS = (
    "--headless --remote-debugging-pipe --no-first-run --disable-background-networking"
    " --disable-component-update --disable-default-apps --disable-dev-shm-usage"
    " --disable-extensions --disable-gpu --disable-sync --hide-scrollbars --mute-audio"
    " --no-proxy-server"
).split()

REPORTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
"""Events of what a person sees in the console of a browser."""


def require_chromium() -> str:
    """Return the program; skip the test on a machine that has none."""
    named = os.environ.get("CHROMIUM")
    program = named or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: chromium-headless-shell)")
    return program


class Browser:
    """The process and its protocol: commands get their answers, events are queued."""

    def __init__(self, process: subprocess.Popen[bytes], commands: Any, messages: Any) -> None:
        self._process = process
        self._commands = commands
        self._arrived: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._events: list[dict[str, Any]] = []
        self._count = 0
        threading.Thread(target=self._receive, args=(messages,), daemon=True).start()

    def _receive(self, messages: Any) -> None:
        received = b""
        while part := os.read(messages, 2**20):
            *complete, received = (received + part).split(b"\0")
            for message in complete:
                self._arrived.put(json.loads(message))
        self._arrived.put(None)

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._count += 1
        command: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._arrived.get(timeout=HANG_S)) is not None:
            if message.get("id") == self._count:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)
        raise EOFError(f"Chromium ended with {self._process.wait()}")

    def events(self, session: str) -> list[dict[str, Any]]:
        """Return the events of a page so far."""
        return [event for event in self._events if event.get("sessionId") == session]

    def page(self, url: str, *, width: int = 1280, language: str = "en") -> Page:
        """Open a page and wait until it is loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.send("Emulation.setUserAgentOverride", userAgent="test", acceptLanguage=language)
        page.size(width)
        page.send("Page.navigate", url=url)
        page.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")
        return page


class Page:
    """One page, as its user sees it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command about this page."""
        return self._browser.send(method, self._session, **params)

    def size(self, width: int, height: int = 860) -> None:
        """Set the size of the window in pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.send("Emulation.setDeviceMetricsOverride", mobile=width < 800, **metrics)

    def dark(self, is_dark: bool = True) -> None:
        """Set what the user prefers."""
        value = "dark" if is_dark else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def value(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript; a promise is awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a condition holds."""
        self.value(
            "new Promise(done => { const look = () => "
            f"({condition}) ? done(true) : setTimeout(look, 10); look(); }})"
        )

    def text(self, selector: str) -> str:
        """Return the text of the last element that a selector finds, as it is shown."""
        return str(
            self.value(f"[...document.querySelectorAll({json.dumps(selector)})].at(-1).innerText")
        )

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, content: str) -> None:
        """Replace the content of a field, as if typed."""
        self.value(f"document.querySelector({json.dumps(selector)}).select()")
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.send("Input.insertText", text=content)

    def press(self, key: str, *, shift: bool = False, composing: bool = False) -> None:
        """Press a key on what has the focus; `composing` as a method for Chinese reports it."""
        code = 229 if composing else {"Enter": 13, "Escape": 27}[key]
        content = {"text": "\r"} if key == "Enter" and not composing else {}
        common = {"key": key, "code": key, "modifiers": 8 if shift else 0}
        self.send(
            "Input.dispatchKeyEvent",
            type="keyDown" if content else "rawKeyDown",
            windowsVirtualKeyCode=code,
            **common,
            **content,
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", windowsVirtualKeyCode=code, **common)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list."""
        self.value(
            f"(() => {{ const list = document.querySelector({json.dumps(selector)});"
            f"list.value = {json.dumps(value)};"
            "list.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def requests(self) -> list[str]:
        """Return the addresses of all requests so far."""
        self.value("0")  # events before this answer have arrived
        return [
            event["params"]["request"]["url"]
            for event in self._browser.events(self._session)
            if event["method"] == "Network.requestWillBeSent"
        ]

    def problems(self) -> list[str]:
        """Return what its console reports: errors of scripts, and violations of its policy."""
        self.value("0")
        events = self._browser.events(self._session)
        entries = [event["params"] for event in events if event["method"] in REPORTS]
        return [
            json.dumps(entry)
            for entry in entries
            if entry.get("entry", entry).get("level", "error") in ("error", "warning")
        ]

    def screenshot(self, file: Path) -> None:
        """Save what is visible as a PNG."""
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile in a folder."""
    program = require_chromium()
    (command_end, commands), (messages, message_end) = os.pipe(), os.pipe()
    # As root it has no sandbox; it only opens pages of the test's own server.
    arguments = [program, *FLAGS, "--no-sandbox", f"--user-data-dir={folder}", "about:blank"]
    moved = ["bash", "-c", f'exec "$@" 3<&{command_end} 4>&{message_end}', "bash", *arguments]
    process = subprocess.Popen(
        moved, pass_fds=(command_end, message_end), stderr=subprocess.DEVNULL, cwd=folder
    )
    os.close(command_end)
    os.close(message_end)
    try:
        browser = Browser(process, commands, messages)
        yield browser
        browser.send("Browser.close")
    finally:
        os.close(commands)
        try:
            process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
