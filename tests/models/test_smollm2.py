"""The real model of the tests is real: it answers, and is converted once per machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from smollm2 import smollm2_folder


@pytest.mark.slow
def test_the_real_model_knows_a_capital(smollm2: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])


@pytest.mark.slow
def test_the_real_model_is_converted_once(smollm2: Path) -> None:
    before = (smollm2 / "model.safetensors").stat()
    assert smollm2_folder() == smollm2
    assert (smollm2 / "model.safetensors").stat() == before
