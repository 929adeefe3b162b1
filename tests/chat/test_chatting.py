"""`swiftbox chat` against a server: answers on stdout, talk on stderr, whoever answers."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from box import box, events, state
from own_server import Server, serving

from swiftbox.chat.conversation import Conversation
from swiftbox.chat.speaking import Speaking
from swiftbox.cli.main import main
from swiftbox.config.chat import ChatConfig
from swiftbox.errors import ConfigError
from swiftbox.serving.client import Endpoint, Refused, healths
from swiftbox.serving.talking import Side, together
from swiftbox.tasks.participants import (
    participant_sources,
    required_deployments,
    resolve_participant,
)


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny, tmp_path_factory.mktemp("tuned") / "mine")


@pytest.fixture(scope="module")
def server(tiny: Path, adapter: Path) -> Iterator[Server]:
    with serving(tiny, adapters={"mine": adapter}) as one:
        yield one


def sides(server: Server) -> list[Side]:
    at = Endpoint.at(server.url)
    return [Side("base", at, "tiny", 0.0), Side("tuned", at, "mine", 0.0)]


def answers(server: Server, question: str) -> list[str]:
    """Ask both by the plain route."""
    found = []
    for side in sides(server):
        body = {"model": side.model, "temperature": 0, "max_tokens": 12}
        body["messages"] = [{"role": "user", "content": question}]
        said = side.at.ask("/v1/chat/completions", body)
        found.append(said["choices"][0]["message"]["content"].strip())
    return found


def chat(server: Server, *words: str, lines: str = "", monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return main(["chat", server.url, "max_tokens=12", "temperature=0", *words])


def test_a_message_is_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat(server, "-m", "json 你好", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out.strip() == answers(server, "json 你好")[1]  # the adapter, where there is one


def test_lines_of_a_pipe_are_turns_and_stdout_has_the_answers_alone(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "kept.jsonl"
    lines = f"hello\n/undo\n\nhello\nand more\n/save {file}\n/help\n"
    words = ("model=tiny", "--system", "Be brief.")
    assert chat(server, *words, lines=lines, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    turns = json.loads(file.read_text("utf-8"))["messages"]
    assert [one["role"] for one in turns] == ["system", *("user", "assistant") * 2]
    assert turns[2]["content"] in said.out
    assert turns[4]["content"] in said.out
    assert "/retry" not in said.out
    assert "/retry" in said.err


def test_base_and_tuned_stand_beside_each_other(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat(server, "--compare", "base", "-m", "hello", monkeypatch=monkeypatch) == 0
    base, tuned = answers(server, "hello")
    said = capsys.readouterr().out
    assert said.index(f"base> {base[:5]}") < said.index(tuned[:5])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "beside"), [(80, False), (120, True)])
def test_a_wide_terminal_has_columns(
    columns: int, beside: bool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out, conversation = Terminal(), Conversation(2)
    assert Speaking(sides(server), 12, out, Terminal()).ask("hello", conversation)
    assert (" │ " in out.getvalue()) is beside
    assert conversation.answers == [answers(server, "hello")]


def test_a_stop_ends_the_answer_keeps_what_was_said_and_frees_the_slot(server: Server) -> None:
    from box import until

    class Interrupted(Terminal):
        def write(self, words: str) -> int:
            if len(self.getvalue()) > 20:
                raise KeyboardInterrupt
            return super().write(words)

    conversation, notes = Conversation(1), Terminal()
    one = sides(server)[:1]
    assert not Speaking(one, 900, Interrupted(), notes).ask("hello", conversation)
    assert "(stopped)" in notes.getvalue()
    assert conversation.questions == ["hello"]
    health = Endpoint.at(server.url)
    until(lambda: health.ask("/health")["running"] == 0, what="a free slot", timeout_s=30)


def test_an_answer_that_does_not_fit_is_as_long_as_fits(server: Server) -> None:
    (one, *_) = sides(server)
    messages = [{"role": "user", "content": "hello " * 50}]
    found = list(together([one], [messages], 1000, threading.Event()))
    assert found[-1].finish in ("stop", "length")
    assert not found[-1].error


def test_a_server_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "http://127.0.0.1:9", "-m", "hi"]) == 2
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["chat", "http://127.0.0.1:9", "model=x", "-m", "hi"]) == 1
    assert "error: x:" in capsys.readouterr().err


def test_what_a_server_refuses_is_told_in_its_own_words(server: Server) -> None:
    with pytest.raises(Refused, match="gpt is not there; there are: tiny, mine") as caught:
        Endpoint.at(f"{server.url}/v1/").ask("/v1/completions", {"model": "gpt", "prompt": "x"})
    assert caught.value.status == 404


def test_several_servers_are_asked_at_once_within_a_bound(server: Server) -> None:
    import socket
    import time

    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
    urls = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in silent]
    began = time.monotonic()
    found = healths([*urls, server.url, "http://127.0.0.1:9"], within_s=0.5)
    assert time.monotonic() - began < 1
    assert found == ["silent"] * 5 + ["ok", "silent"]
    for one in silent:
        one.close()


def test_an_adapter_and_its_base_are_answered_by_one_server(tiny: Path, adapter: Path) -> None:
    config = ChatConfig(adapter=str(adapter), compare="base", hub="local")
    base, tuned = participant_sources(config)
    assert (base.name, tuned.name) == ("base", "mine")
    (one,) = required_deployments(config, [base, tuned])
    assert (one.model, one.adapters) == (str(tiny), {"mine": str(adapter)})
    assert one.host == "127.0.0.1"
    tuned, plain = (
        resolve_participant(str(folder), key="model", hub="local") for folder in (adapter, tiny)
    )
    assert len(required_deployments(config, [tuned, plain])) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "no participant is given"),
        ({"model": "/none"}, "model: no folder /none"),
        ({"model": "o/n", "compare": "base"}, "o/n is not an adapter"),
    ],
)
def test_names_that_mean_nobody_are_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        participant_sources(ChatConfig(**said))


@pytest.mark.slow
def test_a_yaml_asks_its_prompts_and_keeps_the_answers(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "asked"
    config = {"task": "chat", "adapter": str(adapter), "compare": "base", "hub": "local"}
    config |= {"prompt": ["hello", "你好"], "max_tokens": 12, "temperature": 0}
    (tmp_path / "a.yaml").write_text(json.dumps(config), "utf-8")
    done = box("run", "a.yaml", "--plain", f"output_dir={out}", cwd=tmp_path)
    found = json.loads((out / "answers.json").read_text("utf-8"))["answers"]
    assert [one["prompt"] for one in found] == ["hello", "你好"]
    assert [one["name"] for one in found[0]["answers"]] == ["base", "mine"]
    assert len({one["text"] for one in found[0]["answers"]}) == 2
    assert found[1]["answers"][1]["text"].strip()[:4] in done.stderr
    assert state(out)["status"] == "done"
    assert state(out / "server-1")["status"] == "stopped"
    assert len(events(out, "answer")) == 2
    refused = box("run", "a.yaml", "prompt=", cwd=tmp_path, code=2)
    assert "prompt: nothing to ask" in refused.stderr


@pytest.mark.slow
def test_a_folder_is_served_for_as_long_as_the_chat(tiny: Path, tmp_path: Path) -> None:
    import subprocess

    from box import COMMAND

    words = [*COMMAND, "chat", str(tiny), "temperature=0", "max_tokens=8"]
    done = subprocess.run(
        words, cwd=tmp_path, input="hello\n你好\n", capture_output=True, text=True, check=True
    )
    assert "ready in" in done.stderr
    assert done.stdout.strip()
    assert not list((tmp_path / "runs").glob("*"))
