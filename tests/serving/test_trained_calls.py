"""An adapter that swiftbox trained on rows with tools gives the calls back to the official client.

Nothing is forced here: rows, training, adapter, template and server are real, on a tiny model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from in_process import box
from own_server import serving

from swiftbox.config.presets import presets

TEMPLATE = """{% for tool in tools or [] %}{{ tool.function | tojson }}
{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>
<function={{ call.function.name }}>
{% for key, value in call.function.arguments.items() %}<parameter={{ key }}>
{{ value if value is string else value | tojson }}
</parameter>
{% endfor %}</function>
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Writes calls as Qwen3-Coder does, in few tokens: a text that looks like a number stays one."""

PARAMETERS = {"city": {"type": "string"}, "zip": {"type": "string"}, "days": {"type": "integer"}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": PARAMETERS}},
}
QUESTION = {"role": "user", "content": "How is Oslo?"}
ARGUMENTS = {"city": "Oslo", "zip": "0150", "days": 2}


def turn(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": "call_1", "type": "function", "function": function}


def row() -> dict[str, Any]:
    """Return a row in OpenAI's format: a call, its result, the answer."""
    return {
        "messages": [
            QUESTION,
            {"role": "assistant", "content": "", "tool_calls": [turn("weather", ARGUMENTS)]},
            {"role": "tool", "tool_call_id": "call_1", "content": "3 C"},
            {"role": "assistant", "content": "It is cold."},
        ],
        "tools": [TOOL],
    }


@pytest.mark.slow
def test_a_trained_adapter_calls_and_answers_after_the_result(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "base")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row())}\n" * 8, "utf-8")
    settings = "tuner_type=lora lora_rank=32 lora_alpha=64 learning_rate=1.0e-2 max_steps=60"
    settings += " per_device_train_batch_size=1 gradient_accumulation_steps=1 val_size=0"
    settings += " max_length=1024 dtype=float32 lora_dropout=0 turns=auto save_steps=60"
    sources = (f"model={folder}", "dataset=rows.jsonl", "output_dir=out")
    box("run", str(presets()["sft-lora"]), *sources, *settings.split(), cwd=tmp_path)
    keys: dict[str, Any] = {"model": "mine", "tools": [TOOL], "temperature": 0}
    keys["max_tokens"] = 120
    with (
        serving(folder, adapters={"mine": tmp_path / "out" / "model"}) as server,
        server.client() as client,
    ):
        choice = client.chat.completions.create(messages=[QUESTION], **keys).choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == ARGUMENTS
        reply = {"role": "tool", "tool_call_id": call.id, "content": "3 C"}
        talk = [QUESTION, choice.message, reply]
        answer = client.chat.completions.create(messages=talk, **keys).choices[0]
    assert (answer.finish_reason, answer.message.content) == ("stop", "It is cold.")
