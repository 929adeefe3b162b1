"""What faulty hubs, mirrors and networks send: the right files, or a refusal that names the cure.

Each fault is tried with the hub's own client too: where that gets the right files, so do we.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_hub import Hub, Repository, hub
from faulty_hub import (
    FILES,
    FIRST,
    INDEX,
    PAGE,
    SECOND,
    Faulty,
    FaultyHandler,
    other_bytes,
    pointer_to,
)
from hub_contents import contents

from swiftbox.errors import HubError
from swiftbox.hub import transfer, transfer_errors
from swiftbox.hub.download import Download, download
from swiftbox.models.download_request import parse_request
from swiftbox.models.verified import EMPTY_SHA256, MARKER, read_marker

REPOSITORY = Repository("o/n", FILES)
BARE = Faulty(size="absent", has_hashes=False, has_etag=False, has_tree=False)
"""A mirror that tells names of files alone."""

HUBS = ("huggingface", "modelscope")
SAME = "the right files"

CORRUPT = "differ from the hub's listing"
SIGN_IN = "a web page was sent in its place"
POINTER = "is a pointer of git-lfs"


@dataclass(frozen=True)
class Case:
    """A fault, and what our client makes of it on each hub: SAME, or a part of its refusal."""

    fault: Faulty
    huggingface: str = SAME
    modelscope: str = SAME


FAULTS = {
    "no fault": Case(Faulty()),
    "sizes are absent": Case(Faulty(size="absent")),
    "sizes are null": Case(Faulty(size="null")),
    "sizes are 0": Case(Faulty(size="zero")),
    "hashes are absent": Case(Faulty(has_hashes=False)),
    "only names are listed": Case(BARE),
    "no ETag": Case(Faulty(has_etag=False)),
    "no commit in headers": Case(Faulty(has_commit_header=False)),
    "no commit": Case(
        Faulty(has_commit=False, has_commit_header=False), "does not name the commit"
    ),
    "Content-Length is too large": Case(Faulty(length_off=9), modelscope=CORRUPT),
    "Content-Length is too small": Case(Faulty(length_off=-9), "are listed", CORRUPT),
    "no Content-Length": Case(Faulty(has_length=False)),
    "no Content-Length, cut": Case(Faulty(has_length=False, cut_at=999, cuts=1)),
    "only names are listed, cut": Case(
        replace(BARE, has_length=False, cut_at=999, cuts=9), CORRUPT, "is incomplete"
    ),
    "cut three times": Case(Faulty(cut_at=50_000, cuts=3)),
    "416 for the rest": Case(Faulty(cut_at=50_000, cuts=1, ranges="unsatisfied")),
    "416 for everything": Case(
        Faulty(ranges="never"), "a part was sent", "check the id, the revision and the hub"
    ),
    "206 without Content-Range": Case(Faulty(cut_at=50_000, cuts=1, ranges="unnamed")),
    "Range is ignored": Case(Faulty(cut_at=50_000, cuts=1, ranges="ignored")),
    "an empty answer": Case(Faulty(body=b""), "are listed", CORRUPT),
    "a page for a file": Case(Faulty(file="config.json", body=PAGE), SIGN_IN, SIGN_IN),
    "a page for unlisted weights": Case(replace(BARE, body=PAGE), SIGN_IN, SIGN_IN),
    "a page for the listing": Case(Faulty(listing=PAGE), SIGN_IN, SIGN_IN),
    "429": Case(Faulty(status=429, statuses=2, headers={"Retry-After": "0"})),
    "503": Case(Faulty(status=503, statuses=2)),
    "403": Case(Faulty(status=403, statuses=99), "access token", "access token"),
    "a shard is not listed": Case(Faulty(absent=SECOND), INDEX, INDEX),
    "other bytes of the same length": Case(Faulty(body=other_bytes(FIRST)), CORRUPT, CORRUPT),
    "gzip": Case(Faulty(file="tokenizer.json", is_gzip=True)),
    "a file is listed twice": Case(Faulty(twice="config.json")),
    "a pointer of git-lfs": Case(Faulty(is_pointer=True), POINTER, POINTER),
    "a pointer for listed weights": Case(
        Faulty(body=pointer_to(contents(FILES[FIRST]))), POINTER, POINTER
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with hub(REPOSITORY, handler=FaultyHandler) as server:
        yield server


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give both clients separate caches, a network, and no pauses."""
    import modelscope_hub._download_control as control
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setattr(transfer, "retry", partial(transfer_errors.retry, sleep=lambda _: None))
    monkeypatch.setattr(control._DownloadControl, "sleep", lambda *_: None)
    at_once = SimpleNamespace(sleep=lambda _: None)
    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", at_once)


def ours(name: str, server: Hub, emit: Callable[..., None] = lambda *_, **__: None) -> Download:
    request = parse_request("o/n", hub=name, endpoints=(server.address,))
    return download(request, emit, lambda *_: None)


