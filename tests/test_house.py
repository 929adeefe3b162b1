"""The house's rules, enforced: imports, registration, translation, presets that plan."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import made_up

from swiftbox.config.fields import cards
from swiftbox.config.presets import presets
from swiftbox.devices.backends import BACKENDS
from swiftbox.errors import MachineError
from swiftbox.methods import METHODS
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "swiftbox"
HEAVY = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets")
HEAVY += ("modelscope", "modelscope_hub", "huggingface_hub")

FRONT = [
    "swiftbox",
    "swiftbox.cli.main",
    "swiftbox.cli.verbs",
    "swiftbox.menu.home",
    "swiftbox.launch.start",
    "swiftbox.tasks.pipeline.chain",
    "swiftbox.runs.supervise",
    "swiftbox.launch.detached",
    "swiftbox.runs.child",
    "swiftbox.plan",
    "swiftbox.launch.prepare",
    "swiftbox.converters.translating",
    "swiftbox.converters.report",
    "swiftbox.display.preview",
    "swiftbox.display.live",
    "swiftbox.worker",
    "swiftbox.tasks.load",
    "swiftbox.methods",
    "swiftbox.hub.fetch",
    "swiftbox.models.inspection",
    "swiftbox.models.local",
    "swiftbox.hub.online",
    "swiftbox.hub.download",
    "swiftbox.cli.download",
    "swiftbox.cli.engines",
    "swiftbox.launch.engine_consent",
    "swiftbox.engines.running",
    "swiftbox.devices.probe",
    "swiftbox.devices.doctor",
    "swiftbox.display.demo",
    "swiftbox.display.chat",
    "swiftbox.chat.terminal",
    "swiftbox.tasks.participants",
    "swiftbox.tasks.temporary_server",
]


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def in_child(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_front_never_imports_torch() -> None:
    imports = "; ".join(f"import {name}" for name in FRONT)
    found = in_child(f"import sys; {imports}; print([m for m in {HEAVY} if m in sys.modules])")
    assert found.strip() == "[]"


def test_help_loads_neither_pydantic_nor_yaml_nor_rich() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from swiftbox.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "print([m for m in ('pydantic', 'yaml', 'rich', 'questionary') if m in sys.modules])"
    )
    assert in_child(code).strip() == "[]"


def test_layers_import_downhill() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_layer_that_imports_upward_is_caught(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(PACKAGE, tmp_path / "swiftbox")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    errors = tmp_path / "swiftbox" / "data" / "example.py"
    errors.write_text(errors.read_text() + "\nimport swiftbox.plan\n", encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Imports run downhill BROKEN" in done.stdout


COMMON = {"__init__", "method", "pairs"}
"""Files of methods that are no method: the table, what a method is, what pairs have in common."""


def test_every_method_file_is_registered() -> None:
    files = {path.stem for path in (PACKAGE / "methods").glob("*.py")} - COMMON
    assert files == set(METHODS)
    for name, method in METHODS.items():
        assert method.name == name
        assert method.config.model_fields["stage"].default == name


def test_every_task_is_registered_under_its_name() -> None:
    declared = {
        path.stem
        for path in (PACKAGE / "tasks").glob("*.py")
        if re.search(r"^[A-Z]+: Task\[", path.read_text("utf-8"), re.MULTILINE)
    }
    assert declared == set(TASKS)
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in TASKS}


DEVICE_NAMES = {"cuda", "rocm", "npu", "mps"}


def device_tests(source: str) -> list[int]:
    """Return the lines that compare something with the name of a device."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Compare, ast.Match)):
            continue
        words = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
        if words & DEVICE_NAMES:
            found.append(node.lineno)
    return found


def test_the_search_for_device_tests_finds_one() -> None:
    assert device_tests("if device == 'npu':\n    pass") == [1]


def test_no_device_name_is_tested_outside_devices() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in python_files()
        if "devices" not in path.parts and (lines := device_tests(path.read_text("utf-8")))
    }
    assert found == {}


CHINESE = re.compile(r"[\u4e00-\u9fff]")


CONFIGS = {name: model for task in TASKS.values() for name, model in task.choices.items()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_field_has_help_in_both_languages(name: str) -> None:
    for card in cards(CONFIGS[name]):
        assert len(card.en) > 3, card.name
        assert not CHINESE.search(card.en), card.name
        assert CHINESE.search(card.zh), card.name


def texts(source: str) -> list[tuple[int, str, str]]:
    """Return the line and the two literal texts of every text(en, zh) call."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "text":
            continue
        if any(isinstance(one, ast.Starred) for one in node.args):
            continue
        literal = [
            "".join(str(one.value) for one in ast.walk(arg) if isinstance(one, ast.Constant))
            for arg in node.args
        ]
        found.append((node.lineno, *[*literal, "", ""][:2]))
    return found


def test_every_text_is_said_in_both_languages() -> None:
    missing = []
    for path in python_files():
        for line, english, chinese in texts(path.read_text("utf-8")):
            letters = re.sub(r"[^A-Za-z]", "", english)
            if CHINESE.search(english) or (len(letters) > 12 and not CHINESE.search(chinese)):
                missing.append(f"{path.relative_to(ROOT)}:{line} {english[:40]}")
    assert missing == []


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
        assert known or "one device" in refusal, refusal
        return
    settled = planned.config.model_dump(mode="json")
    left = [key for key, value in settled.items() if value == "auto"]
    assert set(left) <= {"output_dir", "template"}  # named when it starts; the tokenizer's own


def test_every_preset_is_in_its_written_form() -> None:
    for name, path in presets().items():
        content = path.read_text("utf-8")
        assert content.startswith("# "), name
        for line in content.splitlines():
            key = line.partition(":")[0]
            if line and not line.startswith(("#", " ", "-")) and key not in ("version", "task"):
                assert "#" in line, f"{name}: {line}"


def test_no_file_outgrows_its_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in python_files()
        if (count := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    for path in python_files():
        if path.read_text("utf-8").strip():
            name = str(path.relative_to(ROOT)).removesuffix(".py").replace("/", ".")
            assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), name


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
