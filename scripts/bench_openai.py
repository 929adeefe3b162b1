"""Every parameter of OpenAI's sent by the official client to a server: works, or why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bench_serve
from openai import APIStatusError, OpenAI
from openai_requests import REFUSED, TALK, WORKS
from tiny import build

WIDTH = 60


def table(folder: Path) -> int:
    """Print the table as Markdown; return 1 when a request was not answered as it should be."""
    wrong = 0
    with bench_serve.server(folder, build("qwen3", folder / "tiny")) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        print("| route | parameters | answer |\n|---|---|---|")
        print(f"| models | | {', '.join(one.id for one in client.models.list())} |")
        for kind, keys in WORKS:
            status, said = ask(client, kind, keys)
            wrong += status != 200
            print(row(kind, keys, "works" if status == 200 else f"{status} {said}"))
        for kind, keys, why in REFUSED:
            status, said = ask(client, kind, keys)
            wrong += status != 400 or why not in said
            print(row(kind, keys, f"{status}: {said}"))
    print(f"\n{len(WORKS)} work, {len(REFUSED)} are refused with the reason; {wrong} are wrong")
    return 1 if wrong else 0


def row(kind: str, keys: dict[str, Any], answer: str) -> str:
    """Return a line of the table."""
    words = json.dumps(keys, ensure_ascii=False).replace("|", "\\|")
    return f"| {kind} | `{words if len(words) <= WIDTH else words[:WIDTH] + ' …'}` | {answer} |"


def ask(client: OpenAI, kind: str, keys: dict[str, Any]) -> tuple[int, str]:
    """Send one request; return the status and what was wrong."""
    said: dict[str, Any] = {"model": "model", "max_tokens": 12, "temperature": 0}
    said |= {"messages": TALK} if kind == "chat" else {"prompt": "The json module"}
    create: Any = client.chat.completions.create if kind == "chat" else client.completions.create
    try:
        found = create(**{**said, **keys})
        if keys.get("stream"):
            list(found)
    except APIStatusError as error:
        return error.status_code, error.body["message"] if isinstance(error.body, dict) else ""
    return 200, ""
