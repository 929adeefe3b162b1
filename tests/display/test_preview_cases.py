"""Rows that people have: `check --preview --json` shows what each becomes (cases/rows.jsonl)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from in_process import box
from model_folder import write_model
from template_rows import wheel_folder
from tiny import train_tokenizer, write_config

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "cases" / "rows.jsonl").read_text("utf-8").splitlines()
]

TEMPLATES = {
    "a template with tools": ("qwen3", "qwen2_5"),
    "a template that strips reasoning": ("deepseek_r1_distill",),
    "qwen3": ("qwen3",),
    "llama3": ("llama3",),
    None: ("",),
}
"""Files of trl's wheel for the templates that cases name; "" is ChatML."""

CLOSING = ("<|im_end|>", "<|eot_id|>", "<think>\n\n</think>")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real tokenizer, and weights that are only names."""
    folder = write_model(tmp_path_factory.mktemp("cases") / "model")
    tokenizer = train_tokenizer()
    tokenizer.bos_token = tokenizer.pad_token  # some templates begin with it
    tokenizer.save_pretrained(folder)
    return folder


def template_file(name: str) -> str:
    return str(wheel_folder() / f"{name}.jinja")


def answer_of(case: Mapping[str, Any], model: Path, folder: Path, template: str) -> tuple[Any, str]:
    """What `check` answers for programs, and all that it says to people and programs."""
    data = folder / "rows.jsonl"
    data.write_text(json.dumps(case["row"], ensure_ascii=False) + "\n", "utf-8")
    keys = {"template": template_file(template)} if template else {}
    write_config(folder / "a.yaml", model, data, stage=case["stage"], max_length=4096, **keys)
    shown = box("check", "a.yaml", cwd=folder, code=None)
    done = box("check", "a.yaml", "--preview", "--json", cwd=folder, code=None)
    assert done.returncode == shown.returncode
    return json.loads(done.stdout), done.stdout + shown.stdout + shown.stderr


def learned_texts(answer: Mapping[str, Any], kind: str = "") -> list[str]:
    """The learned parts in order, without closing tokens and the empty thoughts of Qwen3."""
    texts = []
    for parts, origin in zip(answer["preview"], answer["preview_rows"], strict=True):
        if not kind or origin["answer"] == kind:
            texts += [part["text"] for part in parts if part["learned"]]
    return [_without_closing(text) for text in texts]


def _without_closing(text: str) -> str:
    for token in CLOSING:
        text = text.replace(token, "")
    return text.strip()


def holds_all(expected: list[str], text: str) -> bool:
    return all(word in text for word in expected)


def require_expected(expect: Mapping[str, Any], answer: Mapping[str, Any], report: str) -> None:
    """Compare an answer with what a case expects of it."""
    prompt = "".join(
        part["text"] for parts in answer["preview"] for part in parts if not part["learned"]
    )
    if "learned" in expect:
        assert learned_texts(answer) == expect["learned"]
    for kind in ("chosen", "rejected"):
        if kind in expect:
            assert learned_texts(answer, kind) == expect[kind]
    if "scale" in expect:
        parts = [part for parts in answer["preview"] for part in parts if part["learned"]]
        assert [part.get("weight", 1.0) for part in parts] == expect["scale"]
    if "assistant_turns" in expect:
        assert len(learned_texts(answer)) == expect["assistant_turns"]
    if not holds_all(expect.get("learned_has", []), "\n".join(learned_texts(answer))):
        assert holds_all(expect.get("or_says", ["learned_has"]), report)
    assert holds_all(expect.get("prompt_has", []), prompt)
    assert not any(word in prompt for word in expect.get("prompt_lacks", []))
    assert holds_all(expect.get("says", []), report)


@pytest.mark.parametrize(
    ("case", "template"),
    [
        pytest.param(case, template, id=f"{case['name']}-{template or 'chatml'}")
        for case in CASES
        for template in TEMPLATES[case.get("template")]
    ],
)
def test_a_row_becomes_what_its_author_meant(
    case: Mapping[str, Any], template: str, model: Path, tmp_path: Path
) -> None:
    expect = case["expect"]
    answer, report = answer_of(case, model, tmp_path, template)
    if answer["ok"]:
        assert not expect.get("asks_for_columns")
        require_expected(expect, answer, report)
        return
    if expect.get("asks_for_columns"):
        assert "columns:" in report
        assert f": {expect['never_suggests']}" not in report
        return
    assert "says" in expect or "or_says" in expect, report
    assert holds_all(expect.get("says", []) + expect.get("or_says", []), report)


def test_a_variable_of_the_template_reaches_the_rows(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    data.write_text(json.dumps({"messages": turns}) + "\n", "utf-8")
    keys = {"template": template_file("qwen3"), "chat_template_kwargs": {"enable_thinking": False}}
    write_config(tmp_path / "a.yaml", model, data, **keys)
    answer = json.loads(box("check", "a.yaml", "--preview", "--json", cwd=tmp_path).stdout)
    prompt, learned = answer["preview"][0]
    assert prompt["text"].endswith("<think>\n\n</think>\n\n")
    assert learned["text"].startswith("a<|im_end|>")
