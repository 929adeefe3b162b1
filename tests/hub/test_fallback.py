"""Which address is asked: those that answer, in order, then the other hub by the pair of ids."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from box import HANG_S, until
from downloading import FIRST, Desk, same, shards
from fake_hub import Fault, Repository, hub, nobody

from swiftbox.guide.pages import path_of
from swiftbox.hub.reach import address, endpoints_of, reachable
from swiftbox.models.verified import Marker, Origin


def test_the_second_endpoint_is_used_when_the_first_is_silent(tmp_path: Path) -> None:
    with hub(shards()) as server:
        desk = Desk(tmp_path)
        silent = nobody()
        listed = json.dumps([silent, server.address])
        done = desk.download("o/n", f"endpoint={listed}").fine()
        assert same(done.path, server.repositories[0])
        desk.modelscope = f"{silent}, {server.address}"
        assert desk.download("o/n").code == 0


def test_a_broken_endpoint_is_skipped_for_the_next(tmp_path: Path) -> None:
    with hub(shards(), broken=404) as broken, hub(shards()) as server:
        desk = Desk(tmp_path, f"{broken.address} {server.address}")
        done = desk.download("o/n").fine()
        assert same(done.path, server.repositories[0])
        assert f"trying {server.address}" in done.err


def test_a_refused_token_is_not_sent_to_the_next_endpoint(tmp_path: Path) -> None:
    private = Repository("o/n", shards().files, token="right-one")
    with hub(private) as first, hub(shards()) as second:
        desk = Desk(tmp_path, f"{first.address} {second.address}")
        assert desk.download("o/n").code == 2
        assert second.log == []


TWIN = (
    "from swiftbox.hub import download\n"
    "from swiftbox.models.download_request import parse_request\n"
    "say = lambda event, **fields: print(event, fields.get('message', ''))\n"
    "twin = lambda name, hub: {('o/n', 'modelscope'): 'other/n', ('o/n', 'huggingface'): 'm/n'}"
    ".get((name, hub))\n"
    "found = download.download(parse_request('o/n', hub=HUB), say, twin)\n"
    "print(found.folder)\n"
)


def test_the_other_hub_is_asked_for_its_id_of_the_model(tmp_path: Path) -> None:
    with hub(Repository("other/n", shards().files)) as server:
        done = Desk(tmp_path, nobody(), server.address).python(TWIN.replace("HUB", "'modelscope'"))
        folder = Path(done.fine().out.splitlines()[-1])
        assert "models--other--n" in str(folder)
        assert same(folder, server.repositories[0])
    with hub(Repository("m/n", shards().files)) as server:
        done = Desk(tmp_path, server.address, nobody()).python(TWIN.replace("HUB", "'huggingface'"))
        assert same(Path(done.fine().out.splitlines()[-1]), server.repositories[0])


def test_a_model_missing_on_one_hub_is_fetched_from_the_other(tmp_path: Path) -> None:
    with hub() as empty, hub(Repository("other/n", shards().files)) as server:
        desk = Desk(tmp_path, empty.address, server.address)
        done = desk.python(TWIN.replace("HUB", "'modelscope'")).fine()
        assert f"trying {server.address}" in done.out
        assert same(Path(done.out.splitlines()[-1]), server.repositories[0])


def test_endpoints_come_from_the_config_then_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MODELSCOPE_ENDPOINT", raising=False)
    assert endpoints_of("modelscope")[0] == "https://modelscope.cn"
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "one.example, http://two.example/")
    assert endpoints_of("modelscope") == ("https://one.example", "http://two.example")
    assert endpoints_of("modelscope", ["three.example"]) == ("https://three.example",)


def test_only_reachable_endpoints_remain_in_order() -> None:
    with hub() as first, hub() as second:
        endpoints = [second.address, nobody(), first.address, "http://a.invalid"]
        assert reachable(endpoints, timeout_s=HANG_S) == (second.address, first.address)


def test_a_name_server_that_never_answers_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()

    def resolve_never(*_: Any, **__: Any) -> Any:
        answers.wait(HANG_S)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", resolve_never)
    try:
        assert reachable(["http://a.invalid", "http://b.invalid"], timeout_s=0.2) == ()
        assert not answers.is_set()
    finally:
        answers.set()


def test_behind_a_proxy_the_proxy_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert address("https://modelscope.cn") == ("proxy.example", 3128)
    monkeypatch.setenv("NO_PROXY", "modelscope.cn")
    assert address("https://modelscope.cn") == ("modelscope.cn", 443)
    assert address("http://127.0.0.1:8000") == ("127.0.0.1", 8000)


# ---- the task and its verb


def test_a_failed_download_does_not_stop_the_queue(tmp_path: Path) -> None:
    second = Repository("o/second", {"config.json": b"{}", "model.safetensors": b"x"})
    with hub(shards(), second) as server:
        done = Desk(tmp_path, server.address).download("o/n", "o/missing", "o/second")
        assert done.code == 2
        assert [first["what"] for first in done.answer["fetched"]] == ["o/n", "o/second"]
        assert [first["what"] for first in done.answer["missed"]] == ["o/missing"]
        assert "1 of 3 could not be fetched" in done.err


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_datasets_are_fetched_the_same_way(tmp_path: Path, name: str) -> None:
    rows = {f"data/{n}.jsonl": f'{{"n": {n}}}\n'.encode() for n in range(250)}
    with hub(Repository("o/d", rows, kind="dataset")) as server:
        desk = Desk(tmp_path, server.address, server.address)
        done = desk.download("o/d", "--dataset", "--hub", name).fine()
        assert same(done.path, server.repositories[0])
        assert done.answer["fetched"][0]["kind"] == "dataset"


def test_a_detached_download_is_followed_and_listed(tmp_path: Path) -> None:
    with hub(shards()) as server:
        server.faults[FIRST] = [Fault("hold", 2_000_000)]
        desk = Desk(tmp_path, server.address, env={"MODELSCOPE_DOWNLOAD_TIMEOUT": "60"})
        begun = desk.download("o/n", "-d").fine()
        assert begun.answer["status"] in ("starting", "running")
        server.released.set()
        run = begun.answer["run"]

        def status() -> Any:
            rows = json.loads(desk.box("runs", "list", "--json").fine().out)
            return next(row["status"] for row in rows if row["name"] == run)

        until(lambda: status() == "done", what="the end of the download")
        assert same(desk.snapshot, server.repositories[0])
        assert "done: 1 fetched" in desk.box("runs", "logs", run, "-f", "--plain").err


def test_the_verb_writes_the_yaml_that_does_the_same(tmp_path: Path) -> None:
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address)
        done = desk.download("o/n", "--to", "here", "ignore_patterns=*.json").fine()
        assert sorted(path.name for path in done.path.glob("*.*")) != []
        assert not (tmp_path / "here" / "config.json").exists()
        requested = Path(done.answer["run_folder"]) / "asked.yaml"
        assert "task: download" in requested.read_text()
        again = desk.box("run", str(requested), "local_dir=there", "--plain").fine()
        assert (tmp_path / "there" / FIRST).is_file()
        assert not (tmp_path / "there" / "config.json").exists()
        assert again.code == 0


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_local_dir_is_filled_and_the_cache_is_not(tmp_path: Path, name: str) -> None:
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address, server.address)
        done = desk.download("o/n", "--hub", name, "--to", "here").fine()
        assert done.path == tmp_path / "here"
        assert same(done.path, server.repositories[0])
        server.log.clear()
        desk.download("o/n", "--hub", name, "--to", "here").fine()
        assert [first for first in server.log if first.sent] == []
        assert not list(tmp_path.glob("ms/models/*/snapshots/*/*"))
        assert not list(tmp_path.glob("hf/hub/models*/snapshots/*/*"))


def test_a_folder_of_this_machine_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "model.safetensors").write_bytes(b"x" * 1000)
    target = tmp_path / "copy"
    target.mkdir()
    (target / "model.safetensors.incomplete").write_bytes(b"x" * 400)
    Marker(target).begin(Origin("local", str(source), "model", "", None), ["model.safetensors"])
    done = Desk(tmp_path).download("model", "--hub", "local", "--to", "copy").fine()
    assert (done.path / "model.safetensors").read_bytes() == b"x" * 1000
    assert done.answer["fetched"][0]["fetched_bytes"] == 602


def test_a_subfolder_is_fetched_alone(tmp_path: Path) -> None:
    files = {"README.md": b"", "base/config.json": b"{}", "audio/config.json": b"{}"}
    with hub(Repository("o/n", files)) as server:
        done = Desk(tmp_path, server.address).download("o/n:base").fine()
        assert (done.path / "config.json").is_file()
        assert done.path.name == "base"
        assert [first.file for first in server.log if first.file] == ["base/config.json"]


def test_the_commands_of_the_guide_do_what_they_say(tmp_path: Path) -> None:
    page = path_of("download", "en").read_text("utf-8")
    lines = re.findall(r"^swiftbox (download .*)$", page, re.MULTILINE)
    assert len(lines) == 2
    models = [Repository(f"Qwen/{name}", shards().files) for name in ("Qwen3-0.6B", "Qwen3-8B")]
    rows = Repository("AI-ModelScope/alpaca-gpt4-data-en", {"a.csv": b"a,b"}, kind="dataset")
    with hub(*models, rows) as server:
        desk = Desk(tmp_path, server.address)
        for line in lines:
            desk.box(*line.split(), "--plain").fine()
    assert len(list((tmp_path / "ms" / "models").glob("Qwen--*"))) == 2
    assert (tmp_path / "data" / "a.csv").is_file()


def test_a_download_does_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from swiftbox.tasks import TASKS\n"
        "from swiftbox.tasks.load import loads\n"
        "from pathlib import Path\n"
        "given = ['task=download', 'model=o/n', 'hub=HUB']\n"
        "config = loads('', source='x', overrides=given).config\n"
        "import swiftbox.worker\n"
        "TASKS['download'].run(config, Path(), lambda *a, **k: None)\n"
        "print([one for one in ('torch', 'transformers', 'datasets') if one in sys.modules])\n"
    )
    with hub(shards()) as server:
        desk = Desk(tmp_path, server.address, server.address)
        for name in ("modelscope", "huggingface"):
            assert desk.python(code.replace("HUB", name)).fine().out.splitlines()[-1] == "[]"
