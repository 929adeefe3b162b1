"""Which attention a training gets on a machine, and what is refused with its reason."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from made_up import DEVICES, made_up

from swiftbox.devices.attention import AttentionNeeds, choose_attention
from swiftbox.devices.choices import Choice
from swiftbox.errors import MachineError

PLAIN = AttentionNeeds()
EVERY = pytest.mark.parametrize("name", DEVICES)


@pytest.mark.parametrize("name", ["v100", "mixed", "mi50", "mps", "ascend910a", "rocm"])
def test_attention_is_sdpa_where_nothing_faster_is_known_to_work(name: str) -> None:
    machine = replace(made_up(name), versions={"torch": "2.13.0"})
    assert choose_attention(machine, "auto", "float16", PLAIN).value == "sdpa"


@pytest.mark.parametrize(
    ("name", "dtype"), [("cuda", "bfloat16"), ("rtx5090", "float16"), ("cpu", "float32")]
)
def test_rows_are_joined_by_torchs_own_kernel_where_it_works(name: str, dtype: str) -> None:
    assert (
        choose_attention(made_up(name, flash_attn="2.8.3"), "auto", dtype, PLAIN).value == "varlen"
    )


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (AttentionNeeds(joined=False), "flash_attention_2"),
        (AttentionNeeds(softcap=True), "flash_attention_2"),
        (AttentionNeeds(chunked=True), "sdpa"),
        (AttentionNeeds(head_dim=288), "sdpa"),
        (AttentionNeeds(head_dim=100), "sdpa"),
    ],
)
def test_a_model_gets_an_attention_that_supports_it(needs: AttentionNeeds, expected: str) -> None:
    machine = made_up("cuda", flash_attn="2.8.3")
    assert choose_attention(machine, "auto", "bfloat16", needs).value == expected


def test_capped_scores_leave_only_eager_attention_without_flash_attention() -> None:
    needs = AttentionNeeds(softcap=True)
    for name in DEVICES:
        machine = replace(made_up(name), versions={"torch": "2.13.0"})
        assert choose_attention(machine, "auto", "float32", needs).value == "eager"


@pytest.mark.parametrize(
    ("needs", "because"),
    [
        (AttentionNeeds(joined=False), "joined rows"),
        (AttentionNeeds(softcap=True), "caps its attention scores"),
        (AttentionNeeds(head_dim=512), "heads of 512"),
    ],
)
def test_variable_length_attention_is_refused_where_it_is_not_exact(
    needs: AttentionNeeds, because: str
) -> None:
    with pytest.raises(MachineError, match=because) as caught:
        choose_attention(made_up("cuda"), "varlen", "bfloat16", needs)
    assert caught.value.hint == "set attn_implementation: auto"


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("cuda", "float32", "sdpa"),
        ("v100", "float16", "sdpa"),
        ("mixed", "float16", "sdpa"),
        ("rocm", "bfloat16", "flash_attention_2"),
        ("mi50", "float16", "sdpa"),
        ("mps", "bfloat16", "sdpa"),
    ],
)
def test_an_installed_flash_attention_is_used_where_it_works(
    name: str, dtype: str, expected: str
) -> None:
    machine = made_up(name, flash_attn="2.8.3.post2")
    assert choose_attention(machine, "auto", dtype, PLAIN).value == expected


def test_ascend_brings_flash_attention_with_its_plugin() -> None:
    choice = choose_attention(made_up("npu"), "auto", "bfloat16", PLAIN)
    assert choice == Choice("flash_attention_2", "torch_npu is installed")
    assert choose_attention(made_up("ascend910a"), "auto", "float16", PLAIN).value == "sdpa"


@pytest.mark.parametrize(
    ("name", "requested", "because", "cure"),
    [
        ("cuda", "flash_attention_2", "flash_attn is not installed", "pip install flash-attn=="),
        ("v100", "flash_attention_2", "compute capability 8.0 or newer", "set attn_implem"),
        ("a100", "flash_attention_3", "Hopper", "set attn_implementation: auto"),
        ("h100", "flash_attention_3", "flash_attn_3 is not installed", "set attn_implem"),
        ("rocm", "flash_attention_2", "built from its source", "set attn_implementation: auto"),
        ("rocm", "flash_attention_3", "NVIDIA only", "set attn_implementation: auto"),
        ("ascend910a", "flash_attention_2", "from Ascend910B1 on", "set attn_implem"),
        ("npu", "flex_attention", "refuses the npu device", "set attn_implementation: auto"),
        ("mps", "flash_attention_2", "no Metal kernel", "set attn_implementation: auto"),
        ("mps", "flex_attention", "no backward pass", "set attn_implementation: auto"),
        ("cpu", "flash_attention_2", "not available on a CPU", "set attn_implementation: auto"),
        ("v100", "varlen", "compute capability 8.0 or newer", "set attn_implementation: auto"),
        ("mps", "varlen", "no Metal kernel", "set attn_implementation: auto"),
        ("npu", "varlen", "no kernel on npu", "set attn_implementation: auto"),
        ("cpu", "flex_attention", "no backward pass", "set attn_implementation: auto"),
    ],
)
def test_attention_that_cannot_work_is_refused_with_a_hint(
    name: str, requested: str, because: str, cure: str
) -> None:
    with pytest.raises(MachineError, match=re.escape(because)) as caught:
        choose_attention(made_up(name), requested, "float16", PLAIN)
    assert cure in caught.value.hint


@pytest.mark.parametrize("requested", ["flash_attention_2", "varlen"])
def test_kernels_of_16_bits_are_refused_in_float32(requested: str) -> None:
    machine = made_up("cuda", flash_attn="2.8.3.post2")
    with pytest.raises(MachineError, match="not float32"):
        choose_attention(machine, requested, "float32", PLAIN)


@EVERY
def test_eager_and_sdpa_work_everywhere(name: str) -> None:
    for requested in ("eager", "sdpa"):
        choice = choose_attention(made_up(name), requested, "float32", PLAIN)
        assert choice == Choice(requested, "as requested")


def test_a_refusal_of_an_attention_has_the_colon_of_its_language(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs, line = AttentionNeeds(softcap=True), "attn_implementation{0}varlen{0}"
    for language, colon in (("en", ": "), ("zh", "\uff1a")):
        monkeypatch.setenv("SWIFTBOX_LANG", language)
        with pytest.raises(MachineError, match=line.format(colon)):
            choose_attention(made_up("cuda"), "varlen", "bfloat16", needs)


def test_every_reason_for_an_attention_is_in_chinese_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    for name in DEVICES:
        for dtype in ("bfloat16", "float32"):
            reason = choose_attention(made_up(name), "auto", dtype, PLAIN).reason
            assert re.search(r"[\u4e00-\u9fff]", reason), reason
