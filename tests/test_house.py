"""The house's rules, enforced: imports, registration, translation, presets that plan."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import house_laws as laws
import pytest
from house_laws import PACKAGE, ROOT, name_of, python_files
from made_up import made_up
from prose_laws import CHINESE, stilted, stilted_page, stilted_table, untranslated

from swiftbox.config.fields import cards
from swiftbox.config.presets import presets
from swiftbox.devices.backends import BACKENDS
from swiftbox.errors import MachineError
from swiftbox.methods import METHODS
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

HEAVY = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets")
HEAVY += ("modelscope", "modelscope_hub", "huggingface_hub")

TORCH_ROOMS = ("core", "engines.tools", "serving")
"""Rooms whose modules may load torch when they are imported; all others never do."""


def source(path: Path) -> str:
    return path.read_text("utf-8")


def broken(law: Callable[[str], Any], files: Iterable[Path] | None = None) -> dict[str, Any]:
    """Map each file that breaks a law to what breaks it."""
    checked = python_files() if files is None else files
    return {name_of(path): breaches for path in checked if (breaches := law(source(path)))}


def in_child(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def front_modules() -> list[str]:
    """Return every module that a launcher, a menu or a check may import."""
    names = (laws.module_of(path, ROOT) for path in laws.python_files())
    rooms = tuple(f"swiftbox.{room}" for room in TORCH_ROOMS)
    return [name for name in names if not name.startswith((*rooms, "swiftbox.__main__"))]


def test_the_front_never_imports_torch() -> None:
    imports = "; ".join(f"import {name}" for name in front_modules())
    loaded = in_child(f"import sys; {imports}; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_help_loads_neither_pydantic_nor_yaml_nor_rich() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from swiftbox.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "print([m for m in ('pydantic', 'yaml', 'rich', 'questionary') if m in sys.modules])"
    )
    assert in_child(code).strip() == "[]"


CONFIGS = {name: model for task in TASKS.values() for name, model in task.config_classes.items()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_field_has_help_in_both_languages(name: str) -> None:
    for card in cards(CONFIGS[name]):
        assert len(card.en) > 3, card.name
        assert not CHINESE.search(card.en), card.name
        assert CHINESE.search(card.zh), card.name


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_plans_or_is_refused_by_the_backend_row(name: str, backend: str) -> None:
    config = load(presets()[name]).config
    refusal = ""
    try:
        planned = plan(config, made_up(backend))
    except MachineError as error:
        refusal = error.message
    if refusal:
        reasons = [cell.condition for cell in BACKENDS[backend].cells.values() if cell.condition]
        known = any(reason in refusal for reason in reasons)
        assert known or "this machine has one" in refusal, refusal
        return
    settled = planned.config.model_dump(mode="json")
    left = [key for key, value in settled.items() if value == "auto"]
    # Named when it starts; the tokenizer's own; decided row by row.
    assert set(left) <= {"output_dir", "template", "turns"}


def test_every_preset_is_in_its_written_form() -> None:
    for name, path in presets().items():
        content = path.read_text("utf-8")
        assert content.startswith("# "), name
        for line in content.splitlines():
            key = line.partition(":")[0]
            if line and not line.startswith(("#", " ", "-")) and key not in ("version", "task"):
                assert "#" in line, f"{name}: {line}"


# ---- laws 1-4: sizes, circles, names


def test_few_modules_lie_loose() -> None:
    assert laws.surplus_modules(PACKAGE) == []


def test_too_many_loose_modules_are_found(tmp_path: Path) -> None:
    for number in range(laws.MAX_LOOSE_MODULES):
        (tmp_path / f"m{number}.py").touch()
    assert laws.surplus_modules(tmp_path) == []
    (tmp_path / "another.py").touch()
    assert "another.py" in laws.surplus_modules(tmp_path)


def test_no_file_outgrows_its_idea() -> None:
    assert broken(lambda code: laws.surplus_lines(code, laws.MAX_FILE_LINES)) == {}


def test_a_long_file_is_found() -> None:
    assert laws.surplus_lines("x = 1\n" * laws.MAX_FILE_LINES, laws.MAX_FILE_LINES) == 0
    assert laws.surplus_lines("x = 1\n" * 403, laws.MAX_FILE_LINES) == 3


def test_no_function_is_long_and_no_signature_wide() -> None:
    assert broken(laws.long_functions) == {}
    assert broken(laws.wide_signatures) == {}


def test_a_long_function_and_a_wide_signature_are_found() -> None:
    body = "    pass\n" * laws.MAX_FUNCTION_LINES
    assert laws.long_functions(f"def f():\n{body}") == [(1, "f", 41)]
    assert laws.wide_signatures("def f(self, a, b, c, d, e): pass") == []
    assert laws.wide_signatures("def f(a, b, *, c, d, e, f): pass") == [(1, "f", 6)]


def test_no_module_imports_in_a_circle() -> None:
    assert laws.import_circles(laws.import_graph(ROOT)) == []


def test_an_import_circle_is_found_even_when_deferred(tmp_path: Path) -> None:
    package = tmp_path / "swiftbox"
    package.mkdir()
    (package / "a.py").write_text("from swiftbox import b\n", encoding="utf-8")
    (package / "b.py").write_text("def f():\n    import swiftbox.c\n", encoding="utf-8")
    (package / "c.py").write_text("from swiftbox.a import x\n", encoding="utf-8")
    circles = laws.import_circles(laws.import_graph(tmp_path))
    assert circles == [["swiftbox.a", "swiftbox.b", "swiftbox.c"]]


def test_no_two_test_files_have_one_name() -> None:
    """A file outside packages is imported under its name alone; of two, one hides the other."""
    files = (path for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    names = Counter(path.name for path in files if not (path.parent / "__init__.py").exists())
    assert [name for name, files in names.items() if files > 1] == []


def test_a_class_name_stands_for_one_class() -> None:
    assert laws.class_names({name_of(path): source(path) for path in python_files()}) == {}


def test_a_class_name_used_twice_is_found() -> None:
    twice = {"a.py": "class Row: pass", "b.py": "class Row: pass\nclass Other: pass"}
    assert laws.class_names(twice) == {"Row": ["a.py", "b.py"]}


def test_every_name_says_what_the_thing_is() -> None:
    checked = python_files(PACKAGE, ROOT / "tests", ROOT / "scripts")
    assert broken(laws.empty_names, checked) == {}
    assert [name_of(path) for path in checked if path.stem in laws.EMPTY_NAMES] == []


@pytest.mark.parametrize(
    "planted",
    [
        "for one in rows: pass",
        "[x for found in rows]",
        "def f(told): pass",
        "f = lambda made: made",
        "def helper(): pass",
        "own = 1",
        "with f() as held: pass",
        "import json as utils",
        "said_of = 1",
        "def test_what_is_no_id_is_refused(): pass",
        "def test_the_next_one_goes_on(): pass",
        "def test_an_error_is_told(): pass",
    ],
)
def test_a_name_that_says_nothing_is_found(planted: str) -> None:
    assert len(laws.empty_names(planted)) == 1


# ---- law 5 and 6: one place for each thing


def elsewhere(home: str) -> list[Path]:
    """Return the package's files but one; scripts of an engine stand alone and are left out."""
    return [
        path
        for path in python_files()
        if path != PACKAGE / home and PACKAGE / "engines" / "tools" not in path.parents
    ]


