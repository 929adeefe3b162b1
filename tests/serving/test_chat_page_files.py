"""The page at `/` as files: who gets them, with which headers, and what they may contain."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator

import pytest
from box import HANG_S
from forced_server import ForcedServer, answering, tokenizer_with
from tiny import TEMPLATE

from swiftbox import __version__
from swiftbox.serving.chat_page import FOLDER, PAGE_FILES

KEY = "sk-test"


@pytest.fixture(scope="module")
def server() -> Iterator[ForcedServer]:
    tokenizers = {"": tokenizer_with(TEMPLATE, []), "plain": tokenizer_with("", [])}
    with answering(tokenizers, key=KEY) as running:
        yield running


def ask(
    server: ForcedServer, method: str, path: str, key: str = "", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=HANG_S)
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection.request(method, path, headers={**authorization, **headers})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", PAGE_FILES)
def test_the_files_of_the_page_need_no_key(path: str, server: ForcedServer) -> None:
    name, kind = PAGE_FILES[path]
    response, body = ask(server, "GET", path)
    assert (response.status, body) == (200, (FOLDER / name).read_bytes())
    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
    head, nothing = ask(server, "HEAD", path)
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("path", PAGE_FILES)
def test_the_page_runs_its_own_scripts_only_and_asks_its_own_server_only(
    path: str, server: ForcedServer
) -> None:
    headers = ask(server, "GET", path)[0].headers
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    same_server = {name for name, value in policy.items() if value == "'self'"}
    assert same_server == {"script-src", "style-src", "connect-src"}
    assert {policy[name] for name in policy.keys() - same_server} == {"'none'", "'script'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_without_the_key_nothing_about_the_server_is_visible(server: ForcedServer) -> None:
    for path in ("/chat.json", "/v1/models"):
        assert ask(server, "GET", path)[0].status == 401
    pages = b"".join(ask(server, "GET", path)[1] for path in PAGE_FILES)
    assert __version__.encode() not in pages


def test_the_defaults_are_those_of_the_server(server: ForcedServer) -> None:
    import json

    response, body = ask(server, "GET", "/chat.json", key=KEY)
    assert response.status == 200
    assert json.loads(body) == {
        "version": __version__,
        "temperature": 0.0,
        "completion_tokens": 16,
        "max_model_len": None,
        "without_template": ["plain"],
    }


def test_the_page_is_for_reading_only(server: ForcedServer) -> None:
    response, _ = ask(server, "POST", "/", key=KEY)
    assert (response.status, response.headers["Allow"]) == (405, "GET")
    assert ask(server, "POST", "/")[0].status == 401
    assert ask(server, "OPTIONS", "/", key=KEY)[0].status == 204


def test_a_name_that_another_site_gave_this_machine_gets_no_page(server: ForcedServer) -> None:
    assert ask(server, "GET", "/", Host="evil.example")[0].status == 421
    assert ask(server, "GET", "/", Origin="https://evil.example")[0].status == 403


def sources() -> dict[str, str]:
    return {file.name: file.read_text("utf-8") for file in FOLDER.iterdir()}


def test_no_text_can_become_markup_or_code() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser"
    for name, source in sources().items():
        assert not re.search(sinks, source), name
    page = sources()["chat.html"]
    assert not re.search(r"\son\w+=|style=|<script(?![^>]*src=)", page)


def test_the_page_stores_nothing_and_names_no_other_site() -> None:
    for name, source in sources().items():
        assert not re.search(r"localStorage|sessionStorage|document\.cookie|indexedDB", source), (
            name
        )
        assert not re.search(r"https?://|//\w+\.\w+/", source), name


def test_every_text_of_the_page_is_there_in_both_languages() -> None:
    english, chinese = sources()["texts.js"].split("  zh: {")
    names = [re.findall(r"^    (\w+): ", part, re.MULTILINE) for part in (english, chinese)]
    assert names[0] == names[1]
    shown = re.findall(r'data-text="(\w+)"', sources()["chat.html"])
    shown += re.findall(r'text\("(\w+)"\)', sources()["chat.js"])
    assert set(shown) == set(names[0])


def test_every_file_of_the_page_is_served() -> None:
    assert {name for name, _ in PAGE_FILES.values()} == set(sources())
    assert all(len(source.splitlines()) <= 400 for source in sources().values())
