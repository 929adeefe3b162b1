"""What an estimate needs to know of a method agrees with the method's row."""

from __future__ import annotations

import pytest

from swiftbox.methods import METHODS


@pytest.mark.parametrize("name", list(METHODS))
def test_the_traits_of_a_config_are_those_of_its_method(name: str) -> None:
    method = METHODS[name]
    config = method.config
    assert config.has_reference == (method.reference != "none")
    assert config.generates_answers == (method.reward_functions is not None)
    assert config.splits_long_rows == method.splits_texts
    if method.shares_prompts:
        assert config.sequences_per_row == 2
