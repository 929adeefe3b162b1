"""The divergence of a student from its teacher: TRL's values and gradients, from chunks."""

from __future__ import annotations

import os

import pytest
import torch

from swiftbox.core.losses import divergence
from swiftbox.core.losses.divergence import DivergenceSettings, HeadInputs, divergence_sum

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

STUDENT_SIZE, TEACHER_SIZE, VOCABULARY, TOKENS = 12, 20, 50, 70


def normal(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def models(vocabulary: int = VOCABULARY) -> tuple[HeadInputs, HeadInputs]:
    student = HeadInputs(normal(TOKENS, STUDENT_SIZE, seed=0), normal(50, STUDENT_SIZE, seed=1))
    head = normal(vocabulary, TEACHER_SIZE, seed=3) / 4
    return student, HeadInputs(normal(TOKENS, TEACHER_SIZE, seed=2), head)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "chunk_tokens", lambda *_: 80)  # 4 at once: chunks of 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TRL's and its imports' own
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_divergence_and_its_gradients_are_those_of_trl(beta: float, temperature: float) -> None:
    gkd = pytest.importorskip("trl.experimental.gkd")
    student, teacher = models()
    results = []
    for ours in (True, False):
        hidden = student.values.clone().requires_grad_()
        head = student.head.clone().requires_grad_()
        if ours:
            settings = DivergenceSettings(beta, temperature)
            total = divergence_sum(HeadInputs(hidden, head), teacher, settings) / TOKENS
        else:
            total = gkd.GKDTrainer.generalized_jsd_loss(
                (hidden @ head.T)[None],
                (teacher.values @ teacher.head.T)[None],
                torch.ones(1, TOKENS, dtype=torch.long),
                beta=beta,
                temperature=temperature,
            )
        total.backward()
        results.append((total.detach(), hidden.grad, head.grad))
    for value, expected in zip(*results, strict=True):
        assert torch.allclose(value, expected, rtol=1e-9, atol=1e-12)  # float64


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_logits_and_hidden_states_with_a_head_give_the_same(beta: float) -> None:
    student, teacher = models()
    hidden = student.values.clone().requires_grad_()
    logits = (student.values @ student.head.T).requires_grad_()
    weights, settings = normal(TOKENS, seed=4).abs(), DivergenceSettings(beta)
    computed = HeadInputs(teacher.values @ teacher.head.T, None)
    from_head = divergence_sum(HeadInputs(hidden, student.head), teacher, settings, weights)
    from_logits = divergence_sum(HeadInputs(logits, None), computed, settings, weights)
    (2 * from_head).backward()
    (2 * from_logits).backward()
    assert torch.allclose(from_head, from_logits)
    assert torch.allclose(hidden.grad, logits.grad @ student.head)


def test_columns_that_only_the_teacher_has_change_nothing() -> None:
    student, teacher = models(vocabulary=64)
    cut = HeadInputs(teacher.values, teacher.head[:VOCABULARY])
    settings = DivergenceSettings(0.5)
    longer, expected = (divergence_sum(student, source, settings) for source in (teacher, cut))
    assert torch.equal(longer, expected)


def test_a_student_like_its_teacher_has_no_divergence_and_no_gradient() -> None:
    student, _ = models()
    hidden = student.values.clone().requires_grad_()
    same = HeadInputs(hidden, student.head)
    for beta in (0.0, 0.5, 1.0):
        hidden.grad = None
        total = divergence_sum(same, student, DivergenceSettings(beta))
        total.backward()
        assert abs(total) < 1e-12  # float64
        assert hidden.grad.abs().max() < 1e-12


def test_the_gradient_is_that_of_finite_differences() -> None:
    student, teacher = models()
    part = HeadInputs(teacher.values[:3], teacher.head)

    def total(hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        return divergence_sum(HeadInputs(hidden, head), part, DivergenceSettings(0.3, 0.8))

    hidden, head = student.values[:3].clone().requires_grad_(), student.head.requires_grad_()
    assert torch.autograd.gradcheck(total, (hidden, head))
