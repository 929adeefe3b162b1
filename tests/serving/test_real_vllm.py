"""The real vLLM: its argument parser, its parsers of answers, and a served adapter; run by hand.

`PATH=$PATH:/that/environment/bin pytest -m network tests/serving/test_real_vllm.py` uses the vLLM
of an environment; a build for CPUs is enough, without torchvision. It takes some minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from box import box, events, started, until
from call_answers import TOOLS, WRITTEN
from openai import AuthenticationError, OpenAI
from template_rows import wheel_source
from tiny import write_chats

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.vllm import vllm_folder
from swiftbox.errors import ConfigError
from swiftbox.security.children import child_environment
from swiftbox.serving.vllm_check import vllm_remark
from swiftbox.templates.call_formats.table import CLOSE, FORMATS, OPEN

pytestmark = pytest.mark.network

READING = Path(__file__).parents[1] / "vllm_reading.py"
VARIABLES = {"HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "CRITICAL"}
CALLS = [("weather", {"city": 'Rome <b>"x"</b>', "days": 3, "units": ["C"]}), ("ping", {})]
PROMPT = "<|im_start|>assistant\n"
SERVED = [name for name in WRITTEN if WRITTEN[name].format not in ("harmony", "lfm2")]
"""Harmony is read from tokens of gpt-oss; LFM writes several calls in one list."""

SINGLE = ("mistral", "mistral 11", "llama3_json with a mark")
"""vLLM reads only the first of several calls that each have a mark, in a stream."""

HANG_S = 1200


def calls_in(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls of the answers in a format."""
    return CALLS[:1] if name in SINGLE else CALLS


def test_its_parser_takes_what_we_render_and_refuses_what_it_does_not_know() -> None:
    arguments: dict[str, Any] = {
        "seed": 7,
        "enforce_eager": True,
        "enable-prefix-caching": False,
        "compilation-config.mode": 0,
        "limit-mm-per-prompt": {"image": 1},
        "hf-overrides": "{}",
    }
    config = DeployConfig(
        model="/m",
        engine="vllm",
        dtype="bfloat16",
        adapter_loading=True,
        allowed_origins=["https://chat.example"],
        chat_template_kwargs={"enable_thinking": False},
        vllm_args=arguments,
    )
    assert vllm_remark(config) is None
    for wrong in ({"unheard-of": 1}, {"seed": "many"}):
        with pytest.raises(ConfigError, match=r"vLLM refuses them: .*(unheard-of|seed)"):
            vllm_remark(config.model_copy(update={"vllm_args": wrong}))


def cases(name: str) -> dict[str, tuple[dict[str, Any], str, str]]:
    """Return answers in a format, each with its reasoning and its content."""
    written = WRITTEN[name]
    row = FORMATS[written.format]
    calls = written.calls(*calls_in(name))
    parsers = row.vllm
    tools = next(parser for mark, parser in parsers.tools.items() if mark in calls)
    tokens = [mark for mark in row.special if mark.startswith(("<", "[")) and mark in calls]
    case = {"tools": tools, "tokens": [*tokens, *row.vllm.tokens, OPEN, CLOSE]}
    case |= {"definitions": TOOLS, "variables": {}, "prompt": PROMPT, "answer": calls}
    off = {"variables": {"enable_thinking": False}, "prompt": f"{PROMPT}<think>\n\n</think>\n\n"}
    thought = f"<think>\nSo.\n</think>\n\n{calls}"
    answers = {"no reasoning": ({**case, "reasoning": ""}, "", "")}
    if not parsers.own_marks and written.format != "llama3_json":  # its models do not reason
        answers |= {
            "reasoning": ({**case, "reasoning": parsers.reasoning, "answer": thought}, "So.", ""),
            "switched off": ({**case, **off, "reasoning": "deepseek_v3"}, "", ""),
            "text": ({**case, **off, "reasoning": parsers.reasoning, "answer": "Hi."}, "", "Hi."),
        }
    return answers


def test_the_parsers_of_the_table_read_our_call_texts(smollm2: Path) -> None:
    rows = {(name, key): case for name in SERVED for key, case in cases(name).items()}
    process = subprocess.run(
        [str(vllm_folder() / "bin" / "python"), str(READING)],
        input=json.dumps([str(smollm2), [case for case, _, _ in rows.values()]]),
        env=child_environment(variables={**VARIABLES, **BACKENDS["cpu"].vllm_env}),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    read = json.loads(process.stdout.splitlines()[-1])
    for ((name, key), (_, reasoning, content)), results in zip(rows.items(), read, strict=True):
        expected = [] if content else calls_in(name)
        for result in results:  # complete, and token by token
            calls = [(call, json.loads(arguments or "{}")) for call, arguments in result[2]]
            assert (result[0].strip(), result[1].strip(), calls) == (
                reasoning,
                content,
                expected,
            ), (name, key)


@pytest.fixture
def model(smollm2: Path, tmp_path: Path) -> Path:
    """SmolLM2 with a chat template that renders tools."""
    folder = tmp_path / "base"
    folder.mkdir()
    for path in smollm2.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "chat_template.jinja").write_text(wheel_source("qwen2_5"), "utf-8")
    return folder


def test_an_adapter_is_served_as_trained_with_tools_and_a_stop(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    write_chats(tmp_path / "chats.jsonl", 4)
    training = f"task: train\nstage: sft\nmodel: {model}\nhub: local\ndataset: chats.jsonl\n"
    (tmp_path / "train.yaml").write_text(f"{training}max_steps: 2\nlora_rank: 4\n", "utf-8")
    box("run", "train.yaml", "output_dir=trained", "--plain", cwd=tmp_path)
    deployment = f"task: deploy\nengine: vllm\nmodel: {model}\nadapters: {{mine: trained}}\n"
    deployment += "hub: local\nport: 0\nserved_model_name: smol\nmax_model_len: 2048\n"
    deployment += "gpu_memory_utilization: 0.1\napi_key_env: MY_KEY\n"
    deployment += "vllm_args: {enforce-eager: true}\n"
    (tmp_path / "deploy.yaml").write_text(deployment, "utf-8")
    with started("run", "deploy.yaml", "output_dir=out", cwd=tmp_path) as process:
        (serving,) = until(
            lambda: events(tmp_path / "out", "serving"), what="the address", timeout_s=HANG_S
        )
        (compared,) = events(tmp_path / "out", "parity")
        adapter = compared["models"][1]
        assert (adapter["answered_by"], adapter["differences"]) == ("training", [])
        require_answers(serving["url"])
        worker = psutil.Process(process.pid)
        processes = [worker, *worker.children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        assert psutil.wait_procs(processes, timeout=HANG_S)[1] == []


def require_answers(url: str) -> None:
    """Chat with base and adapter, force a call, and try without the key."""
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    with OpenAI(base_url=f"{url}/v1", api_key="sk-secret-1") as client:
        for name in ("smol", "mine"):
            chat: dict[str, Any] = {"model": name, "messages": question, "max_tokens": 60}
            assert client.chat.completions.create(**chat).choices[0].message.content
            called = client.chat.completions.create(
                **chat, tools=TOOLS[:1], tool_choice="required", temperature=0
            )
            (call,) = called.choices[0].message.tool_calls
            assert call.function.name == "weather"
    stranger = OpenAI(base_url=f"{url}/v1", api_key="other")
    with stranger, pytest.raises(AuthenticationError):
        stranger.models.list()


def test_the_environment_is_named_by_the_search_path() -> None:
    assert (vllm_folder() / "bin" / "vllm").is_file(), os.environ["PATH"]
