"""What each real engine quantizes is checked, served with an adapter, and talked to; run by hand.

`SWIFTBOX_ENGINES=~/.swiftbox pytest -m network tests/quantization` uses the engines of that home.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from adapters import make_adapter
from box import box, events, started, until
from openai import OpenAI

pytestmark = pytest.mark.network

SETTINGS = {"gptq": ["group_size=64"], "awq": ["group_size=64"], "fp8": [], "w8a8": []}
ENGINES = {"gptq": "gptq", "awq": "gptq", "fp8": "compress", "w8a8": "compress"}
QUESTION = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("method", sorted(SETTINGS))
def test_a_result_is_served_with_an_adapter_as_its_check_says(
    method: str, model: Path, tmp_path: Path
) -> None:
    quantize = f"task: quantize\nmodel: {model}\nhub: local\nmethod: {method}\n"
    (tmp_path / "a.yaml").write_text(quantize, "utf-8")
    few = ["calibration_length=64"] + ["calibration_samples=8"] * (method != "fp8")
    settings = [*few, *SETTINGS[method], "output_dir=out"]
    checked = box("check", "a.yaml", *settings, cwd=tmp_path)
    assert (
        f"by the builtin server in the engine {ENGINES[method]}" in checked.stdout + checked.stderr
    )
    box("run", "a.yaml", *settings, "--yes", cwd=tmp_path)
    adapter = make_adapter(model, tmp_path / "adapter")
    deploy = f"task: deploy\nmodel: out\nhub: local\nport: 0\nadapters: {{mine: {adapter}}}\n"
    (tmp_path / "b.yaml").write_text(deploy, "utf-8")
    with started("run", "b.yaml", "output_dir=served", cwd=tmp_path):
        (serving,) = until(lambda: events(tmp_path / "served", "serving"), what="the address")
        (compared,) = events(tmp_path / "served", "parity")
        assert [row["differences"] for row in compared["models"]] == [[], []]
        with OpenAI(base_url=f"{serving['url']}/v1", api_key="none") as client:
            for name in serving["models"]:
                answer = client.chat.completions.create(
                    model=name, messages=QUESTION, max_tokens=4, temperature=0
                )
                assert answer.usage is not None
                assert answer.usage.completion_tokens > 0
        box("runs", "stop", "served", cwd=tmp_path)
    talked = box("chat", "out", "-m", "hi", cwd=tmp_path)
    assert talked.stdout.strip()
