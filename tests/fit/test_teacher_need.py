"""What the estimate adds for a teacher and for generated answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning import LARGE, MEDIUM, SMALL, card, chats, planned, settled

from swiftbox.fit.duration import DurationEstimate, training_duration
from swiftbox.fit.estimate import Estimate, estimate
from swiftbox.fit.profile import profile_model
from swiftbox.fit.speed import Speed
from swiftbox.formatting import size

GIB = 2**30
DATA_ONLY, ITS_OWN = ("lmbda=0",), ("lmbda=1", "max_completion_length=4096")


def estimated(gib: int, teacher: str, *settings: str) -> Estimate:
    keys = ("stage=gkd", f"teacher_model={teacher}", *settings)
    config = settled(planned(card(gib), SMALL, *keys))
    result = estimate(config, card(gib), chats())
    assert result is not None
    return result


def parameters(model: str) -> float:
    profile = profile_model(model)
    assert profile is not None
    return profile.shape.params


@pytest.mark.parametrize("teacher", [MEDIUM, LARGE])
def test_the_teacher_s_weights_are_on_the_device_beside_the_student(teacher: str) -> None:
    result = estimated(80, teacher, *DATA_ONLY)
    assert result.verdict.memory.teacher == pytest.approx(2 * parameters(teacher), rel=0.01)
    assert result.verdict.memory.standing > result.verdict.memory.teacher
    assert "teacher" in result.verdict.why()


def test_the_parts_of_the_memory_include_the_passes_for_generated_answers() -> None:
    verdict = estimated(80, MEDIUM, *ITS_OWN).verdict
    memory = replace(verdict.memory, apart=2 * verdict.memory.forward)
    verdict = replace(verdict, fit=replace(verdict.fit, memory=memory))
    assert f"activations {size(memory.apart)}" in verdict.why()


def test_a_teacher_that_does_not_fit_is_refused_in_advance() -> None:
    assert estimated(24, MEDIUM, *DATA_ONLY).verdict.outcome == "fits"
    assert estimated(24, "Qwen/Qwen2.5-72B-Instruct", *DATA_ONLY).verdict.outcome == "no"


def test_a_teacher_on_a_hub_is_downloaded_too() -> None:
    downloads = [estimated(80, teacher, *DATA_ONLY).disk.download for teacher in (MEDIUM, LARGE)]
    more = 2 * (parameters(LARGE) - parameters(MEDIUM))
    assert downloads[1] - downloads[0] == pytest.approx(more, rel=0.01)


def test_the_time_grows_with_the_teacher_and_is_unknown_for_generated_answers() -> None:
    speed = Speed(1000.0, 2.0)

    def duration(teacher: str, ways: tuple[str, ...]) -> DurationEstimate | None:
        keys = ("stage=gkd", f"teacher_model={teacher}", *ways)
        config = settled(planned(card(80), SMALL, *keys))
        return training_duration(config, chats(), speed, "adapter", 1)

    medium, large = duration(MEDIUM, DATA_ONLY), duration(LARGE, DATA_ONLY)
    assert medium is not None
    assert large is not None
    assert large.seconds > 1.5 * medium.seconds
    assert duration(MEDIUM, ITS_OWN) is None


def test_generated_answers_make_rows_longer() -> None:
    sizes = ("per_device_train_batch_size=4", "gradient_accumulation_steps=4")
    of_data, written = (
        estimated(80, MEDIUM, *sizes, *ways).verdict.memory for ways in (DATA_ONLY, ITS_OWN)
    )
    assert written.activations > 2 * of_data.activations
    assert written.apart > of_data.apart