def test_units_and_widths_are_formatted_in_one_place() -> None:
    others = elsewhere("formatting.py")
    assert broken(laws.formatted_units, others) == {}
    assert broken(lambda code: laws.calls_of(code, laws.WIDTH_CALLS), others) == {}
    assert broken(lambda code: laws.imports_of(code, laws.WIDTH_MODULES), others) == {}


def test_names_with_usual_parts_are_accepted() -> None:
    assert (
        laws.empty_names("def test_a_file_is_no_longer_verified(): held_out = looked_up = 1") == []
    )


def test_locks_atomic_writes_and_room_are_in_one_place() -> None:
    others = elsewhere("files.py")
    assert broken(lambda code: laws.calls_of(code, laws.FILE_CALLS), others) == {}


@pytest.mark.parametrize("planted", ['f"{n / 2**30:.1f} GiB"', 'f"{t:.0f} s left"', 'f"{t} 秒"'])
def test_a_unit_written_elsewhere_is_found(planted: str) -> None:
    assert laws.formatted_units(planted) == [1]


def test_plain_words_after_a_number_are_not_a_unit() -> None:
    assert laws.formatted_units('f"{n} steps, {n} byte-pairs"') == []


def test_a_lock_and_a_width_elsewhere_are_found() -> None:
    assert laws.calls_of("fcntl.flock(file, 1); os.replace(a, b)", laws.FILE_CALLS) == [1, 1]
    assert laws.calls_of("x = get_cwidth(line)", laws.WIDTH_CALLS) == [1]
    for planted in ("import textwrap", "from textwrap import wrap", "x = 1; import textwrap as t"):
        assert laws.imports_of(planted, laws.WIDTH_MODULES) == [1]