def theirs(name: str, server: Hub, cache: Path) -> Path:
    """Download with the hub's own client."""
    if name == "huggingface":
        from huggingface_hub import snapshot_download

        folder = snapshot_download("o/n", endpoint=server.address, cache_dir=cache, token=False)
        return Path(folder)
    from modelscope_hub import HubApi
    from modelscope_hub.config import HubConfig

    api: Any = HubApi(HubConfig(endpoint=server.address, token=""))
    return Path(api.download_repo("o/n", "model", cache_dir=cache))


def is_right(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_file() and path.read_bytes() == contents(FILES[name]).data()


def outcome(fetch: Callable[[], Path]) -> bool:
    """Tell whether a client gets the right files."""
    FaultyHandler.counts.clear()
    try:
        folder = fetch()
    except Exception:  # noqa: BLE001 - of any kind that a client raises
        return False
    return all(is_right(folder, name) for name in FILES)


def recorded(caches: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folder and name of every file that is recorded as compared with a hash."""
    for marker in map(read_marker, {path.parent for path in caches.rglob(MARKER)}):
        for name, file in marker.files.items():
            if file.confirmed_by == "hash":
                yield marker.folder, name


@pytest.mark.parametrize("name", HUBS)
@pytest.mark.parametrize("title", FAULTS)
def test_a_fault_is_healed_or_named(
    title: str, name: str, server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = FAULTS[title]
    expected = getattr(case, name)
    monkeypatch.setattr(FaultyHandler, "fault", case.fault)
    is_right_elsewhere = outcome(lambda: theirs(name, server, tmp_path / "theirs"))
    FaultyHandler.counts.clear()
    if expected == SAME:
        folder = ours(name, server).folder
        assert all(is_right(folder, file) for file in FILES)
    else:
        with pytest.raises(HubError) as caught:
            ours(name, server)
        assert expected in f"{caught.value.message} {caught.value.hint}"
        assert not is_right_elsewhere
    assert all(is_right(folder, file) for folder, file in recorded(tmp_path))


@pytest.mark.parametrize("name", HUBS)
def test_what_no_hash_confirms_is_not_recorded_as_verified(
    name: str, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyHandler, "fault", BARE)
    warnings: list[str] = []
    fetched = ours(name, server, lambda _, **fields: warnings.append(fields.get("message", "")))
    marker = read_marker(fetched.folder)
    assert {file.confirmed_by for file in marker.files.values()} <= {"length", "nothing"}
    assert any("the hub tells no hash of 6 files" in message for message in warnings)
    assert fetched.size_bytes == sum(contents(file).size for file in FILES.values())


@pytest.mark.parametrize("name", HUBS)
def test_what_no_hash_confirms_is_kept_while_the_commit_is_the_same(
    name: str, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyHandler, "fault", BARE)
    ours(name, server)
    server.log.clear()
    assert ours(name, server).fetched_bytes == 0
    assert not any(request.sent for request in server.log)


def test_a_small_file_of_a_new_commit_replaces_the_old_in_local_dir(tmp_path: Path) -> None:
    """Hugging Face lists small files by git's hash alone."""
    with hub(Repository("o/n", FILES)) as server:
        settings = {
            "hub": "huggingface",
            "endpoints": (server.address,),
            "local_dir": tmp_path / "x",
        }
        request = parse_request("o/n", **settings)
        download(request)
        server.repositories[0] = Repository("o/n", {**FILES, "config.json": b'{"a": 1}'})
        folder = download(request).folder
    assert (folder / "config.json").read_bytes() == b'{"a": 1}'


def test_a_mirror_without_commit_fills_local_dir(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyHandler, "fault", FAULTS["no commit"].fault)
    settings = {"endpoints": (server.address,), "local_dir": tmp_path / "x"}
    folder = download(parse_request("o/n", hub="huggingface", **settings)).folder
    assert all(is_right(folder, name) for name in FILES)


def test_an_absent_shard_is_found_before_the_weights_are_fetched(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyHandler, "fault", Faulty(absent=SECOND))
    server.log.clear()
    with pytest.raises(HubError):
        ours("modelscope", server)
    assert {request.file for request in server.log if request.sent} == {INDEX}


def test_shards_may_be_left_out_by_the_user(server: Hub) -> None:
    settings = {"endpoints": (server.address,), "ignore": (SECOND,)}
    folder = download(parse_request("o/n", hub="modelscope", **settings)).folder
    assert (folder / INDEX).is_file()
    assert not (folder / SECOND).exists()


def test_an_empty_file_of_an_older_version_is_fetched_again(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions took an unknown size for 0, and recorded nothing as a complete file."""
    monkeypatch.setattr(FaultyHandler, "fault", BARE)
    folder = ours("modelscope", server).folder
    (folder / FIRST).write_bytes(b"")
    read_marker(folder).add(FIRST, EMPTY_SHA256)
    content = json.loads((folder / MARKER).read_text())
    for file in content["files"].values():
        del file["confirmed_by"], file["blob"]
    (folder / MARKER).write_text(json.dumps(content))
    assert is_right(ours("modelscope", server).folder, FIRST)
