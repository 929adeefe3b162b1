"""Distillations, whole: from a file of rows and a teacher to a model that loads again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_up import made_up
from recorded_training import Recorded, of_kind, require_same_after_resume, train_config
from tiny import build, write_chats, write_config
from transformers import AutoModelForCausalLM

from swiftbox.core.data.samples import IGNORED, TokenRow
from swiftbox.core.training import generated_answers
from swiftbox.core.training.generated_answers import (
    AnswerWriter,
    SampledTokens,
    UpdatePlace,
    answered_row,
    answered_rows,
    answering,
)
from swiftbox.errors import RunError
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load
from swiftbox.tasks.train import require_same_inputs

# The libraries' own warnings are theirs; log.txt shows them.
pytestmark = pytest.mark.filterwarnings("ignore")

COMMON: dict[str, object] = {
    "stage": "gkd",
    "max_completion_length": 12,
    "save_steps": 0,
    "per_device_train_batch_size": 4,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama with the tokenizer of the student."""
    return build("llama", tmp_path_factory.mktemp("teacher") / "llama", seed=5)


def distill(folder: Path, student: Path, teacher: Path, **keys: object) -> tuple[Path, Recorded]:
    folder.mkdir(parents=True)
    data = write_chats(folder / "rows.jsonl", 32)
    settings = {**COMMON, "teacher_model": str(teacher), **keys}
    return train_config(write_config(folder / "a.yaml", student, data, **settings), folder)


