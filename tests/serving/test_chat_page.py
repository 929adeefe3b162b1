"""The page at `/` in a headless Chromium: a chat with an adapter, a stop, keys, both languages."""

from __future__ import annotations

import json
import shlex
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import save_adapter
from box import until
from chromium import Browser, Page, chromium
from forced_server import ForcedServer, answering, tokenizer_with
from own_server import Server, serving
from template_rows import wheel_source
from tiny import TEMPLATE
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.slow

KEY = "sk-test"
ADAPTER = "it's <b>bold</b>"
MARKUP = '<img src="x" onerror="document.title = 1"><script>alert(1)</script> & <b>b</b>'
IS_IDLE = "!document.querySelector('.running') && document.querySelector('.again')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a model whose greedy answers have no end, and an adapter, with a key."""
    root = tmp_path_factory.mktemp("endless")
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    with torch.no_grad():
        model.get_output_embeddings().weight[tokenizer.all_special_ids] = 0
    for part in (model, tokenizer):
        part.save_pretrained(root / "model")
    adapter = save_adapter(model, root / "model", root / "adapter")
    with serving(root / "model", key=KEY, adapters={ADAPTER: adapter}) as running:
        yield running


@pytest.fixture(scope="module")
def forced() -> Iterator[ForcedServer]:
    thinking = tokenizer_with(wheel_source("qwen3"), [])
    tokenizers = {
        "": tokenizer_with(TEMPLATE, []),
        MARKUP: thinking,
        "bare": tokenizer_with("", []),
    }
    with answering(tokenizers) as running:
        yield running


def opened(browser: Browser, server: Server | ForcedServer, **keys: Any) -> Page:
    """Open the page of a server, with its key, and wait for its models."""
    page = browser.page(f"{server.url}/", **keys)
    if isinstance(server, Server):
        page.wait("!document.querySelector('#key-field').hidden")
        page.type("#key", KEY)
        page.press("Enter")
    page.wait("document.querySelector('#model').value")
    return page


def chat(page: Page, content: str) -> None:
    """Send a message and wait for the end of the answer."""
    page.type("#message", content)
    page.press("Enter")
    page.wait(IS_IDLE)


def test_a_chat_with_an_adapter_shows_its_answer_and_speed(
    browser: Browser, server: Server
) -> None:
    page = opened(browser, server)
    page.choose("#model", ADAPTER)
    page.type("#system", "You encode.")
    page.type("#max-tokens", "12")
    chat(page, "what does the json module do")
    chat(page, "and then")
    messages: list[Any] = [
        {"role": "system", "content": "You encode."},
        {"role": "user", "content": "what does the json module do"},
    ]
    with server.client(KEY) as client:
        for follow_up in ("and then", None):
            answer = client.chat.completions.create(model=ADAPTER, messages=messages, max_tokens=12)
            content = answer.choices[0].message.content
            messages += [{"role": "assistant", "content": content}]
            messages += [{"role": "user", "content": follow_up}] if follow_up else []
    shown = page.value("[...document.querySelectorAll('p.text')].map(p => p.textContent)")
    assert [part for part in shown if part] == [message["content"] for message in messages[1:]]
    assert page.text(".answer .by") == ADAPTER
    speed = page.text(".state").split(" · ")
    assert speed[0] == "12 tokens"
    assert float(speed[1].removesuffix(" tokens/s")) > 0
    assert speed[-1] == "cut off at the limit of tokens"
    assert all(address.startswith(f"{server.url}/") for address in page.requests())
    assert all(" 401 " in problem for problem in page.problems())  # before the key was there


def test_escape_stops_an_answer_and_frees_its_slot(browser: Browser, server: Server) -> None:
    page = opened(browser, server)
    page.type("#message", "count")
    page.press("Enter")
    page.wait("document.querySelector('.answer > p.text')?.textContent")
    page.press("Escape")
    page.wait(IS_IDLE)
    tokens, *_, last = page.text(".state").split(" · ")
    assert last == "stopped"
    assert int(tokens.split()[0]) < 900

    def running() -> int:
        with urllib.request.urlopen(f"{server.url}/health") as response:
            return int(json.load(response)["running"])

    until(lambda: running() == 0, what="the slot is free")
    page.type("#max-tokens", "4")
    chat(page, "more")
    assert page.value("document.querySelectorAll('.answer').length") == 2


def test_the_curl_line_is_the_request_of_the_page_without_the_key(
    browser: Browser, server: Server
) -> None:
    page = opened(browser, server)
    page.choose("#model", ADAPTER)
    page.type("#message", "it's 5 $HOME")
    arguments = shlex.split(page.text("#curl"))
    assert arguments[:2] == ["curl", f"{server.url}/v1/chat/completions"]
    assert "Authorization: Bearer $API_KEY" in arguments
    assert json.loads(arguments[-1]) == {
        "model": ADAPTER,
        "messages": [{"role": "user", "content": "it's 5 $HOME"}],
    }
    assert page.text("#url") == f"{server.url}/v1"


