"""Redirects of a hub: to its storage, and of a mirror to the hub itself; no credential follows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fake_hub import Handler, Repository, hub
from faulty_hub import FILES, FIRST
from hub_contents import contents

from swiftbox.errors import HubError
from swiftbox.hub import transfer, transfer_errors
from swiftbox.hub.download import download
from swiftbox.models.download_request import parse_request

HUBS = ("huggingface", "modelscope")
TOKEN = "hf_0123456789"


@pytest.fixture(autouse=True)
def _network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setattr(transfer, "retry", partial(transfer_errors.retry, sleep=lambda _: None))
    close_session()
    yield
    close_session()


def fetched(name: str, endpoint: str) -> Path:
    request = parse_request("o/n", hub=name, endpoints=(endpoint,))
    return download(request, twin=lambda *_: None).folder


@pytest.mark.parametrize("name", HUBS)
def test_no_credential_follows_to_the_storage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    private = Repository("o/n", FILES, token=TOKEN)
    with hub(Repository("o/n", FILES)) as storage, hub(private) as server:
        server.storage = storage.address
        for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(variable, server.address)
        for variable in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
            monkeypatch.setenv(variable, TOKEN)
        folder = fetched(name, server.address)
    assert (folder / FIRST).read_bytes() == contents(FILES[FIRST]).data()
    assert all(request.token == TOKEN for request in server.requests_to("o/n"))
    assert storage.log
    assert {request.credentials for request in storage.log} == {()}


class MovedHandler(Handler):
    """A mirror that sends everybody to the hub, and names neither commit nor hash."""

    def answer(self) -> None:
        self.send_response(308)
        self.send_header("Location", f"{self.hub.storage}{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.mark.parametrize("name", HUBS)
def test_a_mirror_may_send_everything_to_the_hub(name: str) -> None:
    with hub(Repository("o/n", FILES)) as server, hub(handler=MovedHandler) as mirror:
        mirror.storage = server.address
        folder = fetched(name, mirror.address)
    assert (folder / FIRST).read_bytes() == contents(FILES[FIRST]).data()


def test_an_offline_setting_of_the_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub(Repository("o/n", FILES)) as server, pytest.raises(HubError) as caught:
        fetched("huggingface", server.address)
    assert "unset HF_HUB_OFFLINE" in caught.value.hint
