"""A base model that learns ChatML stops at the end of its answers, wherever it is served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from merge_run import MergeRun
from own_server import serving
from recorded_training import notes, train_config
from tiny import write_config
from transformers import AutoTokenizer

from swiftbox.cli.main import main
from swiftbox.config.deploy import DeployConfig
from swiftbox.serving.client import Endpoint
from swiftbox.serving.deployment import Deployment
from swiftbox.templates.abilities import Abilities
from swiftbox.templates.closing import GENERATION_FILE, closing_tokens, end_ids, write_end_ids

pytestmark = pytest.mark.filterwarnings("ignore")

QUESTION = {"role": "user", "content": "Is it so?"}
KEYS: dict[str, object] = {
    "template": "chatml",
    "learning_rate": 2e-2,
    "max_steps": 12,
    "lora_rank": 16,
    "logging_steps": 12,
}


@pytest.fixture(scope="module")
def base_model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a chat template that ends its texts with <|endoftext|>."""
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("base") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token, tokenizer.chat_template = "<|endoftext|>", None
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text("utf-8"))
        content["eos_token_id"] = tokenizer.eos_token_id
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    row = {"messages": [QUESTION, {"role": "assistant", "content": "Yes, it is."}]}
    path.write_text((json.dumps(row) + "\n") * 8, "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(base_model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder.parent / "lora.yaml", base_model, rows, **KEYS)
    saved, recorded = train_config(config, folder)
    (note,) = notes(recorded, "eos_token_id")
    assert note.startswith("answers end with <|im_end|> (")
    assert "servers stop there" in note
    return saved


def test_served_answers_and_chats_end_at_the_closing_token(
    base_model: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(base_model, adapters={"mine": trained}) as server:
        body = {"model": "mine", "messages": [QUESTION], "temperature": 0, "max_tokens": 30}
        choice = Endpoint.at(server.url).ask("/v1/chat/completions", body)["choices"][0]
        assert choice["message"]["content"] == "Yes, it is."
        assert choice["finish_reason"] == "stop"
        arguments = ["chat", server.url, "model=mine", "temperature=0", "max_tokens=30"]
        assert main([*arguments, "-m", str(QUESTION["content"])]) == 0
        assert capsys.readouterr().out.strip() == "Yes, it is."


def test_the_merged_model_has_the_added_end(
    base_model: Path, trained: Path, tmp_path: Path
) -> None:
    end = AutoTokenizer.from_pretrained(base_model).convert_tokens_to_ids("<|im_end|>")
    assert end not in end_ids(base_model)
    merged = MergeRun(tmp_path / "out", adapter=trained, model=base_model)
    assert merged.folder is not None
    assert end_ids(merged.folder) == (*end_ids(base_model), end)


def test_a_full_training_writes_the_end_beside_its_weights(
    base_model: Path, rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    keys = {**KEYS, "tuner_type": "full", "max_steps": 1}
    saved, _ = train_config(
        write_config(tmp_path / "full.yaml", base_model, rows, **keys), tmp_path / "run"
    )
    end = AutoTokenizer.from_pretrained(base_model).convert_tokens_to_ids("<|im_end|>")
    assert set(end_ids(saved)) == {*end_ids(base_model), end}


def test_a_model_that_stops_there_already_keeps_its_settings(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    config = write_config(tmp_path / "lora.yaml", tiny, rows, max_steps=1)
    saved, recorded = train_config(config, tmp_path / "run")
    assert notes(recorded, "eos_token_id") == []
    assert not (saved / "generation_config.json").exists()


def test_a_server_with_one_file_for_all_its_models_gets_the_ends_of_its_adapters(
    base_model: Path, trained: Path, tmp_path: Path
) -> None:
    config = DeployConfig(model=str(base_model), hub="local")

    def deployment(adapters: dict[str, Path]) -> Deployment:
        return Deployment(config, tmp_path, None, "base", base_model, adapters, print, print)

    assert deployment({}).generation() is None
    folder = deployment({"mine": trained}).generation()
    assert folder is not None
    assert end_ids(folder) == end_ids(trained)
    assert deployment({}).generation() is None, "an earlier start had adapters"


def test_tokens_that_stand_within_answers_do_not_close_them() -> None:
    tokens = ["<end>", "<end_of_turn>", "<think>"]
    assert closing_tokens(Abilities(closing="<end_of_turn>\n"), tokens) == ("<end_of_turn>",)
    assert closing_tokens(Abilities(closing="###\n"), tokens) == ()
    several = Abilities(closing="</response><end>", called="</response><call>")
    assert closing_tokens(several, [*tokens, "</response>"]) == ("<end>",)
    between_parts = Abilities(closing="<end>\n", called="text<end>\n<call>")
    assert closing_tokens(between_parts, tokens) == ()
    openers = Abilities(is_closed=False, user_opener="<end>", tool_opener="<think>")
    assert closing_tokens(openers, tokens) == ("<end>", "<think>")


def test_a_token_that_only_ends_a_conversation_does_not_close_answers() -> None:
    abilities = Abilities(closing="<next>", trailer="<end>")
    assert closing_tokens(abilities, ["<next>", "<end>"]) == ()


def test_ends_are_added_to_a_copy_of_the_settings_of_the_base(tmp_path: Path) -> None:
    model, target = tmp_path / "model", tmp_path / "target"
    model.mkdir()
    target.mkdir()
    content = json.dumps({"temperature": 0.5, "eos_token_id": 1})
    (model / GENERATION_FILE).write_text(content, "utf-8")
    write_end_ids(target, [1], model)
    assert not (target / GENERATION_FILE).exists()
    for number in (7, 8):
        write_end_ids(target, [number], model)
    written = json.loads((target / GENERATION_FILE).read_text("utf-8"))
    assert written == {"temperature": 0.5, "eos_token_id": [1, 7, 8]}
    assert (model / GENERATION_FILE).read_text("utf-8") == content
