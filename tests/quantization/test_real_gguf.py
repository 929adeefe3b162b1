"""SmolLM2 as GGUF by the real llama.cpp: written, served, and talked to; run by hand.

`SWIFTBOX_ENGINES=~/.swiftbox pytest -m network tests/quantization` uses the engines of that home;
without it the engine is compiled into the test's own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from box import HANG_S, LONGEST_RUN_S, box, events, started, until
from gguf import GGUFReader
from openai import AuthenticationError, OpenAI
from tiny import write_chats

from swiftbox.config.presets import presets
from swiftbox.files import read_json

pytestmark = pytest.mark.network

CHAIN = """\
task: pipeline
steps:
- name: train
  task: train
  model: {model}
  hub: local
  stage: sft
  tuner_type: lora
  dataset: rows.jsonl
  per_device_train_batch_size: 4
  max_steps: 2
- name: merge
  task: merge
  adapter: ${{train.adapter}}
- name: quantize
  task: quantize
  model: ${{merge.model}}
  method: gguf
  bits: 4
  calibration_length: 128
- name: chat
  task: chat
  model: ${{quantize.model}}
  prompt: What is the capital of France?
  max_tokens: 8
- name: deploy
  task: deploy
  model: ${{quantize.model}}
  port: 0
  max_concurrency: 1
"""

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def quantized(model: Path, bits: int, place: Path) -> Path:
    """Quantize with the real engine; return the run folder."""
    path = place / "a.yaml"
    path.write_text(f"task: quantize\nmodel: {model}\nhub: local\nmethod: gguf\n", "utf-8")
    box("run", str(path), f"bits={bits}", "output_dir=out", "--yes", cwd=place)
    return place / "out"


@pytest.mark.parametrize(
    ("bits", "name", "limits"),
    [
        (4, "Q4_K_M", (1.09, 0.40)),
        (5, "Q5_K_M", (1.10, 0.45)),  # Q5_1 for most rows: worse than Q5_0 on these weights
        (6, "Q6_K", (1.02, 0.54)),
        (8, "Q8_0", (1.01, 0.54)),
        (16, "F16", (1.001, 1.01)),
    ],
)
def test_a_file_of_each_type_is_the_same_model(
    bits: int, name: str, limits: tuple[float, float], smollm2: Path, tmp_path: Path
) -> None:
    out = quantized(smollm2, bits, tmp_path)
    report = read_json(out / "quantize.json")
    assert report["described"] == f"GGUF {name}"
    assert report["perplexity_before"] == pytest.approx(report["perplexity_original"], rel=0.002)
    assert (report["perplexity_ratio"], report["share"]) < limits
    assert len(GGUFReader(out / "model" / "model.gguf").tensors) == 272


def test_the_file_is_served_with_the_tokens_of_the_training_and_answers(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    quantized(smollm2, 8, tmp_path)
    deployment = "task: deploy\nmodel: out\nhub: local\nport: 0\napi_key_env: MY_KEY\n"
    (tmp_path / "deploy.yaml").write_text(deployment, "utf-8")
    with started("run", "deploy.yaml", "output_dir=served", cwd=tmp_path) as process:
        (serving,) = until(lambda: events(tmp_path / "served", "serving"), what="the address")
        (compared,) = events(tmp_path / "served", "parity")
        assert [row["differences"] for row in compared["models"]] == [[]]
        assert compared["models"][0]["prompts"] >= 6
        with OpenAI(base_url=f"{serving['url']}/v1", api_key="sk-secret-1") as client:
            answer = client.chat.completions.create(
                model="out", messages=QUESTION, max_tokens=16, temperature=0
            )
            # Not which answer: two first tokens are 0.1 apart, and 8 bits may swap them.
            assert answer.choices[0].message.content
        stranger = OpenAI(base_url=f"{serving['url']}/v1", api_key="other")
        with stranger, pytest.raises(AuthenticationError):
            stranger.models.list()
        box("runs", "stop", "served", cwd=tmp_path)
        assert process.wait(HANG_S) == 130  # stopped
    assert "sk-secret-1" not in (tmp_path / "served" / "log.txt").read_text("utf-8")


def test_a_chain_from_the_training_on_serves_with_its_tokens(smollm2: Path, tmp_path: Path) -> None:
    write_chats(tmp_path / "rows.jsonl", 20)
    (tmp_path / "chain.yaml").write_text(CHAIN.format(model=smollm2), "utf-8")
    out = tmp_path / "out"
    with started("run", "chain.yaml", "output_dir=out", "--yes", cwd=tmp_path) as process:
        served = out / "steps" / "05-deploy"
        until(lambda: events(served, "serving"), what="the address", timeout_s=LONGEST_RUN_S)
        (compared,) = events(served, "parity")
        assert [row["differences"] for row in compared["models"]] == [[]]
        assert compared["models"][0]["trained"]
        (answered,) = read_json(out / "steps" / "04-chat" / "answers.json")["answers"]
        assert answered["answers"][0]["text"]
        box("runs", "stop", "out", cwd=tmp_path)
        assert process.wait(HANG_S) == 130  # stopped


def test_the_file_is_evaluated(smollm2: Path, tmp_path: Path) -> None:
    """Needs the engine evalscope too."""
    quantized(smollm2, 8, tmp_path)
    settings = ("adapter=null", "model=out", "hub=local", "benchmarks=sample_mmlu", "limit=1")
    more = ("max_tokens=8", "output_dir=scores", "--yes")
    box("run", str(presets()["evaluate"]), *settings, *more, cwd=tmp_path)
    (score,) = read_json(tmp_path / "scores" / "report.json")["scores"]
    assert score["count"] == 6


def test_the_file_answers_in_a_chat(smollm2: Path, tmp_path: Path) -> None:
    quantized(smollm2, 8, tmp_path)
    talk = box("chat", "model=out", "hub=local", "-m", QUESTION[0]["content"], cwd=tmp_path)
    assert talk.stdout.strip()
