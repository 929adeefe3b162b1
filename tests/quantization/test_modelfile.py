"""The Modelfile holds the model's template in Ollama's language, or says that it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from swiftbox.quantization.modelfile import FILE, turn_texts, write_modelfile
from swiftbox.templates.template import ConversationTemplate

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\n"
    "Be kind.<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}"
    "<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
FIRST_TURN = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.first %}First: {% endif %}"
    "{{ m.content }} [/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
DATED = CHATML.replace("Be kind.", "{{ strftime_now('%Y') }}")


def template(source: str) -> ConversationTemplate:
    return ConversationTemplate(source, {"bos_token": "<s>"})


def modelfile(source: str, folder: Path) -> str:
    tokenizer = SimpleNamespace(
        chat_template=source,
        name_or_path="tiny",
        bos_token="<s>",
        eos_token_id=7,
        special_tokens_map={"bos_token": "<s>"},
        convert_ids_to_tokens=lambda number: f"<{number}>",
    )
    write_modelfile(folder, tokenizer, {"eos_token_id": [7, 9], "temperature": 0.6})
    return (folder / FILE).read_text("utf-8")


@pytest.mark.parametrize("source", [CHATML, LLAMA_3])
def test_a_template_of_turns_is_translated(source: str) -> None:
    texts = turn_texts(template(source))
    assert texts is not None
    talk = [("system", "A"), ("user", "B"), ("assistant", "C"), ("user", "D")]
    messages = [{"role": role, "content": content} for role, content in talk]
    assert texts.render(talk) == template(source).render(messages, prompt=True)


@pytest.mark.parametrize("source", [FIRST_TURN, DATED, "{{ messages[0].content }}"])
def test_a_template_that_is_more_than_turns_is_left_out(source: str, tmp_path: Path) -> None:
    assert turn_texts(template(source)) is None
    content = modelfile(source, tmp_path)
    assert "TEMPLATE" not in content
    assert "has no equal here" in content


def test_the_modelfile_names_the_file_the_ends_and_the_sampling(tmp_path: Path) -> None:
    lines = modelfile(CHATML, tmp_path).splitlines()
    assert "FROM ./model.gguf" in lines
    assert lines[-3:] == [
        'PARAMETER stop "<7>"',
        'PARAMETER stop "<9>"',
        "PARAMETER temperature 0.6",
    ]
    (line,) = (line for line in lines if line.startswith("TEMPLATE"))
    assert r'{{ if not .System }}{{ "<|im_start|>system\nBe kind.<|im_end|>\n" }}{{ end }}' in line
    assert r'{{ if eq .Role "system" }}{{ "<|im_start|>system\n" }}{{ .Content }}' in line


def test_the_token_that_begins_a_text_is_left_to_ollama(tmp_path: Path) -> None:
    assert "<s>" not in modelfile(LLAMA_3, tmp_path)
