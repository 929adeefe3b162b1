"""Rows are previewed as the model sees them, without torch and without running any code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from box import events
from in_process import box
from model_folder import write_model
from tiny import train_tokenizer, write_config

from swiftbox.display.row_preview import show
from swiftbox.errors import ConfigError
from swiftbox.tasks.load import load, require_training

ROWS: list[dict[str, Any]] = [
    {"query": "q1", "response": "a1"},
    {"messages": [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "a\x1b[2J"}]},
    {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "skipped", "weight": 0},
            {"role": "user", "content": "y"},
            {"role": "assistant", "content": "twice", "loss_scale": 2.0},
        ]
    },
    {"query": "q4", "response": "a4"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real tokenizer, and weights that are only names."""
    folder = write_model(tmp_path_factory.mktemp("preview") / "model")
    train_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def preview(model: Path, tmp_path: Path) -> Any:
    """A function that writes rows and returns what `check` answers for programs."""

    def run(rows: list[dict[str, Any]], *arguments: str, **keys: object) -> dict[str, Any]:
        write_rows(tmp_path / "rows.jsonl", rows)
        write_config(tmp_path / "a.yaml", model, tmp_path / "rows.jsonl", **keys)
        done = box("check", "a.yaml", "--preview", "--json", *arguments, cwd=tmp_path)
        return json.loads(done.stdout)

    return run


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def learned(answer: dict[str, Any]) -> list[list[str]]:
    """The learned texts of each previewed text."""
    return [[part["text"] for part in parts if part["learned"]] for parts in answer["preview"]]


def test_a_preview_lists_the_parts_of_the_first_rows(preview: Any) -> None:
    answer = preview(ROWS)
    assert learned(answer) == [["a1<|im_end|>\n"], ["a\x1b[2J<|im_end|>\n"], ["twice<|im_end|>\n"]]
    assert answer["preview"][0][0] == {
        "text": "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n",
        "learned": False,
    }
    assert [(row["file"], row["line"]) for row in answer["preview_rows"]] == [
        ("rows.jsonl", 1),
        ("rows.jsonl", 2),
        ("rows.jsonl", 3),
    ]


def test_a_weight_other_than_1_stands_beside_its_part(preview: Any) -> None:
    parts = preview(ROWS, "--line", "rows.jsonl:3")["preview"][0]
    assert [part.get("weight") for part in parts if part["learned"]] == [2.0]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--rows", "2"], [1, 2]),
        (["--line", "rows.jsonl:4"], [4]),
        (["--line", "rows.jsonl:4", "--line", "some/where/rows.jsonl:2"], [2, 4]),
    ],
)
def test_rows_and_line_choose_rows(preview: Any, arguments: list[str], lines: list[int]) -> None:
    answer = preview(ROWS, *arguments)
    assert [row["line"] for row in answer["preview_rows"]] == lines


