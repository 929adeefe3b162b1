"""Proxies of the environment: both hubs are reached through them, or what to set is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_hub import Hub, Repository, hub
from faulty_hub import FILES
from hub_contents import contents
from loopback_proxy import HOST, Proxy, certificate, loopback_proxy, tls

from swiftbox.errors import HubError
from swiftbox.hub import transfer, transfer_errors
from swiftbox.hub.download import download
from swiftbox.models.download_request import parse_request
from swiftbox.security.secrets import PROXY_VARIABLES

HUBS = ("huggingface", "modelscope")
REPOSITORY = Repository("o/n", FILES)


@pytest.fixture(autouse=True)
def _network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the SDKs no proxies, a network, caches and no pauses; their connections are new."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session
    from modelscope_hub import _legacy_api

    for name in (*PROXY_VARIABLES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setattr(transfer, "retry", partial(transfer_errors.retry, sleep=lambda _: None))
    at_once = SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic, time=time.time)
    monkeypatch.setattr(_legacy_api, "time", at_once)
    close_session()
    yield
    close_session()


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub(REPOSITORY) as server:
        yield server


@pytest.fixture
def proxy(server: Hub) -> Iterator[Proxy]:
    with loopback_proxy(server.address) as proxy:
        yield proxy


def fetched(name: str, endpoint: str) -> Path:
    request = parse_request("o/n", hub=name, endpoints=(endpoint,))
    folder = download(request, twin=lambda *_: None).folder
    for path, content in FILES.items():
        assert (folder / path).read_bytes() == contents(content).data()
    return folder


@pytest.mark.parametrize("name", HUBS)
def test_http_proxy_is_used(
    name: str, server: Hub, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.address)
    fetched(name, f"http://{HOST}")
    assert set(proxy.log) == {f"GET {HOST}"}
    assert len(proxy.log) == len(server.log)


@pytest.mark.parametrize("name", HUBS)
def test_https_proxy_is_used_with_a_tunnel(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    with hub(REPOSITORY, tls=tls(pem)) as server, loopback_proxy(server.address) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        fetched(name, f"https://{HOST}")
    assert set(proxy.log) == {f"CONNECT {HOST}"}
    assert server.log


@pytest.mark.parametrize("name", HUBS)
def test_no_proxy_is_honoured(
    name: str, server: Hub, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fetched(name, server.address)
    assert proxy.log == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", HUBS)
def test_a_proxy_that_wants_a_password_is_named(
    name: str, scheme: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.wants_password = True
    monkeypatch.setenv("ALL_PROXY", proxy.address)
    with pytest.raises(HubError) as caught:
        fetched(name, f"{scheme}://{HOST}")
    assert "http://USER:PASSWORD@HOST:PORT" in caught.value.hint
    assert proxy.log


@pytest.mark.parametrize(
    ("name", "package"), [("huggingface", "socksio"), ("modelscope", "PySocks")]
)
def test_a_socks_proxy_names_the_package_that_it_needs(
    name: str, package: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.address.replace("http", "socks5"))
    with pytest.raises(HubError, match=f"socks5 proxy is set, which needs the package {package}"):
        fetched(name, f"http://{HOST}")
    assert proxy.log == []
