"""The catalogue is large enough, agrees with itself, and is searched as people type."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from packaging.specifiers import SpecifierSet

from swiftbox.architectures.tables import known_types
from swiftbox.fit.shape import count_parameters, shape_from_dimensions
from swiftbox.models import catalogue

SELDOM = ("embedding", "reranker")


def test_there_are_as_many_models_datasets_and_benchmarks_as_promised() -> None:
    language = [row for row in catalogue.models() if row.kind not in SELDOM]
    assert sum(row.modality == "text" for row in language) >= 690
    assert sum(row.modality != "text" for row in language) >= 440
    assert len(catalogue.datasets()) >= 200
    assert len(catalogue.benchmarks()) >= 200


def test_models_are_unique_and_ids_are_owner_and_name() -> None:
    names = [row.name for row in catalogue.models()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", row.id) for row in catalogue.models())


def test_sizes_are_those_in_the_names() -> None:
    wrong = []
    for row in catalogue.models():
        message = re.findall(r"(?<![a-zA-Z0-9.])(\d+(?:[._]\d+)?)[bB](?![a-z0-9])", row.name)
        sizes = [float(size.replace("_", ".")) for size in message]
        if row.modality == "omni":
            continue  # the name counts the language model; towers and a talker nearly double it
        known = [size for size in (row.params_b, row.active_params_b) if size]
        if sizes and known and all(abs(a - b) > 0.35 * max(a, b) for a in sizes for b in known):
            wrong.append(row.name)
    assert wrong == []


def test_active_parameters_are_part_of_all() -> None:
    assert all(
        row.active_params_b <= row.params_b
        for row in catalogue.models()
        if row.active_params_b and row.params_b
    )


def test_formats_are_those_in_the_names() -> None:
    for row in catalogue.models():
        for mark in ("awq", "gptq", "fp8"):
            if re.search(rf"[-_]{mark}", row.name.lower()):
                assert row.quant != "none", row.name


def test_context_is_known_for_most_models_and_plausible() -> None:
    known = [row for row in catalogue.models() if row.context]
    assert len(known) > 600
    assert all(512 <= (row.context or 0) <= 10_485_760 for row in known)
    for row in known:
        lines = re.search(r"-(\d+)k(?:-instruct|-hf)?$", row.name, re.IGNORECASE)
        if lines:
            assert 0.95 < (row.context or 0) / (int(lines[1]) * 1024) < 1.05, row.name


def test_no_two_models_share_an_id_on_hugging_face() -> None:
    pairs = [(row.hf_id, row.subfolder) for row in catalogue.models() if row.hf_id]
    assert len(set(pairs)) == len(pairs)


def test_native_models_have_a_type_that_transformers_knows() -> None:
    known = known_types() or frozenset()
    assert len(known) > 300
    assert {row.model_type for row in catalogue.models() if row.native == "yes"} <= known


def test_version_bounds_can_be_read() -> None:
    for row in catalogue.models():
        SpecifierSet(row.transformers_spec or "")


def test_sizes_from_dimensions_agree_with_the_sizes() -> None:
    from swiftbox.fit.shape import count_parameters, shape_from_dimensions

    far = []
    for row in catalogue.models():
        plain = row.dims and row.modality == "text" and not row.active_params_b
        if plain and row.params_b and row.dims:
            ratio = count_parameters(shape_from_dimensions(row.dims))[0] / (row.params_b * 1e9)
            if not 0.75 <= ratio <= 1.35:
                far.append((row.name, round(ratio, 2)))
    assert len(far) <= 12, far


@pytest.mark.parametrize(
    ("query", "first"),
    [("qwen2.5 7b instruct", "Qwen/Qwen2.5-7B-Instruct"), ("qwen vl chat", "Qwen/Qwen-VL-Chat")],
)
def test_words_in_any_order_find_a_model(query: str, first: str) -> None:
    assert catalogue.search(query)[0].name == first


def test_an_id_of_either_hub_in_any_case_is_known() -> None:
    row = catalogue.model("meta-llama/llama-3.2-1b-instruct")
    assert row is not None
    assert row is catalogue.model(row.id.upper())


def test_a_misspelt_name_is_answered_with_the_correct_one() -> None:
    assert "Qwen/Qwen2.5-7B-Instruct" in catalogue.similar("Qwen/Qwen2.5-7B-Instrct")


def test_the_catalogue_is_read_without_heavy_libraries() -> None:
    code = (
        "import sys; from swiftbox.models import catalogue; catalogue.models();"
        "print([n for n in ('torch', 'pydantic', 'modelscope', 'yaml') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_parameters_counted_from_a_mixtures_dimensions_are_those_published() -> None:
    mixtures = [row for row in catalogue.models() if row.dims and row.dims.get("experts")]
    assert len(mixtures) > 120
    for row in mixtures:
        total, active = count_parameters(shape_from_dimensions(row.dims or {}))
        assert row.params_b is not None
        # Towers of other senses are no part of the decoder that is counted.
        least = 0.85 if row.modality != "text" else 0.95
        assert least <= total / 1e9 / row.params_b <= 1.05, row.id
        latent = row.model_type in ("deepseek_v2", "deepseek_v3", "deepseek_v32")
        if row.modality == "text" and not (latent or row.model_type == "kimi_k2"):
            assert row.active_params_b is not None
            assert active / 1e9 == pytest.approx(row.active_params_b, rel=0.3), row.id
