"""One file in parts: what is requested of a server, and what becomes of its answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from swiftbox.hub import foreign_contents
from swiftbox.hub.http_file import HttpFile
from swiftbox.hub.listing import RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import TransferError

OLD, NEW = b"abcdef", b"uvwxyz"


@dataclass
class Served:
    """An answer, which may break off."""

    parts: tuple[bytes, ...]
    headers: dict[str, str]
    status_code: int = 200
    history: tuple[Served, ...] = ()
    breaks: bool = False

    def iter_bytes(self) -> Iterator[bytes]:
        yield from self.parts
        if self.breaks:
            raise ConnectionError


@dataclass
class Server:
    """Gives its answers in order, and keeps the headers of the requests."""

    answers: list[Served]
    requests: list[dict[str, str]] = field(default_factory=list)

    @contextlib.contextmanager
    def request(self, headers: dict[str, str]) -> Iterator[Served]:
        self.requests.append(headers)
        yield self.answers.pop(0)


def test_a_part_without_a_hash_is_continued_only_for_the_same_version(tmp_path: Path) -> None:
    server = Server(
        [
            Served((OLD[:3],), {"ETag": '"old"', "Content-Length": "6"}, breaks=True),
            Served((NEW,), {"ETag": '"new"', "Content-Length": "6"}),
        ]
    )
    path = tmp_path / "part"
    transfer = HttpFile(RemoteFile("a.txt"), path, Meter("", ""))
    with pytest.raises(ConnectionError):
        transfer.receive(server.request)
    transfer.receive(server.request)
    assert "Range" not in server.requests[0]
    assert (server.requests[1]["Range"], server.requests[1]["If-Range"]) == ("bytes=3-", '"old"')
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("size", ["9" * 5000, "*", "x", ""])
def test_a_size_that_cannot_be_read_is_unknown(size: str, tmp_path: Path) -> None:
    headers = {"Content-Range": f"bytes 0-5/{size}"}
    path = tmp_path / "part"
    transfer = HttpFile(RemoteFile("a.txt"), path, Meter("", ""))
    transfer.receive(Server([Served((OLD,), headers, 206)]).request)
    assert transfer.served.size is None
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("largest", [foreign_contents.LARGEST_JSON, 4])
@pytest.mark.parametrize(
    ("content", "is_complete"),
    [(b'[{"q": 1}]', True), (b'{"q": 1}\n{"q": 2}\n', True), (b'{"q": 1}\n{"q"', False)],
)
def test_json_without_a_hash_may_be_rows_and_is_refused_if_it_is_cut_off(
    content: bytes, is_complete: bool, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_contents, "LARGEST_JSON", largest)
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    transfer = HttpFile(RemoteFile("rows.json", len(content)), path, Meter("", ""))
    if is_complete:
        assert transfer.confirm(path).confirmed_by == "length"
        return
    with pytest.raises(TransferError, match="differ from the hub's listing"):
        transfer.confirm(path)
