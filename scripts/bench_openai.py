"""Sends each of OpenAI's parameters with the official client: works, or why not."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import served_models
from openai import APIStatusError, OpenAI
from openai_requests import REFUSED, TALK, WORKS
from tiny import build

WIDTH = 60


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Send the requests of the tests to a server with a tiny model."""
    del options
    with tempfile.TemporaryDirectory() as temporary:
        return table(Path(temporary))


def table(folder: Path) -> int:
    """Print the table as Markdown; return 1 if an answer is unexpected."""
    wrong = 0
    with served_models.server(folder, build("qwen3", folder / "tiny")) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        print("| route | parameters | answer |\n|---|---|---|")
        print(f"| models | | {', '.join(model.id for model in client.models.list())} |")
        for kind, keys in WORKS:
            status, message = ask(client, kind, keys)
            wrong += status != 200
            print(row(kind, keys, "works" if status == 200 else f"{status} {message}"))
        for kind, keys, why in REFUSED:
            status, message = ask(client, kind, keys)
            wrong += status != 400 or why not in message
            print(row(kind, keys, f"{status}: {message}"))
    print(f"\n{len(WORKS)} work, {len(REFUSED)} are refused with the reason; {wrong} are wrong")
    return 1 if wrong else 0


def row(kind: str, keys: dict[str, Any], answer: str) -> str:
    """Return a line of the table."""
    content = json.dumps(keys, ensure_ascii=False).replace("|", "\\|")
    shown = content if len(content) <= WIDTH else content[:WIDTH] + " …"
    return f"| {kind} | `{shown}` | {answer} |"


def ask(client: OpenAI, kind: str, keys: dict[str, Any]) -> tuple[int, str]:
    """Send one request; return the status and the error message."""
    request: dict[str, Any] = {"model": "model", "max_tokens": 12, "temperature": 0}
    request |= {"messages": TALK} if kind == "chat" else {"prompt": "The json module"}
    create: Any = client.chat.completions.create if kind == "chat" else client.completions.create
    try:
        response = create(**{**request, **keys})
        if keys.get("stream"):
            list(response)
    except APIStatusError as error:
        return error.status_code, error.body["message"] if isinstance(error.body, dict) else ""
    return 200, ""