WAYS = {
    "the answers of the data": {"lmbda": 0.0},
    "its own answers": {"lmbda": 1.0, "beta": 1.0},
    "both": {"lmbda": 0.5, "sft_alpha": 0.1},
    "the teacher's answers": {"lmbda": 0.0, "seq_kd": True},
    "padded rows": {"lmbda": 0.5, "padding_free": "false"},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_student_comes_nearer_to_its_teacher(
    way: str, tmp_path: Path, tiny: Path, teacher: Path
) -> None:
    keys = {"tuner_type": "full", "learning_rate": 2e-3, "max_steps": 20, "logging_steps": 1}
    saved, recorded = distill(
        tmp_path / "run", tiny, teacher, val_size=4, eval_steps=10, **keys, **WAYS[way]
    )
    evaluated = [event["loss"] for event in of_kind(recorded, "eval")]
    assert evaluated[-1] < evaluated[0]
    assert AutoModelForCausalLM.from_pretrained(saved).config.model_type == "qwen3"


@pytest.mark.slow
def test_a_resumed_distillation_ends_where_the_uninterrupted_one_ends(
    tmp_path: Path, tiny: Path, teacher: Path
) -> None:
    keys = {"lmbda": 0.5, "seq_kd": True, "max_steps": 6, "save_steps": 3}
    saved, _ = distill(tmp_path / "run", tiny, teacher, **keys)
    require_same_after_resume(saved, last=6, earlier=3)


def test_another_teacher_in_the_place_of_the_first_is_refused_on_resume(
    tmp_path: Path, tiny: Path, teacher: Path
) -> None:
    saved, _ = distill(tmp_path / "run", tiny, teacher, lmbda=0.0, max_steps=2, save_steps=1)
    config = plan(load(saved.parent / "a.yaml").config, made_up("cpu")).config
    moved = shutil.copytree(teacher, tmp_path / "other")
    other = config.model_copy(update={"teacher_model": str(moved)})
    with pytest.raises(RunError, match="teacher: changed since the checkpoint"):
        TASKS["train"].run(other, saved.parent, lambda _event, **_fields: None)
    record = saved.parent / "inputs.json"
    inputs = json.loads(record.read_text("utf-8")) | {"teacher_revision": "1" * 40}
    record.write_text(json.dumps(inputs), "utf-8")
    require_same_inputs(saved.parent, {**inputs, "teacher_revision": None})  # not known
    with pytest.raises(RunError, match="teacher_revision: changed since the checkpoint"):
        require_same_inputs(saved.parent, {**inputs, "teacher_revision": "2" * 40})


def test_answers_do_not_depend_on_how_many_rows_are_answered_at_once(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64).eval()
    prompts = [np.arange(3, 3 + length, dtype=np.int32) for length in (4, 9, 6)]
    seeds, cpu = [11, 12, 13], torch.device("cpu")

    def answers(parts: list[slice]) -> list[list[int]]:
        rows: list[TokenRow] = []
        for part in parts:
            sampler = SampledTokens(seeds[part], 1.0, cpu)
            rows += answered_rows(model, prompts[part], sampler, 10, frozenset({2}))
        return [row.input_ids.tolist() for row in rows]

    together = answers([slice(0, 3)])
    assert together == answers([slice(0, 1), slice(1, 2), slice(2, 3)])
    assert [row[: len(prompt)] for row, prompt in zip(together, prompts, strict=True)] == [
        prompt.tolist() for prompt in prompts
    ]
    assert len({tuple(row[-3:]) for row in together}) == 3  # each row has its own noise


def test_prompts_that_do_not_fit_together_are_answered_in_smaller_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def answer(_model: object, prompts: list[np.ndarray], *_: object) -> list[TokenRow]:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise MemoryError("out of memory")
        return [TokenRow(prompts[0], prompts[0])]

    monkeypatch.setattr(generated_answers, "answered_rows", answer)
    values = {"temperature": 1.0, "max_completion_length": 4}
    config = SimpleNamespace(seed=1, model_dump=lambda: values)
    writer = AnswerWriter(config, None, None, frozenset(), 4, torch.device("cpu"))
    prompts = [np.arange(3, dtype=np.int32)] * 5
    assert len(writer._answers(None, prompts, range(5))) == 5
    assert sizes == [4, 2, 1, 1, 1, 1, 1]
    assert writer.rows_at_once == 1  # for the rest of the run


def test_an_update_that_is_begun_again_has_the_same_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[UpdatePlace] = []
    values = {"lmbda": 1.0, "seq_kd": False}
    config = SimpleNamespace(seed=1, model_dump=lambda: values)
    writer = AnswerWriter(config, None, None, frozenset(), 4, torch.device("cpu"))
    monkeypatch.setattr(writer, "_answered", lambda _units, place, _by: written.append(place) or [])
    for update in (0, 0, 1):
        writer.units_of([], UpdatePlace(0, update))
    assert written == [UpdatePlace(0, 0), UpdatePlace(0, 1)]


def test_noise_makes_the_likeliest_token_a_sample_of_the_distribution() -> None:
    draws, temperature = 20_000, 2.0
    scores = torch.tensor([0.0, 1.0, 3.0]).expand(draws, 3)
    noisy = SampledTokens(range(draws), temperature, torch.device("cpu"))(None, scores)
    shares = torch.bincount(noisy.argmax(1), minlength=3) / draws
    expected = (scores[0] / temperature).softmax(0)
    assert torch.allclose(shares, expected, atol=0.02)  # 6 standard deviations


def test_a_draw_of_zero_makes_no_impossible_token_the_likeliest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exponential(noise: torch.Tensor, **_options: object) -> torch.Tensor:
        return noise.copy_(torch.tensor([1.0, 0.0, 1.0]))

    monkeypatch.setattr(torch.Tensor, "exponential_", exponential)
    scores = torch.tensor([[0.0, -60.0, -float("inf")]])
    assert SampledTokens([1], 1.0, torch.device("cpu"))(None, scores).argmax() == 0


def test_the_model_s_own_sampling_settings_do_not_change_its_answers(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    model.generation_config.repetition_penalty, model.generation_config.max_length = 5.0, 7
    before = model.train().generation_config
    config = load(write_config(tiny.parent / "b.yaml", tiny, tiny)).config
    with answering(model, config, torch.device("cpu")) as ready:
        assert ready.generation_config.repetition_penalty in (None, 1.0)
        assert not ready.training
    assert model.generation_config is before
    assert model.training


def test_an_answer_is_learned_up_to_its_first_end_token() -> None:
    row = answered_row(np.array([5, 6], np.int32), np.array([7, 2, 2, 9]), frozenset({2}))
    assert row.input_ids.tolist() == [5, 6, 7, 2]
    assert row.labels.tolist() == [IGNORED, IGNORED, 7, 2]


def test_the_last_learned_turn_is_the_one_that_is_answered_again() -> None:
    ids = np.arange(10, 18, dtype=np.int32)
    labels = np.array([IGNORED, 11, IGNORED, IGNORED, 14, 15, IGNORED, IGNORED], np.int32)
    assert TokenRow(ids, labels).last_prompt.tolist() == [10, 11, 12, 13]


def test_the_writer_is_the_same_on_every_process_and_has_the_share_that_was_asked() -> None:
    config = SimpleNamespace(seed=1, model_dump=lambda: {"lmbda": 0.3, "seq_kd": False})
    writer = AnswerWriter(config, None, None, frozenset(), 1, torch.device("cpu"))
    first, second = (
        [writer.writer_of(UpdatePlace(0, update, process)) for update in range(1000)]
        for process in (0, 1)
    )
    assert first == second
    assert 0.25 < first.count("student") / 1000 < 0.35  # 3.4 standard deviations
    places = (
        UpdatePlace(0, 0, 0),
        UpdatePlace(0, 0, 1),
        UpdatePlace(0, 1, 0),
        UpdatePlace(1, 0, 0),
    )
    assert len({tuple(place.seeds(1, 2)) for place in places}) == 4
