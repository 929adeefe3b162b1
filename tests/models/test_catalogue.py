"""The catalogue is large enough, agrees with itself, and is searched as people type."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from packaging.specifiers import SpecifierSet

from swiftbox.fit.shape import count_parameters, shape_from_dimensions
from swiftbox.models import catalogue
from swiftbox.models.requirements import known_types

SELDOM = ("embedding", "reranker")


def test_there_are_as_many_models_datasets_and_benchmarks_as_promised() -> None:
    language = [one for one in catalogue.models() if one.kind not in SELDOM]
    assert sum(one.modality == "text" for one in language) >= 690
    assert sum(one.modality != "text" for one in language) >= 440
    assert len(catalogue.datasets()) >= 200
    assert len(catalogue.benchmarks()) >= 200


def test_no_model_stands_twice_and_ids_are_owner_and_name() -> None:
    names = [one.name for one in catalogue.models()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", one.id) for one in catalogue.models())


def test_sizes_are_those_in_the_names() -> None:
    wrong = []
    for one in catalogue.models():
        said = re.findall(r"(?<![a-zA-Z0-9.])(\d+(?:[._]\d+)?)[bB](?![a-z0-9])", one.name)
        sizes = [float(size.replace("_", ".")) for size in said]
        if one.modality == "omni":
            continue  # the name counts the language model; towers and a talker nearly double it
        known = [size for size in (one.params_b, one.active_params_b) if size]
        if sizes and known and all(abs(a - b) > 0.35 * max(a, b) for a in sizes for b in known):
            wrong.append(one.name)
    assert wrong == []


def test_active_parameters_are_part_of_all() -> None:
    assert all(
        one.active_params_b <= one.params_b
        for one in catalogue.models()
        if one.active_params_b and one.params_b
    )


def test_formats_are_those_in_the_names() -> None:
    for one in catalogue.models():
        for mark in ("awq", "gptq", "fp8"):
            if re.search(rf"[-_]{mark}", one.name.lower()):
                assert one.quant != "none", one.name


def test_context_is_known_for_most_models_and_plausible() -> None:
    known = [one for one in catalogue.models() if one.context]
    assert len(known) > 600
    assert all(512 <= (one.context or 0) <= 10_485_760 for one in known)
    for one in known:
        told = re.search(r"-(\d+)k(?:-instruct|-hf)?$", one.name, re.IGNORECASE)
        if told:
            assert 0.95 < (one.context or 0) / (int(told[1]) * 1024) < 1.05, one.name


def test_no_two_models_share_an_id_on_hugging_face() -> None:
    pairs = [(one.hf_id, one.subfolder) for one in catalogue.models() if one.hf_id]
    assert len(set(pairs)) == len(pairs)


def test_what_loads_natively_is_a_type_that_transformers_knows() -> None:
    known = known_types() or frozenset()
    assert len(known) > 300
    assert {one.model_type for one in catalogue.models() if one.native == "yes"} <= known


def test_version_bounds_can_be_read() -> None:
    for one in catalogue.models():
        SpecifierSet(one.transformers_spec or "")


def test_sizes_from_dimensions_agree_with_the_sizes() -> None:
    from swiftbox.fit.shape import count_parameters, shape_from_dimensions

    far = []
    for one in catalogue.models():
        plain = one.dims and one.modality == "text" and not one.active_params_b
        if plain and one.params_b and one.dims:
            ratio = count_parameters(shape_from_dimensions(one.dims))[0] / (one.params_b * 1e9)
            if not 0.75 <= ratio <= 1.35:
                far.append((one.name, round(ratio, 2)))
    assert len(far) <= 12, far


@pytest.mark.parametrize(
    ("query", "first"),
    [("qwen2.5 7b instruct", "Qwen/Qwen2.5-7B-Instruct"), ("qwen vl chat", "Qwen/Qwen-VL-Chat")],
)
def test_words_in_any_order_find_a_model(query: str, first: str) -> None:
    assert catalogue.search(query)[0].name == first


def test_an_id_of_either_hub_in_any_case_is_known() -> None:
    found = catalogue.model("meta-llama/llama-3.2-1b-instruct")
    assert found is not None
    assert found is catalogue.model(found.id.upper())


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    assert "Qwen/Qwen2.5-7B-Instruct" in catalogue.similar("Qwen/Qwen2.5-7B-Instrct")


def test_it_is_read_without_heavy_libraries() -> None:
    code = (
        "import sys; from swiftbox.models import catalogue; catalogue.models();"
        "print([n for n in ('torch', 'pydantic', 'modelscope', 'yaml') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_parameters_counted_of_a_mixtures_dimensions_are_those_published() -> None:
    mixtures = [one for one in catalogue.models() if one.dims and one.dims.get("experts")]
    assert len(mixtures) > 120
    for one in mixtures:
        total, active = count_parameters(shape_from_dimensions(one.dims or {}))
        assert one.params_b is not None
        # Towers of other senses are no part of the decoder that is counted.
        least = 0.85 if one.modality != "text" else 0.95
        assert least <= total / 1e9 / one.params_b <= 1.05, one.id
        latent = one.model_type in ("deepseek_v2", "deepseek_v3", "deepseek_v32")
        if one.modality == "text" and not (latent or one.model_type == "kimi_k2"):
            assert one.active_params_b is not None
            assert active / 1e9 == pytest.approx(one.active_params_b, rel=0.3), one.id
