"""A chat template is tried in a child: endless and exploding ones are refused with the reason."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hostile_templates import ENDLESS, HOSTILE

from swiftbox.errors import ConfigError
from swiftbox.models.templates import require_bounded_templates
from swiftbox.security.template_trial import problem_of
from swiftbox.security.templates import ChatTemplate, require_bounded
from swiftbox.templates.files import template_file

FINE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.mark.parametrize(("source", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_is_refused_with_its_file_and_the_reason(
    source: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=rf"chat template x\.jinja: .*({reason})"):
        require_bounded([ChatTemplate(source, "x.jinja")])


def test_each_hostile_template_of_several_is_named() -> None:
    names = ["syntax", "endless loops", "center", "doubling"]
    templates = [ChatTemplate(HOSTILE[name][0], name) for name in names]
    fine = ChatTemplate(FINE, "fine")
    with pytest.raises(ConfigError) as caught:
        require_bounded([fine, *templates, fine])
    assert len(caught.value.message.splitlines()) == len(names)
    assert "fine" not in caught.value.message


def test_a_template_that_is_not_used_may_be_wrong_but_not_endless() -> None:
    require_bounded([ChatTemplate("{% for %}", "x")], used=False)
    with pytest.raises(ConfigError, match="does not end"):
        require_bounded([ChatTemplate(ENDLESS, "x")], used=False)


def test_a_template_that_passed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    require_bounded([ChatTemplate(FINE, "x")])
    monkeypatch.setattr("subprocess.Popen", None)
    require_bounded([ChatTemplate(FINE, "another file")])


def test_a_refused_template_is_tried_again() -> None:
    for _ in range(2):
        with pytest.raises(ConfigError):
            require_bounded([ChatTemplate("{% for %}", "x")])


def test_a_home_that_cannot_be_written_only_repeats_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "file"))
    for _ in range(2):
        require_bounded([ChatTemplate(FINE, "x")])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", ENDLESS),
        ("additional_chat_templates/tool_use.jinja", ENDLESS),
        ("tokenizer_config.json", f'{{"chat_template": "{ENDLESS}"}}'),
        ("chat_template.json", f'{{"chat_template": "{ENDLESS}"}}'),
        (
            "tokenizer_config.json",
            f'{{"chat_template": [{{"name": "a", "template": "{ENDLESS}"}}]}}',
        ),
    ],
)
def test_every_file_of_a_folder_that_may_hold_a_template_is_tried(
    name: str, content: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content, "utf-8")
    with pytest.raises(ConfigError) as caught:
        require_bounded_templates(tmp_path)
    assert str(file) in caught.value.message


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * (2**20 + 1)])
def test_a_file_that_is_not_a_template_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "chat_template.jinja"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        template_file(file)


def test_a_name_with_escape_sequences_is_shown_without_them() -> None:
    with pytest.raises(ConfigError) as caught:
        require_bounded([ChatTemplate("{{ raise() | \x1b[31mred }}", "a\x1b[2Jb")])
    assert "\x1b" not in caught.value.message


def test_the_templates_of_real_models_pass() -> None:
    spec = find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    templates = [template_file(path) for path in sorted(folder.glob("*.jinja"))]
    assert len(templates) >= 60
    problems = {template.file: problem_of(template.source) for template in templates}
    assert not {file: problem for file, problem in problems.items() if problem}
