"""A temporary server answers, ends with its block, and reports why it failed."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest
from made_up import made_up

from swiftbox.config.deploy import DeployConfig
from swiftbox.errors import ConfigError, RunError
from swiftbox.runs import folder as run_folder
from swiftbox.serving.client import Endpoint, RequestRefused, health
from swiftbox.tasks import deploy
from swiftbox.tasks.temporary_server import temporary_server


@pytest.mark.slow
def test_a_temporary_server_answers_and_ends_with_the_block(tiny: Path, tmp_path: Path) -> None:
    config = DeployConfig(model=str(tiny), hub="local", port=0)
    folder = tmp_path / "outer run" / "servers" / "base"
    with temporary_server(folder, config, made_up("cpu"), stop=threading.Event()) as server:
        assert server is not None
        assert server.models == (tiny.name,)
        assert health(server.url) == "ok"
        with pytest.raises(RequestRefused, match="API key"):
            Endpoint.at(server.url).ask("/v1/models")
        assert Endpoint.at(server.url, server.key).ask("/v1/models")["data"]
        arguments = psutil.Process(run_folder.find(str(folder)).state["pid"]).cmdline()
        assert server.key not in " ".join(arguments)
    for path in folder.rglob("*"):
        assert not path.is_file() or server.key.encode() not in path.read_bytes(), path
    assert health(server.url) == "silent"
    assert run_folder.find(str(folder)).status == "stopped"


@pytest.mark.slow
def test_a_server_that_cannot_start_reports_why(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "_require_served", lambda *_: None)  # as if only the child knew
    config = DeployConfig(model=str(tiny), hub="local", port=0, max_model_len=100_000)
    with (
        pytest.raises(RunError, match="max_model_len: 100000"),
        temporary_server(tmp_path / "server", config, made_up("cpu"), stop=threading.Event()),
    ):
        pass


def test_a_wrong_config_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = DeployConfig(model="/none", hub="local", port=0)
    with (
        pytest.raises(ConfigError, match="no folder /none"),
        temporary_server(tmp_path / "server", config, made_up("cpu"), stop=threading.Event()),
    ):
        pass
    assert not (tmp_path / "server").exists()
