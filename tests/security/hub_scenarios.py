"""Download once per scenario, in one process: `python hub_scenarios.py < SCENARIOS.json`.

A scenario has the variables that it sets (null removes one), a token that an SDK has saved, and
the request. Prints one line of JSON per scenario: the warnings, and the error if it failed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils import close_session
from modelscope_hub.config import HubConfig

from swiftbox.errors import HubError
from swiftbox.hub.download import download
from swiftbox.models.download_request import parse_request


def main() -> None:
    for scenario in json.load(sys.stdin):
        before = dict(os.environ)
        for name, value in scenario["variables"].items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        close_session()  # it knows the proxies of before
        save_tokens(scenario["saved"])
        sys.stdout.write(json.dumps(outcome(scenario)) + "\n")
        os.environ.clear()
        os.environ.update(before)


def save_tokens(token: str | None) -> None:
    """Save a token as the logins of both SDKs do, or remove it."""
    path = Path(constants.HF_TOKEN_PATH)
    if token is None:
        path.unlink(missing_ok=True)
        HubConfig().clear_token()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(token)
    HubConfig().save_token(token)


def outcome(scenario: dict[str, Any]) -> dict[str, Any]:
    messages: list[str] = []

    def emit(_event: str, **fields: Any) -> None:
        messages.append(str(fields.get("message", "")))

    request = parse_request(
        scenario["id"],
        kind=scenario["kind"],
        hub=scenario["hub"],
        endpoints=tuple(scenario["endpoints"]),
    )
    twins = scenario["twins"]
    try:
        download(request, emit, lambda name, hub: twins.get(f"{hub}:{name}"))
    except HubError as error:
        return {"messages": messages, "error": str(error)}
    return {"messages": messages, "error": ""}


if __name__ == "__main__":
    main()
