"""What is refused, and what is said: before the first byte, with what to do about it."""

from __future__ import annotations

from pathlib import Path

from downloading import FIRST, SHARDS, Desk, same, shards
from fake_hub import COMMIT, Fault, Made, Repository, hub, nobody

from swiftbox.models.verified import MARKER


def bytes_sent(server: object) -> int:
    return sum(request.sent for request in server.log)  # type: ignore[attr-defined]


def test_without_a_network_it_is_refused_before_an_sdk_is_asked(tmp_path: Path) -> None:
    done = Desk(tmp_path).download("o/n")
    assert done.code == 2
    assert "no answer from http://127.0.0.1" in done.err
    assert "HTTPS_PROXY" in done.err
    assert "MODELSCOPE_ENDPOINT" in done.err


def test_an_endpoint_that_drops_packets_does_not_delay_the_refusal(tmp_path: Path) -> None:
    desk = Desk(tmp_path, modelscope="http://127.0.0.1.invalid:9")
    desk.env["SWIFTBOX_LANG"] = "zh"
    done = desk.download("o/n")
    assert done.code == 2
    assert "没有响应" in done.err


def test_without_a_network_a_complete_download_is_used(tmp_path: Path) -> None:
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address, server.address)
        desk.download("o/n").fine()
        desk.download("o/n", "--hub", "huggingface").fine()
    desk.modelscope = desk.huggingface = nobody()
    for name in ("modelscope", "huggingface"):
        done = desk.download("o/n", "--hub", name).fine()
        assert same(done.path, shards())
        assert "no network; using the complete copy" in done.err
    (desk.snapshot / FIRST).unlink()
    assert desk.download("o/n").code == 2


def test_a_partial_model_is_not_used(tmp_path: Path) -> None:
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address)
        desk.download("o/n", "allow_patterns=*.json").fine()
    desk.modelscope = nobody()
    assert desk.download("o/n").code == 2
    assert desk.download("o/n", "allow_patterns=*.json").code == 0


def test_a_disk_too_small_is_refused_with_both_numbers(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from swiftbox.errors import HubError\n"
        "from swiftbox import files\nfrom swiftbox.hub import download\n"
        "from swiftbox.models.download_request import parse_request\n"
        "files.free_bytes = lambda folder: 20_000_000\n"
        "try:\n"
        "    download.download(parse_request('o/n'))\n"
        "except HubError as error:\n"
        "    print(error.message, error.hint)\n"
    )
    with hub(shards()) as server:
        done = Desk(tmp_path, server.address).python(code).fine()
        assert "34.3 MiB to fetch, 19.1 MiB free" in done.out
        assert "MODELSCOPE_CACHE" in done.out
        assert bytes_sent(server) == 0


def test_only_the_missing_bytes_have_to_fit(tmp_path: Path) -> None:
    code = (
        "from swiftbox import files\nfrom swiftbox.hub import download\n"
        "from swiftbox.models.download_request import parse_request\n"
        "files.free_bytes = lambda folder: 14_000_000\n"
        "print(download.download(parse_request('o/n')).fetched_bytes)\n"
    )
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address)
        desk.download("o/n").fine()
        (desk.snapshot / FIRST).unlink()
        done = desk.python(code).fine()
        assert done.out.split()[-1] == str(12_000_001)


def test_a_name_outside_the_folder_refuses_the_download(tmp_path: Path) -> None:
    with hub(Repository("o/n", {**SHARDS, "../../etc/x": b"evil"})) as server:
        for name in ("modelscope", "huggingface"):
            desk = Desk(tmp_path, server.address, server.address)
            done = desk.download("o/n", "--hub", name)
            assert done.code == 2
            assert "'../../etc/x': it would leave its folder; nothing was fetched" in done.err
        assert bytes_sent(server) == 0
        assert not list(tmp_path.rglob("x"))


def test_an_unfinished_file_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    precious, into = tmp_path / "precious", tmp_path / "into"
    precious.write_bytes(b"mine")
    into.mkdir()
    (into / f"{FIRST}.incomplete").symlink_to(precious)
    with hub(shards()) as server:
        for name in ("modelscope", "huggingface"):
            desk = Desk(tmp_path, server.address, server.address)
            done = desk.download("o/n", "--hub", name, "--to", str(into))
            assert done.code == 2
            assert f"{FIRST}.incomplete leads outside" in done.err
        assert bytes_sent(server) == 0
    assert precious.read_bytes() == b"mine"


def test_a_wrong_token_is_refused_at_once_and_never_printed(tmp_path: Path) -> None:
    with hub(Repository("o/n", SHARDS, token="right-one")) as server:
        for name in ("modelscope", "huggingface"):
            desk = Desk(tmp_path, server.address, server.address)
            desk.env = {"MODELSCOPE_API_TOKEN": "wrong-one", "HF_TOKEN": "wrong-one"}
            server.log.clear()
            done = desk.download("o/n", "--hub", name)
            assert done.code == 2
            assert "needs an access token" in done.err
            assert len(server.requests_to("o/n")) == 1
            assert server.requests_to("o/n")[0].token == "wrong-one"
            assert "wrong-one" not in done.out + done.err
        for path in (tmp_path / "runs").rglob("*"):
            if path.is_file():
                assert b"wrong-one" not in path.read_bytes(), path


