"""A deployment as a run: started by the preset, listed with its address, stopped."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import textwrap
from pathlib import Path

import pytest
from box import HANG_S, events, gone, started, state, until
from box import box as box_in_child
from in_process import box
from openai import OpenAI

from swiftbox.config.presets import presets
from swiftbox.files import write_json

PRESET = str(presets()["deploy"])
TALK = [{"role": "user", "content": "hi"}]


def listed(cwd: Path) -> dict[str, object]:
    """Return how `runs list` shows the newest run."""
    return json.loads(box("runs", "list", "--json", cwd=cwd).stdout)[0]


@pytest.mark.slow
def test_a_detached_deployment_is_listed_answers_and_stops(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    command_line = (
        "adapter=",
        f"model={tiny}",
        "port=0",
        "api_key_env=MY_KEY",
        "served_model_name=mine",
    )
    out = tmp_path / "served"
    box_in_child("run", PRESET, *command_line, f"output_dir={out}", "--detach", cwd=tmp_path)
    try:
        (serving,) = until(lambda: events(out, "serving"), what="the address")
        row = listed(tmp_path)
        assert (row["url"], row["health"], row["status"]) == (serving["url"], "ok", "running")
        assert serving["url"] in box("runs", "list", cwd=tmp_path).stdout
        with OpenAI(base_url=f"{serving['url']}/v1", api_key="sk-secret-1") as client:
            pieces = client.chat.completions.create(
                model="mine", messages=TALK, max_tokens=5, stream=True
            )
            assert [piece.choices[0].finish_reason for piece in pieces][-1] in ("stop", "length")
        child = state(out)["pid"]
        arguments = Path(f"/proc/{child}/cmdline")
        if arguments.exists():
            assert b"sk-secret" not in arguments.read_bytes()
    finally:
        box("runs", "stop", str(out), cwd=tmp_path)
    assert gone(child)
    row = listed(tmp_path)
    assert (row["url"], row["health"], row["status"]) == (None, None, "stopped")
    (stopped,) = events(out, "stopped")
    assert stopped["requests"] == 1
    for path in out.rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize("process_name", ["supervisor", "child"])
def test_sigterm_stops_a_deployment_cleanly(process_name: str, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "served"
    arguments = (
        "run",
        PRESET,
        "adapter=",
        f"model={tiny}",
        "port=0",
        f"output_dir={out}",
        "--plain",
    )
    with started(*arguments, cwd=tmp_path) as process:
        until(lambda: events(out, "serving"), what="the address")
        number = state(out)["pid"] if process_name == "child" else process.pid
        os.kill(number, signal.SIGTERM)
        output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert "serving qwen3 at http://127.0.0.1:" in output
    assert "server stopped after" in output
    assert state(out)["status"] == "stopped"


@pytest.mark.slow
def test_a_template_changed_since_training_exits_with_1(tiny: Path, tmp_path: Path) -> None:
    import torch
    from adapters import make_adapter, make_run
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from swiftbox.core.generation import parity

    adapter = make_adapter(tiny, tmp_path / "my-run" / "model")
    make_run(adapter, tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.save_pretrained(adapter)
    base_model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    network = PeftModel.from_pretrained(base_model, adapter)
    parity.record_training(network, tokenizer, adapter, print, dtype="float32")
    template = adapter / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("<|im_start|>", "", 1), "utf-8")
    out = tmp_path / "served"
    arguments = (
        "run",
        PRESET,
        f"adapter={adapter.parent}",
        "port=0",
        f"output_dir={out}",
        "--plain",
    )
    done = box(*arguments, cwd=tmp_path, code=1)
    assert "my-run: prompt question: token 1 differs: '<|im_start|>' (training)" in done.stderr
    assert "hint: the server would answer differently from the training" in done.stderr
    assert not events(out, "serving")
    assert state(out)["status"] == "failed"


@pytest.mark.slow
def test_ids_that_cannot_be_fetched_exit_with_2(tiny: Path, tmp_path: Path) -> None:
    done = box("run", PRESET, "adapter=", f"model={tiny}", "host=0.0.0.0", cwd=tmp_path, code=2)
    assert "is reachable from other machines" in done.stderr
    assert "hint: export SWIFTBOX_API_KEY" in done.stderr
    assert not (tmp_path / "runs").exists()


FAKE = '''\
#!{python}
"""Stands in for vllm: writes its arguments to a file, and answers that it is healthy."""
import http.server, json, os, sys
words = sys.argv[1:]
port = int(words[words.index("--port") + 1])
json.dump([words, dict(os.environ)], open({record!r}, "w"))
if {dies!r}:
    sys.exit("ValueError: no such kernel")
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        self.do_GET(); self.wfile.write(json.dumps({{"tokens": [1, 2, 3]}}).encode())
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
'''


def fake_vllm(folder: Path, *, dies: bool = False) -> Path:
    """Write a command named vllm into a folder; return the file of its arguments."""
    record = folder / "given.json"
    script = folder / "vllm"
    folder.mkdir()
    content = FAKE.format(python=sys.executable, record=str(record), dies=dies)
    script.write_text(textwrap.dedent(content), "utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return record


def run_vllm(out: Path, tiny: Path, parity: str = "off") -> int:
    """Run a settled vllm deployment in a folder whose record names a machine with CUDA."""
    import subprocess

    from made_up import made_up

    out.mkdir()
    config = f"task: deploy\nengine: vllm\nmodel: {tiny}\nhub: local\nport: 0\ndtype: bfloat16\n"
    config += f"api_key_env: MY_KEY\nparity: {parity}\n"
    (out / "settled.yaml").write_text(config, "utf-8")
    write_json(out / "machine.json", made_up("cuda").to_dict())
    with (out / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "swiftbox.worker", str(out)], stdout=log, stderr=log
        )
        until(lambda: events(out, "serving") or process.poll() is not None, what="an end")
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return process.wait(HANG_S)


@pytest.mark.slow
def test_vllm_is_started_supervised_and_stopped(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fake_vllm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("MY_KEY", "sk-secret-2")
    assert run_vllm(tmp_path / "out", tiny) == 130
    arguments, environment = json.loads(record.read_text("utf-8"))
    assert arguments[:2] == ["serve", str(tiny)]
    assert not any("sk-secret" in argument for argument in arguments)
    assert environment["VLLM_API_KEY"] == "sk-secret-2"
    (serving,) = events(tmp_path / "out", "serving")
    assert (serving["engine"], serving["models"]) == ("vllm", [tiny.name])


@pytest.mark.slow
def test_vllm_is_compared_with_the_training_too(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_vllm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("MY_KEY", "k")
    assert run_vllm(tmp_path / "out", tiny, parity="strict") == 1
    (failed,) = events(tmp_path / "out", "failed")
    assert "prompt question: token 2 differs" in failed["message"]
    assert not events(tmp_path / "out", "serving")


@pytest.mark.slow
def test_the_death_of_vllm_is_reported_with_its_last_output(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_vllm(tmp_path / "bin", dies=True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("MY_KEY", "k")
    assert run_vllm(tmp_path / "out", tiny) != 0
    (failed,) = events(tmp_path / "out", "failed")
    assert "vllm ended with code 1" in failed["message"]
    assert "no such kernel" in failed["message"]
