"""The Modelfile holds the model's template in Ollama's language, or says that it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

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


@dataclass
class Tokenizer:
    """A tokenizer whose texts begin with <s>, or do not."""

    chat_template: str
    begins: bool
    name_or_path = "tiny"
    bos_token, bos_token_id, eos_token_id = "<s>", 1, 7
    special_tokens_map = MappingProxyType({"bos_token": "<s>"})

    def __call__(self, _document: str) -> dict[str, list[int]]:
        return {"input_ids": [1, 5] if self.begins else [5]}

    def convert_ids_to_tokens(self, number: int) -> str:
        return f"<{number}>"


def modelfile(source: str, folder: Path, *, begins: bool = True) -> str:
    generation = {"eos_token_id": [7, 9], "temperature": 0.6}
    write_modelfile(folder, Tokenizer(source, begins), generation)
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


@pytest.mark.parametrize("value", ["0.6\nADAPTER ./x", True, [0.6], float("nan"), None, 0])
def test_a_setting_that_is_not_a_number_is_left_out(value: object, tmp_path: Path) -> None:
    generation = {"eos_token_id": [7], "temperature": value, "top_p": 0.9}
    write_modelfile(tmp_path, Tokenizer(CHATML, begins=True), generation)
    lines = (tmp_path / FILE).read_text("utf-8").splitlines()
    assert lines[-2:] == ['PARAMETER stop "<7>"', "PARAMETER top_p 0.9"]


def test_the_token_that_begins_a_text_is_left_to_ollama_where_the_tokenizer_adds_it(
    tmp_path: Path,
) -> None:
    assert "<s>" not in modelfile(LLAMA_3, tmp_path)
    assert "<s><|start|>system" in modelfile(LLAMA_3, tmp_path, begins=False)
