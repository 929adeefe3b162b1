"""litellm and langchain-openai, run by the Python of an environment that has them.

Reads a request per line: client, url, model, messages, keys of the request, and whether it is
streamed. Writes the answers to it per line: content, reasoning, calls, finish, and the bytes of the
tokens.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it asks a site for prices
os.environ["LANGSMITH_TRACING"] = "false"


def answer() -> dict[str, Any]:
    return {"content": "", "reasoning": "", "calls": {}, "finish": None, "bytes": []}


def add(answers: dict[int, dict[str, Any]], choice: Any, part: Any) -> None:
    """Add a choice of litellm, complete or of a stream, to its answer."""
    entry = answers.setdefault(choice.index, answer())
    entry["content"] += part.content or ""
    entry["reasoning"] += getattr(part, "reasoning_content", None) or ""
    for place, call in enumerate(part.tool_calls or []):
        index = getattr(call, "index", None)
        known = entry["calls"].setdefault(place if index is None else index, ["", ""])
        known[0] += call.function.name or ""
        known[1] += call.function.arguments or ""
    entry["finish"] = choice.finish_reason or entry["finish"]
    logs = getattr(choice, "logprobs", None)
    entries = logs.get("content") if isinstance(logs, dict) else getattr(logs, "content", None)
    for log in entries or []:
        entry["bytes"] += (log["bytes"] if isinstance(log, dict) else log.bytes) or []


def by_litellm(request: dict[str, Any]) -> list[dict[str, Any]]:
    import litellm

    stream = request["stream"]
    response = litellm.completion(
        model=f"openai/{request['model']}",
        api_base=f"{request['url']}/v1",
        api_key="none",
        messages=request["messages"],
        stream=stream,
        max_retries=0,
        **request["keys"],
    )
    answers: dict[int, dict[str, Any]] = {}
    for part in response if stream else [response]:
        for choice in part.choices:
            add(answers, choice, choice.delta if stream else choice.message)
    return [answers[index] for index in sorted(answers)]


def by_langchain(request: dict[str, Any]) -> list[dict[str, Any]]:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        model=request["model"],
        base_url=f"{request['url']}/v1",
        api_key="none",
        max_retries=0,
    ).bind(**request["keys"])
    if request["stream"]:
        parts = list(chat.stream(request["messages"]))
        message = parts[0]
        for part in parts[1:]:
            message = message + part
    else:
        message = chat.invoke(request["messages"])
    entry = answer()
    entry["content"] = message.content
    for index, call in enumerate(message.tool_calls):
        entry["calls"][index] = [call["name"], json.dumps(call["args"])]
    entry["finish"] = message.response_metadata["finish_reason"]
    logs = message.response_metadata.get("logprobs") or {}
    entry["bytes"] = [byte for log in logs.get("content") or [] for byte in log["bytes"] or []]
    return [entry]


CLIENTS = {"litellm": by_litellm, "langchain": by_langchain}


def main() -> None:
    """Answer requests until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(CLIENTS[request["client"]](request)), flush=True)


if __name__ == "__main__":
    main()
