"""What a pipeline executes and sends through references is said, and asked for by its content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folder import write_model

from swiftbox.errors import ConfigError
from swiftbox.launch.disclosure import Disclosure
from swiftbox.launch.prepare import agreed, prepare
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads

COMMIT = "a" * 40
FIRST = f"model: good/first, revision: {COMMIT}"

DOWNLOAD = """task: pipeline
steps:
- {{name: get, task: download, {source}}}
- {{name: fit, task: train, model: "${{get.model}}", dataset: rows.jsonl, trust_remote_code: true}}
- {{name: join, task: merge, adapter: "${{fit.adapter}}", model: "${{get.model}}"}}
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with rows and a model without code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n', "utf-8")
    write_model(tmp_path / "model")
    return tmp_path


def disclosure(yaml: str) -> Disclosure:
    """Return what is said about a YAML text."""
    loaded = loads(yaml, source="a.yaml")
    return Disclosure(TASKS[loaded.config.task].effects(loaded.config), loaded.typed)


@pytest.mark.parametrize(
    "source",
    [
        f"model: evil/two, revision: {COMMIT}",
        f"model: good/first, revision: {'b' * 40}",
        "model: good/first",
        f"{FIRST}, hub: huggingface",
        f"{FIRST}, endpoint: https://mirror.example",
    ],
)
def test_an_agreement_to_code_of_an_earlier_step_holds_for_its_model_only(source: str) -> None:
    first = disclosure(DOWNLOAD.format(source=FIRST))
    first.remember()
    assert not first.needs_agreement
    assert disclosure(DOWNLOAD.format(source=source)).needs_agreement


def test_an_agreement_ends_when_the_code_of_a_copied_model_changes(workplace: Path) -> None:
    code = workplace / "model" / "modeling_own.py"
    code.write_text("first = 1\n", "utf-8")
    yaml = DOWNLOAD.format(source="hub: local, model: ./model, local_dir: copy")
    disclosure(yaml).remember()
    assert not disclosure(yaml).needs_agreement
    code.write_text("open('RAN', 'w')\n", "utf-8")
    assert disclosure(yaml).needs_agreement


def test_an_agreement_covers_what_comes_through_a_step_between() -> None:
    yaml = DOWNLOAD + (
        '- {{name: serve, task: deploy, model: "${{join.model}}", trust_remote_code: true}}\n'
    )
    yaml = yaml.replace("dataset: rows.jsonl, trust_remote_code: true", "dataset: rows.jsonl")
    disclosure(yaml.format(source=FIRST)).remember()
    assert disclosure(yaml.format(source=f"model: evil/two, revision: {COMMIT}")).needs_agreement


def test_other_settings_of_an_earlier_step_do_not_ask_again() -> None:
    yaml = DOWNLOAD.format(source=FIRST)
    disclosure(yaml).remember()
    changed = yaml.replace("dataset: rows.jsonl", "dataset: rows.jsonl, learning_rate: 1e-5")
    assert not disclosure(changed).needs_agreement


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil/repo--p.C"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "evil/repo--m.M"}}}),
    ],
)
def test_code_that_any_config_of_a_model_names_is_listed(
    workplace: Path, name: str, content: dict[str, object]
) -> None:
    file = workplace / "model" / name
    before = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**before, **content}), "utf-8")
    shown = disclosure("model: ./model\ndataset: rows.jsonl\ntrust_remote_code: true\n")
    assert any("evil/repo on the hub" in line for line in shown.lines())
    shown.remember()
    assert shown.needs_agreement  # the code of a branch may be another one tomorrow


SERVED = """task: pipeline
steps:
- {{name: serve, task: deploy, model: ./model, api_key_env: MY_KEY}}
- {{name: ask, {settings}}}
"""


@pytest.mark.parametrize(
    "settings",
    [
        'task: evaluate, benchmarks: [sample_ceval], endpoint: "{}", api_key_env: HF_TOKEN',
        "task: evaluate, benchmarks: [sample_ceval], model: ./model, judge_model: j, "
        'judge_endpoint: "{}", judge_key_env: HF_TOKEN',
        'task: chat, prompt: hi, endpoint: "{}", api_key_env: HF_TOKEN',
    ],
)
@pytest.mark.parametrize(
    "address",
    ["https://evil.example/${serve.url}", "${serve.url}@evil.example", "${serve.url}.evil.example"],
)
def test_a_reference_does_not_hide_which_server_gets_a_key(
    workplace: Path, settings: str, address: str
) -> None:
    file = workplace / "p.yaml"
    file.write_text(SERVED.format(settings=settings.format(address)), "utf-8")
    with pytest.raises(ConfigError, match="endpoint: should begin with the output"):
        prepare(file)


@pytest.mark.parametrize("address", ["${serve.url}", "${serve.url}/v1"])
def test_the_key_of_a_server_of_the_same_pipeline_is_sent_without_a_question(
    workplace: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "a-key-of-the-test")
    file = workplace / "p.yaml"
    settings = f'task: chat, prompt: hi, endpoint: "{address}", api_key_env: MY_KEY'
    file.write_text(SERVED.format(settings=settings), "utf-8")
    prepared = prepare(file)
    assert not prepared.disclosure.needs_agreement
    assert agreed(prepared, lambda _: False).is_agreed
