"""Every error for the user says what to do about it."""

from __future__ import annotations

from error_laws import USER_ERRORS, without_hint
from house_laws import name_of, python_files

from swiftbox import errors


def test_every_error_for_the_user_has_a_hint() -> None:
    missing = {
        name_of(path): places
        for path in python_files()
        if (places := without_hint(path.read_text("utf-8")))
    }
    assert missing == {}


def test_an_error_without_a_hint_is_noticed() -> None:
    planted = "raise ConfigError('wrong')\nraise RunError('wrong', hint='right')\n"
    assert without_hint(planted) == [(1, "ConfigError")]


def test_the_law_knows_every_error() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.UserError)
    }
    assert defined == USER_ERRORS
