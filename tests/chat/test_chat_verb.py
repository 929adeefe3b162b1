"""`swiftbox chat` with a server: answers on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from box import HANG_S, events, state
from forced_server import answering, tokenizer_with
from in_process import box
from own_server import Server, serving

from swiftbox.chat.answers import AnswerPrinter
from swiftbox.chat.conversation import Conversation
from swiftbox.cli.main import main
from swiftbox.config.chat import ChatConfig
from swiftbox.errors import ConfigError
from swiftbox.security.printable import printable
from swiftbox.serving.client import Endpoint, RequestRefused, health_of_all
from swiftbox.serving.questions import Participant, ask_all
from swiftbox.tasks.chat_servers import required_deployments
from swiftbox.tasks.participants import participant_sources, resolve_participant


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny, tmp_path_factory.mktemp("tuned") / "mine")


@pytest.fixture(scope="module")
def server(tiny: Path, adapter: Path) -> Iterator[Server]:
    with serving(tiny, adapters={"mine": adapter}) as running:
        yield running


def sides(server: Server) -> list[Participant]:
    at = Endpoint.at(server.url)
    return [Participant("base", at, "tiny", 0.0), Participant("tuned", at, "mine", 0.0)]


def answers(server: Server, question: str) -> list[str]:
    """Return the answers of both participants to a plain request."""
    answers = []
    for side in sides(server):
        body = {"model": side.model, "temperature": 0, "max_tokens": 12}
        body["messages"] = [{"role": "user", "content": question}]
        completion = side.endpoint.ask("/v1/chat/completions", body)
        answers.append(completion["choices"][0]["message"]["content"].strip())
    return answers


def chat(server: Server, *arguments: str, lines: str = "", monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return main(["chat", server.url, "max_tokens=12", "temperature=0", *arguments])


def test_a_message_is_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat(server, "-m", "json 你好", monkeypatch=monkeypatch) == 0
    adapter_answer = answers(server, "json 你好")[1]  # an adapter is preferred to its base
    assert capsys.readouterr().out.strip() == printable(adapter_answer, lines=True).strip()


def test_lines_of_a_pipe_are_turns_and_stdout_has_only_answers(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "kept.jsonl"
    lines = f"hello\n/undo\n\nhello\nand more\n/save {file}\n/help\n"
    arguments = ("model=tiny", "--system", "Be brief.")
    assert chat(server, *arguments, lines=lines, monkeypatch=monkeypatch) == 0
    captured = capsys.readouterr()
    turns = json.loads(file.read_text("utf-8"))["messages"]
    assert [turn["role"] for turn in turns] == ["system", *("user", "assistant") * 2]
    for turn in (turns[2], turns[4]):
        assert printable(turn["content"], lines=True).strip() in captured.out
    assert "/retry" not in captured.out
    assert "/retry" in captured.err


def test_base_and_tuned_model_are_compared(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat(server, "--compare", "base", "-m", "hello", monkeypatch=monkeypatch) == 0
    of_base, of_tuned = (printable(line, lines=True) for line in answers(server, "hello"))
    output = capsys.readouterr().out
    assert output.index(f"base> {of_base[:5]}") < output.index(of_tuned[:5])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "side_by_side"), [(80, False), (120, True)])
def test_a_wide_terminal_has_columns(
    columns: int, side_by_side: bool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out, conversation = Terminal(), Conversation(2)
    assert AnswerPrinter(sides(server), 12, out, Terminal()).ask("hello", conversation)
    assert (" │ " in out.getvalue()) is side_by_side
    assert conversation.answers == [answers(server, "hello")]


def test_a_stop_ends_the_answer_remembers_it_and_frees_the_slot(server: Server) -> None:
    from box import until

    class Interrupted(Terminal):
        def write(self, content: str) -> int:
            if len(self.getvalue()) > 20:
                raise KeyboardInterrupt
            return super().write(content)

    conversation, notes = Conversation(1), Terminal()
    first = sides(server)[:1]
    assert not AnswerPrinter(first, 900, Interrupted(), notes).ask("hello", conversation)
    assert "(stopped)" in notes.getvalue()
    assert conversation.questions == ["hello"]
    health = Endpoint.at(server.url)
    until(lambda: health.ask("/health")["running"] == 0, what="a free slot")


def test_an_answer_that_does_not_fit_is_shortened(server: Server) -> None:
    messages = [{"role": "user", "content": "hello " * 50}]
    (*_, last) = ask_all(sides(server)[:1], [messages], 1000, threading.Event())
    assert last.finish in ("stop", "length")
    assert not last.error


def test_a_server_that_does_not_run_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "http://127.0.0.1:9", "-m", "hi"]) == 2
    errors = capsys.readouterr().err
    assert "http://127.0.0.1:9 does not answer" in errors
    assert "`swiftbox runs list` shows deployments" in errors
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["chat", "http://127.0.0.1:9", "model=x", "-m", "hi"]) == 1
    assert "error: x:" in capsys.readouterr().err


def test_a_server_elsewhere_is_not_looked_for_in_the_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["chat", "http://models.invalid", "-m", "hi"]) == 2
    errors = capsys.readouterr().err
    assert "http://models.invalid does not answer" in errors
    assert "check the address" in errors
    assert "runs list" not in errors


def test_a_refusal_is_reported_as_the_server_words_it(server: Server) -> None:
    with pytest.raises(RequestRefused, match="no model named gpt; available: tiny, mine") as caught:
        Endpoint.at(f"{server.url}/v1/").ask("/v1/completions", {"model": "gpt", "prompt": "x"})
    assert caught.value.status == 404


def address_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_several_servers_are_asked_at_once(server: Server) -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]

        def answer_when_all_are_asked() -> None:
            connections = [listener.accept()[0] for listener in listeners]
            for connection in connections:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                connection.close()

        answering = threading.Thread(target=answer_when_all_are_asked, daemon=True)
        answering.start()
        urls = [*map(address_of, listeners), server.url, "http://127.0.0.1:9"]
        assert health_of_all(urls, within_s=HANG_S) == ["ok"] * 6 + ["silent"]
        answering.join(HANG_S)


def test_servers_that_never_answer_are_silent_after_the_time_limit() -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        assert health_of_all(list(map(address_of, listeners)), within_s=0.2) == ["silent"] * 5


def test_one_server_answers_for_an_adapter_and_its_base(tiny: Path, adapter: Path) -> None:
    config = ChatConfig(adapter=str(adapter), compare="base", hub="local")
    original, tuned = participant_sources(config)
    assert (original.name, tuned.name) == ("base", "mine")
    (server,) = required_deployments(config, [original, tuned])
    assert (server.model, server.adapters) == (str(tiny), {"mine": str(adapter)})
    assert server.host == "127.0.0.1"
    folders = (adapter, tiny)
    tuned, plain = (resolve_participant(str(path), key="model", hub="local") for path in folders)
    assert len(required_deployments(config, [tuned, plain])) == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "no participant is given"),
        ({"model": "/none"}, "model: no folder /none"),
        ({"model": "o/n", "compare": "base"}, "o/n is not an adapter"),
    ],
)
def test_an_unknown_name_is_refused(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        participant_sources(ChatConfig(**settings))


@pytest.mark.slow
def test_a_chat_run_asks_its_prompts_and_saves_the_answers(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "asked"
    config = {"task": "chat", "adapter": str(adapter), "compare": "base", "hub": "local"}
    config |= {"prompt": ["hello", "你好"], "max_tokens": 12, "temperature": 0}
    (tmp_path / "a.yaml").write_text(json.dumps(config), "utf-8")
    arguments = ("run", "a.yaml", "--plain", f"output_dir={out}")
    done = box(*arguments, cwd=tmp_path, steps_in_children=True)
    saved = json.loads((out / "answers.json").read_text("utf-8"))["answers"]
    assert [entry["prompt"] for entry in saved] == ["hello", "你好"]
    assert [answer["name"] for answer in saved[0]["answers"]] == ["base", "mine"]
    assert len({answer["text"] for answer in saved[0]["answers"]}) == 2
    assert saved[1]["answers"][1]["text"].strip()[:4] in done.stderr
    assert state(out)["status"] == "done"
    assert state(out / "server-1")["status"] == "stopped"
    assert len(events(out, "answer")) == 2
    refused = box("run", "a.yaml", "prompt=", cwd=tmp_path, code=2)
    assert "prompt: required" in refused.stderr


@pytest.mark.slow
def test_a_folder_is_served_for_as_long_as_the_chat(tiny: Path, tmp_path: Path) -> None:
    import subprocess

    from box import COMMAND

    command = [*COMMAND, "chat", str(tiny), "temperature=0", "max_tokens=8"]
    done = subprocess.run(
        command, cwd=tmp_path, input="hello\n你好\n", capture_output=True, text=True, check=True
    )
    assert "ready in" in done.stderr
    assert done.stdout.strip()
    assert not list((tmp_path / "runs").glob("*"))


class EndpointWithTools(Endpoint):
    """An endpoint whose requests offer a tool, which `chat` does not."""

    def stream(self, path: str, body: Any) -> Any:
        tool = {"type": "function", "function": {"name": "ping"}}
        return super().stream(path, {**body, "tools": [tool]})


@pytest.mark.parametrize("is_terminal", [True, False])
def test_reasoning_and_calls_are_shown_apart_from_the_answer(is_terminal: bool) -> None:
    call = '<tool_call>{"name": "ping", "arguments": {"a": 1}}</tool_call>'
    template = "{{ tools }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    out, notes = Terminal() if is_terminal else io.StringIO(), io.StringIO()
    conversation = Conversation(1)
    with answering({"": tokenizer_with(template, [])}) as forced:
        forced.scheduler.text = f"<think>\nHm.\n</think>\n\nYes.\n{call}"
        endpoint = EndpointWithTools(str(forced.client.base_url).removesuffix("/v1/"))
        participant = Participant("me", endpoint, "base")
        AnswerPrinter([participant], 99, out, notes, shows_names=False).ask("Q?", conversation)
    answer = 'Yes.\n[call] ping {"a": 1}\n\n'
    assert out.getvalue() == (f"[reasoning]\nHm.\n\n[answer]\n{answer}" if is_terminal else answer)
    assert ("reasoned first: 3 characters" in notes.getvalue()) != is_terminal
    assert conversation.messages(0)[1] == {"role": "assistant", "content": "Yes."}
    saved = conversation.training_row(0)["messages"]
    assert saved[1] == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
