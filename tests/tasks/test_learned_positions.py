"""Models with a table of positions: rows that may be longer are refused by `check` and `run`."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from made_up import made_up
from tiny import SIZES, train_tokenizer, write_chats, write_config

from swiftbox.architectures.positions import learned_positions
from swiftbox.errors import ConfigError
from swiftbox.launch.prepare import check_config
from swiftbox.plan import plan
from swiftbox.tasks.load import load
from swiftbox.tasks.train import TRAIN

pytestmark = pytest.mark.filterwarnings("ignore")

POSITIONS = 40


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny OPT, which has two more rows of positions than it reads tokens."""
    folder = tmp_path_factory.mktemp("opt")
    sizes = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_hidden_layers": 1}
    config = transformers.OPTConfig(
        vocab_size=SIZES["vocab_size"],
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
        **sizes,
    )
    transformers.OPTForCausalLM(config).save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)
    return folder


def refusals(path: Path) -> list[str]:
    """What `check` and the child of a run say; each must refuse."""
    config = plan(load(path).config, made_up("cpu")).config
    messages = []
    for act in (
        lambda: check_config(config),
        lambda: TRAIN.run(config, path.parent, lambda *_arguments, **_fields: None),
    ):
        with pytest.raises(ConfigError) as error:
            act()
        messages.append(error.value.message)
    return messages


def test_rows_longer_than_the_learned_positions_are_refused(tmp_path: Path, opt: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    path = write_config(tmp_path / "a.yaml", opt, data, max_length=POSITIONS + 1)
    for message in refusals(path):
        assert f"max_length: 41, but the model has learned {POSITIONS} positions" in message


def test_rows_as_long_as_the_learned_positions_train(tmp_path: Path, opt: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    path = write_config(
        tmp_path / "a.yaml", opt, data, max_length=POSITIONS, max_steps=1, truncation="right"
    )
    config = plan(load(path).config, made_up("cpu")).config
    check_config(config)
    assert TRAIN.run(config, tmp_path, lambda *_arguments, **_fields: None) is not None


def test_a_teacher_must_have_positions_for_generated_answers_as_well(
    tmp_path: Path, tiny: Path, opt: Path
) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 8)
    keys = {"stage": "gkd", "teacher_model": str(opt), "max_length": 32}
    path = write_config(tmp_path / "a.yaml", tiny, data, **keys, max_completion_length=9)
    for message in refusals(path):
        assert message.startswith("teacher_model: max_length + max_completion_length: 41, but")


def test_the_positions_of_pictures_and_sounds_limit_no_text() -> None:
    shapes = {
        "audio_tower.embed_positions.weight": (1500, 8),
        "model.vision_model.position_embeddings.weight": (64, 8),
    }
    assert learned_positions({"model_type": "qwen2_audio"}, shapes) is None