REFUSING = (
    "{% for m in messages %}{% if loop.index0 % 2 != (m.role == 'assistant') %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}]"
    "{% if m.role == 'assistant' and loop.last %}last:{% endif %}{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""Refuses two turns of a role in a row, and rewrites earlier answers."""


def test_rows_that_the_template_refuses_are_passed_over(preview: Any, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(REFUSING, "utf-8")
    refused = {"messages": [{"role": "user", "content": "x"}] * 2 + [ROWS[1]["messages"][1]]}
    shown = preview([refused, *ROWS[:2]], template="own.jinja", max_bad_rows=1)
    assert [row["line"] for row in shown["preview_rows"]] == [2, 3]


def test_with_train_on_prompt_a_later_text_learns_what_is_new(preview: Any, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(REFUSING, "utf-8")
    turns = [{"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"))]
    shown = preview([{"messages": turns * 2}], template="own.jinja", train_on_prompt=True)
    first, second = shown["preview"]
    assert [(part["text"], part["learned"]) for part in first] == [
        ("[user]q;[assistant]last:a;", True)
    ]
    assert [(part["text"], part["learned"]) for part in second] == [
        ("[user]q;[assistant]", False),
        ("a;[user]q;[assistant]last:a;", True),
    ]
    assert shown["preview_lengths"]["learned_tokens"] < shown["preview_lengths"]["tokens"] - 2


def test_a_pair_shows_both_answers(preview: Any) -> None:
    answer = preview([{"prompt": "q", "chosen": "yes", "rejected": "no"}], stage="dpo")
    assert learned(answer) == [["yes<|im_end|>\n"], ["no<|im_end|>\n"]]
    assert [row["answer"] for row in answer["preview_rows"]] == ["chosen", "rejected"]


def test_a_row_longer_than_max_length_is_shown_as_it_is_cut(preview: Any) -> None:
    answer = preview([{"query": "q", "response": "word " * 40}, *ROWS], max_length=16)
    (first, *_rest), lengths = answer["preview_rows"], answer["preview_lengths"]
    assert first["cut"]
    assert first["tokens"] > 16
    assert len("".join(part["text"] for part in answer["preview"][0])) < 60
    assert lengths["longer_than_max_length"] >= 1
    assert lengths["rows"] == 5
    assert lengths["all_rows"]


def test_a_text_is_learned_from_its_first_character(preview: Any) -> None:
    answer = preview([{"text": "some words"}], stage="pt")
    assert answer["preview"] == [[{"text": "some words", "learned": True}]]


def test_a_place_without_a_row_is_refused(model: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "a.yaml", model, write_rows(tmp_path / "rows.jsonl", ROWS))
    done = box("check", "a.yaml", "--line", "rows.jsonl:9", cwd=tmp_path, code=2)
    assert "--line: no row at rows.jsonl:9" in done.stderr
    typed = box("check", "a.yaml", "--line", "rows.jsonl", cwd=tmp_path, code=2)
    assert "should be a file and a line, such as chat.jsonl:12 (got rows.jsonl)" in typed.stderr


def test_without_colour_the_learned_parts_stand_in_brackets(model: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "a.yaml", model, write_rows(tmp_path / "rows.jsonl", ROWS))
    shown = box("check", "a.yaml", "--preview", cwd=tmp_path).stdout
    assert "⟦a1<|im_end|>" in shown
    assert "⟦2x twice<|im_end|>" in shown
    assert "learned tokens are in ⟦ ⟧" in shown
    assert "tokens per row: p50" in shown
    assert "\x1b[2J" not in shown


def test_a_model_that_is_not_on_this_machine_is_refused(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    path = write_config(tmp_path / "a.yaml", Path("owner/name"), rows, hub="modelscope")
    with pytest.raises(ConfigError, match="--preview needs the tokenizer"):
        show(require_training(load(path).config))


def test_a_preview_imports_neither_torch_nor_transformers(model: Path, tmp_path: Path) -> None:
    """A test of this process would see what other tests import."""
    write_config(tmp_path / "a.yaml", model, write_rows(tmp_path / "rows.jsonl", ROWS))
    code = (
        "import sys\nfrom swiftbox.cli.main import main\n"
        "assert main(['check', 'a.yaml', '--preview']) == 0\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_preview_shows_what_the_training_learns(stage: str, tiny: Path, tmp_path: Path) -> None:
    pair = {"prompt": "q", "chosen": "yes, of course", "rejected": "n\u00f6 \u4e0d\u884c"}
    rows = write_rows(tmp_path / "rows.jsonl", ROWS[:3] if stage == "sft" else [pair])
    keys = {"stage": stage, "max_steps": 1, "max_length": 64, "output_dir": "out"}
    write_config(tmp_path / "a.yaml", tiny, rows, **keys)
    shown = json.loads(box("check", "a.yaml", "--preview", "--json", cwd=tmp_path).stdout)
    box("run", "a.yaml", cwd=tmp_path)
    data = next(event for event in events(tmp_path / "out") if event["event"] == "data")
    plain = [[(part["text"], part["learned"]) for part in parts] for parts in shown["preview"]]
    assert [
        [(part["text"], part["learned"]) for part in parts] for parts in data["preview"]
    ] == plain
