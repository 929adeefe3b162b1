"""Searching the hub itself, against a server on loopback; without one, the offline answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from box import HANG_S, box
from search_server import Search, search_server

from swiftbox.hub import online, reach
from swiftbox.hub.from_huggingface import HuggingFace
from swiftbox.hub.online import SearchHit, search
from swiftbox.hub.transfer_errors import TransferError
from swiftbox.models.download_request import DownloadRequest

SEARCH_TIMEOUT_S = online.TIMEOUT_S


@pytest.fixture
def hub() -> Iterator[Search]:
    with search_server() as state:
        yield state


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of a port that is held but does not listen."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _ours_alone(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    """Point both hubs at nothing, past any proxy."""
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", nowhere)
    monkeypatch.setenv("HF_ENDPOINT", nowhere)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(online, "TIMEOUT_S", HANG_S)


def test_a_search_takes_at_most_five_seconds() -> None:
    assert reach.PROBE_TIMEOUT_S + SEARCH_TIMEOUT_S < 5


@pytest.fixture
def modelscope(hub: Search, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    return hub


def test_modelscope_is_asked_and_its_rows_are_read(modelscope: Search) -> None:
    result = search("qwen3 8b", limit=7)
    ((path, requests),) = modelscope.requests
    assert path == "/openapi/v1/models"
    assert requests == {
        "search": ["qwen3 8b"],
        "sort": ["downloads"],
        "page_number": ["1"],
        "page_size": ["7"],
    }
    assert (result.hub, result.problem) == ("modelscope", "")
    first, second = result.hits
    assert first == SearchHit(
        "Qwen/Qwen3-8B", "modelscope", 1_234_567, "apache-2.0", None, ("chat",)
    )
    assert second.size_bytes == 16_400_000_000


def test_hugging_face_is_asked_if_modelscope_does_not_answer(
    hub: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    result = search("qwen3")
    assert hub.requests[0][0] == "/api/models"
    assert result.hub == "huggingface"
    assert result.hits[0].license == "apache-2.0"


def test_datasets_have_their_own_route(modelscope: Search) -> None:
    assert search("alpaca", kind="datasets").hits[0].license == "mit"
    assert modelscope.requests[0][0] == "/openapi/v1/datasets"


ROW = b'{"data": {"models": [{"id": "o/n", "downloads": %s}]}}'
UNUSABLE = [b"<html>", b"{}", b'{"success": false}', b"[]", b'{"data": []}', b"[" * 100_000]
UNUSABLE += [ROW % b"1e999", ROW % b"NaN", b"[" + b" " * 10_000_000 + b"]"]


@pytest.mark.parametrize("body", UNUSABLE)
def test_an_unusable_answer_is_reported(body: bytes, modelscope: Search) -> None:
    modelscope.body = body
    result = search("qwen")
    assert result.hits == ()
    assert "cannot be used" in result.problem


def test_an_answer_that_does_not_end_is_reported(
    modelscope: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "TIMEOUT_S", SEARCH_TIMEOUT_S)
    modelscope.is_endless = True
    began = time.monotonic()
    assert "timed out" in search("qwen").problem
    assert time.monotonic() - began < HANG_S


@pytest.mark.parametrize("tag", [5, None, []])
def test_a_tag_that_is_not_a_text_is_reported(
    tag: object, hub: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.body = json.dumps([{"id": "o/n", "tags": [tag]}]).encode()
    assert "cannot be used" in search("qwen").problem


@pytest.mark.parametrize("size", [float("inf"), float("nan"), [1], "x"])
def test_a_listing_with_an_impossible_size_is_refused(size: object) -> None:
    client = HuggingFace("http://127.0.0.1:9")
    row = SimpleNamespace(rfilename="a", size=size, lfs=None, blob_id=None)
    answer = SimpleNamespace(sha="0" * 40, siblings=[row])
    client.api = SimpleNamespace(model_info=lambda *_, **__: answer)
    with pytest.raises(TransferError, match="cannot be used"):
        client.listing(DownloadRequest("o/n", hub="huggingface"))


def test_a_server_error_is_reported(modelscope: Search) -> None:
    modelscope.status = 503
    assert "503" in search("qwen").problem


def test_without_network_the_answer_is_offline() -> None:
    result = search("qwen")
    assert result.hits == ()
    assert result.problem.startswith("no network")


def test_a_hub_that_accepts_but_never_answers_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(online, "TIMEOUT_S", 0.2)
        result = search("qwen")  # which the silent hub would never let return
    assert "cannot be used" in result.problem


@pytest.mark.usefixtures("modelscope")
def test_the_verb_lists_rows_of_the_hub_and_marks_new_ones(tmp_path: Path) -> None:
    lines = box("models", "qwen3-8b", "--online", cwd=tmp_path).stdout.splitlines()
    (known,) = [line for line in lines if "apache-2.0" in line]
    (new,) = [line for line in lines if "Pirate" in line]
    assert known.split()[:2] == ["Qwen/Qwen3-8B", "1,234,567"]
    assert new.split()[:3] == ["someone/Qwen3-8B-Pirate", "+", "12"]
    assert max(map(len, lines)) <= 88


@pytest.mark.usefixtures("modelscope")
def test_the_hub_alone_is_an_answer(tmp_path: Path) -> None:
    done = box("models", "pirate", "--online", cwd=tmp_path)
    assert "someone/Qwen3-8B-Pirate" in done.stdout


@pytest.mark.usefixtures("modelscope")
def test_json_has_both_in_one_list(tmp_path: Path) -> None:
    rows = json.loads(box("models", "qwen3-8b", "--online", "--json", cwd=tmp_path).stdout)
    by_id = {row["id"]: row for row in rows}
    assert by_id["Qwen/Qwen3-8B"]["online"]["downloads"] == 1_234_567
    assert by_id["Qwen/Qwen3-8B"]["params_b"] == 8
    assert by_id["someone/Qwen3-8B-Pirate"]["online"]["size_bytes"] == 16_400_000_000
    data = box("datasets", "alpaca-gpt4-data-zh", "--online", "--json", cwd=tmp_path).stdout
    assert json.loads(data)[0]["online"]["license"] == "mit"


def test_the_verb_answers_offline_and_reports_it(tmp_path: Path) -> None:
    done = box("models", "qwen3-8b", "--online", cwd=tmp_path)
    assert "Qwen/Qwen3-8B" in done.stdout
    assert done.stderr.count("no network") == 1