def test_a_wrong_key_is_refused_and_the_right_one_taken(browser: Browser, server: Server) -> None:
    page = browser.page(f"{server.url}/")
    page.wait("!document.querySelector('#key-field').hidden")
    assert page.text("#version") == ""
    page.type("#key", "sk-other")
    page.press("Enter")
    page.wait("document.querySelector('#notice').innerText.includes('does not accept')")
    page.type("#key", KEY)
    page.press("Enter")
    page.wait("document.querySelector('#model').value")
    assert page.value("document.querySelector('#notice').hidden")
    page.wait("document.activeElement.id === 'message'")


def test_markup_of_users_models_and_names_is_shown_as_text(
    browser: Browser, forced: ForcedServer
) -> None:
    page = opened(browser, forced)
    forced.scheduler.text = f"<think>\n{MARKUP}\n</think>\n\n{MARKUP}"
    page.choose("#model", MARKUP)
    page.type("#system", MARKUP)
    chat(page, MARKUP)
    shown = page.value("[...document.querySelectorAll('p.text')].map(p => p.textContent.trim())")
    assert shown == [MARKUP] * 3
    assert page.value("document.querySelectorAll('img, #turns script, b').length") == 0
    assert page.value("document.title") == page.text("#title") == MARKUP
    assert page.problems() == []


def test_reasoning_is_folded_and_sent_back_as_reasoning(
    browser: Browser, forced: ForcedServer
) -> None:
    page = opened(browser, forced)
    page.choose("#model", MARKUP)
    forced.scheduler.text = "<think>\nI wonder.\n</think>\n\nYes."
    chat(page, "Is it?")
    assert page.text(".answer > p.text").strip() == "Yes."
    assert page.value("document.querySelector('details').open") is False
    assert page.value("document.querySelector('details p').textContent").strip() == "I wonder."
    chat(page, "Sure?")
    assert "<think>\nI wonder.\n</think>" not in forced.scheduler.prompt  # as its template has it
    assert forced.scheduler.prompt.count("Yes.") == 1


def test_a_model_without_a_template_continues_a_text(
    browser: Browser, forced: ForcedServer
) -> None:
    page = opened(browser, forced)
    page.choose("#model", "bare")
    forced.scheduler.text = " in the end"
    chat(page, "Once")
    assert forced.scheduler.prompt == "Once"
    assert page.text(".answer > p.text").strip() == "in the end"
    assert "no chat template" in page.text("#about-model")


def test_a_refused_message_returns_to_its_field_with_the_reason(
    browser: Browser, forced: ForcedServer
) -> None:
    page = opened(browser, forced)
    page.type("#max-tokens", "2000000")
    page.type("#message", "Hello")
    page.press("Enter")
    page.wait("!document.querySelector('#notice').hidden")
    assert "max_tokens: 2000000" in page.text("#notice")
    assert page.value("document.querySelector('#message').value") == "Hello"
    assert page.value("document.querySelectorAll('.turn').length") == 0


def test_a_number_out_of_range_is_not_sent(browser: Browser, forced: ForcedServer) -> None:
    page = opened(browser, forced)
    page.type("#temperature", "3")
    page.type("#message", "Hello")
    page.press("Enter")
    assert page.value("document.activeElement.id") == "temperature"
    assert not [address for address in page.requests() if address.endswith("completions")]


def test_an_answer_is_generated_again_in_its_place(browser: Browser, forced: ForcedServer) -> None:
    page = opened(browser, forced)
    forced.scheduler.text = "first"
    chat(page, "Hello")
    forced.scheduler.text = "second"
    page.click(".again")
    page.wait("document.querySelector('.answer > p.text').textContent.includes('second')")
    page.wait(IS_IDLE)
    assert page.value("document.querySelectorAll('.answer').length") == 1
    assert "first" not in forced.scheduler.prompt


def test_enter_sends_but_not_with_shift_nor_while_characters_are_composed(
    browser: Browser, forced: ForcedServer
) -> None:
    page = opened(browser, forced)
    page.type("#message", "一")
    page.press("Enter", composing=True)
    page.press("Enter", shift=True)
    page.send("Input.insertText", text="二")
    assert page.value("document.querySelector('#message').value") == "一\n二"
    forced.scheduler.text = "好"
    page.press("Enter")
    page.wait(IS_IDLE)
    assert page.text(".user p.text") == "一\n二"


def test_the_language_is_that_of_the_browser_and_can_be_switched(
    browser: Browser, forced: ForcedServer
) -> None:
    page = opened(browser, forced, language="zh-CN")
    assert page.value("document.documentElement.lang") == "zh-CN"
    assert page.text("#send") == "发送"
    page.click("#language")
    assert page.text("#send") == "Send"
    assert page.value("document.documentElement.lang") == "en"


def test_the_page_follows_the_theme_and_fits_a_phone(
    browser: Browser, forced: ForcedServer
) -> None:
    page = opened(browser, forced, width=390)
    forced.scheduler.text = "x" * 300
    chat(page, "y" * 300)
    assert page.value("document.querySelector('#entry').getBoundingClientRect().bottom") == 860
    page.click("#fold")
    assert page.value("document.documentElement.scrollWidth") == 390
    assert page.value("document.querySelector('#panel').getBoundingClientRect().height") > 100
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.value(background)
    page.dark()
    assert page.value(background) != light
    page.click("#theme")
    assert page.value(background) == light