def test_a_private_model_is_fetched_with_its_token(tmp_path: Path) -> None:
    with hub(Repository("o/n", SHARDS, token="right-one")) as server:
        desk = Desk(tmp_path, server.address, server.address)
        desk.env = {"MODELSCOPE_API_TOKEN": "right-one", "HF_TOKEN": "right-one"}
        for name in ("modelscope", "huggingface"):
            assert same(desk.download("o/n", "--hub", name).fine().path, server.repositories[0])


def test_a_missing_model_is_requested_once(tmp_path: Path) -> None:
    with hub(shards()) as server:
        done = Desk(tmp_path, server.address).download("o/other")
        assert done.code == 2
        assert "check the id" in done.err
        assert len(server.requests_to("o/other")) == 1


def test_pickles_alone_are_announced_and_a_training_does_not_fetch_them(tmp_path: Path) -> None:
    repository = Repository("o/n", {"config.json": b"{}", "pytorch_model.bin": Made(1000)})
    with hub(repository) as server:
        desk = Desk(tmp_path, server.address)
        code = (
            "from swiftbox.hub.fetch import fetch_model\n"
            "fetch_model('o/n', hub='modelscope', revision=None)"
        )
        refused = desk.python(code)
        assert "its weights are pickles only" in refused.err
        assert bytes_sent(server) == 0
        done = desk.download("o/n").fine()
        assert "has pickles, which can run code and are not loaded: pytorch_model.bin" in done.err
        assert same(done.path, repository)


def test_code_in_a_model_repository_is_announced(tmp_path: Path) -> None:
    files = {
        "config.json": b'{"auto_map": {"AutoModel": "modeling_x.X"}}',
        "modeling_x.py": b"",
        "model.safetensors": b"x",
    }
    with hub(Repository("o/n", files)) as server:
        done = Desk(tmp_path, server.address).download("o/n").fine()
        assert "contains Python code (modeling_x.py)" in done.err
        assert "trust_remote_code" in done.err


def test_the_second_time_nothing_is_fetched_and_nothing_hashed(tmp_path: Path) -> None:
    """A byte changed behind the marker's back is not seen: so no file was read."""
    import os

    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address, server.address)
        for name in ("modelscope", "huggingface"):
            path = desk.download("o/n", "--hub", name).fine().path / FIRST
            seen = path.stat()
            with path.open("r+b") as file:
                file.write(b"\xff\xfe\xfd")
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
            server.log.clear()
            done = desk.download("o/n", "--hub", name).fine()
            assert len(server.requests_to("o/n")) == 1
            assert done.answer["fetched"][0]["fetched_bytes"] == 0
            assert path.read_bytes()[:3] == b"\xff\xfe\xfd"


def test_a_file_that_changed_is_fetched_again_and_the_others_are_not(tmp_path: Path) -> None:
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address)
        folder = desk.download("o/n").fine().path
        (folder / FIRST).write_bytes(b"broken")
        server.log.clear()
        assert same(desk.download("o/n").fine().path, server.repositories[0])
        assert [request.file for request in server.log if request.sent] == [FIRST]


def test_files_fetched_by_another_tool_are_verified_and_kept(tmp_path: Path) -> None:
    code = "from modelscope_hub import HubApi\nHubApi().download_repo('o/n', 'model')"
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address)
        desk.python(code).fine()
        server.log.clear()
        done = desk.download("o/n").fine()
        assert bytes_sent(server) == 0
        assert (done.path / MARKER).is_file()


def test_the_sdk_of_the_hub_finds_the_fetched_files(tmp_path: Path) -> None:
    codes = (
        "from modelscope_hub import HubApi\nprint(HubApi().download_repo('o/n', 'model'))",
        "from huggingface_hub import snapshot_download\nprint(snapshot_download('o/n'))",
    )
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address, server.address)
        for name, code in zip(("modelscope", "huggingface"), codes, strict=True):
            path = desk.download("o/n", "--hub", name).fine().path
            server.log.clear()
            theirs = desk.python(code).fine()
            assert theirs.out.splitlines()[-1] == str(path)
            assert bytes_sent(server) == 0


def test_the_commit_is_recorded(tmp_path: Path) -> None:
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address, server.address)
        for name in ("modelscope", "huggingface"):
            done = desk.download("o/n", "--hub", name).fine()
            assert done.answer["fetched"][0]["from"]["commit"] == COMMIT


def test_a_file_that_stays_corrupt_is_given_up(tmp_path: Path) -> None:
    with hub(shards()) as server:
        server.faults[FIRST] = [Fault("corrupt", 5)] * 20
        done = Desk(tmp_path, server.address).download("o/n")
        assert done.code == 2
        assert "the received files differ from the hub's listing" in done.err
        assert len(server.of(FIRST)) == 3