def test_events_are_constants_and_displays_are_not_chosen_by_keys() -> None:
    assert broken(laws.literal_events) == {}
    assert broken(laws.sniffed_keys, python_files(PACKAGE / "display")) == {}


def test_a_literal_event_and_a_sniffed_key_are_found() -> None:
    assert laws.literal_events('emit("note", message="")') == [1]
    assert laws.literal_events("emit(events.NOTE, message='')") == []
    assert laws.sniffed_keys('if "url" in event: pass') == [1]


# ---- law 7: both languages, plain English


def test_every_text_is_in_both_languages() -> None:
    assert broken(untranslated) == {}


def test_a_text_without_chinese_is_found() -> None:
    assert untranslated('text("the model is not here", "the model")') != []


def test_the_english_is_plain() -> None:
    assert broken(stilted, python_files(PACKAGE, ROOT / "tests", ROOT / "scripts")) == {}


def test_the_english_of_tables_and_pages_is_plain() -> None:
    tables = sorted(PACKAGE.rglob("*.csv"))
    assert broken(stilted_table, tables) == {}
    pages = [ROOT / "README.md", ROOT / "configs" / "README.md"]
    assert broken(stilted_page, [*pages, *sorted((PACKAGE / "guide" / "en").glob("*.md"))]) == {}


@pytest.mark.parametrize(
    "planted",
    ["It is made anew.", "x is no number", "It goes\non later.", "going on where it stopped"],
)
def test_stilted_english_is_found(planted: str) -> None:
    assert stilted(f'"""{planted}"""') != []
    assert stilted(f'text("""{planted}""", "")') != []
    assert stilted(f'Field(help="""{planted}""")') != []
    assert stilted(f'ignored("""{planted}""", "已忽略")') != []
    assert stilted(f'labels = {{"en": """{planted}""", "zh": "已忽略"}}') != []
    assert stilted(f'row = ("""{planted}""", "已忽略")') != []
    assert stilted_page(f"# Title\n\n{planted}\n") != []
    assert stilted_table(f'condition\n"{planted}"\n'.replace("\non", " on")) != []


def test_code_in_a_page_is_not_prose() -> None:
    assert stilted_page("`kind: goes on`\n\n```\nit is told\n```\n") == []


# ---- law 8: devices, methods and families are rows, not branches


def outside(*rooms: str) -> list[Path]:
    return [path for path in python_files() if not {*rooms} & {*path.relative_to(PACKAGE).parts}]


def test_devices_methods_and_families_are_tested_in_their_rooms_only() -> None:
    assert broken(laws.device_tests, outside("devices")) == {}
    others = outside("methods", "converters")  # converters read the words of other tools
    assert broken(lambda code: laws.method_tests(code, METHODS), others) == {}
    assert broken(laws.family_tests) == {}


def test_a_branch_on_a_device_a_method_or_a_family_is_found() -> None:
    assert laws.device_tests("if device == 'npu':\n    pass") == [1]
    assert laws.method_tests("if stage in ('dpo', 'kto'): pass", METHODS) == [1, 1]
    assert laws.family_tests("if kind.startswith('x') or kind == 'qwen2_vl': pass") == [1]
    assert laws.family_tests("if tuner == 'llamapro': pass") == []


# ---- law 9: the README


def test_the_readme_is_a_newcomers_page() -> None:
    readme, limit = source(ROOT / "README.md"), laws.MAX_README_LINES
    assert laws.surplus_lines(readme, limit) == 0
    assert laws.surplus_lines(readme + "more\n" * limit, limit) > 0


def test_every_module_says_what_it_is_for() -> None:
    assert broken(laws.lacks_docstring) == {}


def test_a_module_without_a_docstring_is_found() -> None:
    assert laws.lacks_docstring("x = 1")
    assert not laws.lacks_docstring('"""What it is for."""\nx = 1')
    assert not laws.lacks_docstring("")


def test_the_top_level_is_as_agreed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    top = {path.split("/")[0] for path in listed}
    assert top <= {
        "pyproject.toml",
        "README.md",
        "swiftbox",
        "configs",
        "scripts",
        "tests",
        "Dockerfile",
        ".ci",
        ".gitignore",
        "LICENSE",
    }


def test_public_names_resolve_lazily() -> None:
    module = importlib.import_module("swiftbox")
    assert "Swift" in module.__all__
    with pytest.raises(AttributeError):
        _ = module.Nothing
