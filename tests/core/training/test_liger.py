"""Fused kernels are used only where they exist, run and compute the same."""

from __future__ import annotations

import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.qwen3 import modeling_qwen3

from swiftbox.core.training.liger import use_liger_kernels

pytestmark = pytest.mark.filterwarnings("ignore")

Recorded = list[tuple[str, dict[str, Any]]]


def norm(module: Any, hidden: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
    """Return an RMS norm, written otherwise than in transformers."""
    scale = hidden.float().square().mean(-1, keepdim=True).add(module.variance_epsilon).sqrt()
    return factor * module.weight * (hidden / scale)


def fake_package(monkeypatch: pytest.MonkeyPatch, factor: float | None) -> list[dict[str, Any]]:
    """Install a package that changes norms and the rotary function as liger-kernel does."""
    calls: list[dict[str, Any]] = []

    def apply(model: Any, **options: Any) -> None:
        calls.append(options)
        if factor is None:
            return
        modeling_qwen3.apply_rotary_pos_emb = partial(modeling_qwen3.apply_rotary_pos_emb)
        for module in model.modules():
            if type(module).__name__ == "Qwen3RMSNorm":
                module.offset = 0.0
                module.forward = types.MethodType(
                    lambda self, hidden: norm(self, hidden, factor), module
                )

    package = types.ModuleType("liger_kernel.transformers")
    package._apply_liger_kernel_to_instance = apply
    monkeypatch.setitem(sys.modules, "liger_kernel", types.ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", package)
    return calls


def tried(model: Any) -> tuple[bool, Recorded]:
    recorded: Recorded = []
    used = use_liger_kernels(
        model, torch.float32, lambda event, **fields: recorded.append((event, fields))
    )
    return used, recorded


@pytest.fixture
def model(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    # Restored after the test: the package changes names in transformers' file.
    monkeypatch.setattr(modeling_qwen3, "apply_rotary_pos_emb", modeling_qwen3.apply_rotary_pos_emb)
    return AutoModelForCausalLM.from_pretrained(tiny_models["qwen3"]).train()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None], use_cache=False).logits


def test_equal_kernels_stay_and_the_package_gets_no_loss(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_package(monkeypatch, factor=1.0)
    used, recorded = tried(model)
    assert used
    assert [event for event, _ in recorded] == ["note"]
    assert calls == [{"cross_entropy": False, "fused_linear_cross_entropy": False}]
    assert "forward" in vars(model.model.norm)
    assert all(weight.grad is None for weight in model.parameters())
    assert model.training


@pytest.mark.parametrize(
    ("factor", "reason"), [(1.02, "differ by"), (float("nan"), "differ by"), (None, "no kernels")]
)
def test_other_kernels_are_undone_with_a_warning(
    factor: float | None, reason: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rotary = logits(model), modeling_qwen3.apply_rotary_pos_emb
    fake_package(monkeypatch, factor)
    used, recorded = tried(model)
    assert not used
    assert [event for event, _ in recorded] == ["warning"]
    assert reason in recorded[0][1]["message"]
    assert torch.equal(logits(model), before)
    assert modeling_qwen3.apply_rotary_pos_emb is rotary
    assert not hasattr(model.model.norm, "offset")


def test_a_kernel_that_fails_is_undone_with_its_reason(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_package(monkeypatch, factor=1.0)
    monkeypatch.setattr(f"{__name__}.norm", lambda *_: 1 / 0)
    used, recorded = tried(model)
    assert not used
    assert "ZeroDivisionError" in recorded[0][1]["message"]
    assert torch.isfinite(logits(model)).all()
