"""Which variables are secrets, which children get them, and which servers they are sent to."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from box import box, until
from made_up import made_up

from swiftbox.errors import ConfigError
from swiftbox.plan import plan
from swiftbox.runs.supervise import Child, supervise
from swiftbox.security.secrets import (
    HUB_HOSTS,
    Send,
    hide_secrets,
    is_account,
    is_secret,
    may_have_token,
    origin,
    without_secrets,
)
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads
from swiftbox.tasks.sending import needed_secrets, sends

SECRETS = (
    "HF_TOKEN HUGGING_FACE_HUB_TOKEN MODELSCOPE_API_TOKEN WANDB_API_KEY SWANLAB_API_KEY "
    "GITHUB_TOKEN OPENAI_API_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AZURE_CLIENT_ID "
    "GOOGLE_APPLICATION_CREDENTIALS ALIBABA_CLOUD_ACCESS_KEY_ID OSS_ACCESS_KEY_SECRET PGPASSWORD "
    "MYSQL_PWD DB_PASS SSH_AUTH_SOCK NPM_AUTHTOKEN openaiApiKey SESSION_COOKIE MY_SECRET "
    "SWIFTBOX_API_KEY VAULT_ADDR KUBECONFIG HF_TOKEN_PATH REDIS_PWD API_KEYS CI_TOKENS"
).split()

PLAIN = (
    "PATH HOME PWD OLDPWD LANG LD_LIBRARY_PATH CUDA_VISIBLE_DEVICES OMP_NUM_THREADS "
    "TOKENIZERS_PARALLELISM NCCL_DEBUG HF_HOME HF_ENDPOINT MODELSCOPE_CACHE SWIFTBOX_HOME "
    "PYTORCH_ALLOC_CONF TERM SLURM_JOB_ID MASTER_ADDR RANK VLLM_PLUGINS XDG_CACHE_HOME KEYBOARD"
).split()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret(name, "x")


@pytest.mark.parametrize("name", PLAIN)
def test_other_variables_are_inherited(name: str) -> None:
    assert not is_secret(name, "x")


def test_an_address_with_a_password_is_a_secret() -> None:
    assert is_secret("PIP_INDEX_URL", "https://me:secret@index.example/simple")
    assert is_secret("HTTPS_PROXY", "http://me@proxy.example:3128")
    assert not is_secret("HTTPS_PROXY", "http://proxy.example:3128")
    assert not is_secret("MAIL", "me@example.org")


def test_only_the_secrets_that_are_needed_are_inherited() -> None:
    environment = {"HF_TOKEN": "a", "WANDB_API_KEY": "b", "PATH": "/bin"}
    assert without_secrets(environment, {"WANDB_API_KEY"}) == {"WANDB_API_KEY": "b", "PATH": "/bin"}


def test_a_message_names_the_variable_and_not_its_secret() -> None:
    environment = {"MY_KEY": "sk-123456", "HOME": "/root", "SHORT_KEY": "a"}
    assert hide_secrets("sk-123456 at /root", environment) == "$MY_KEY at /root"


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("https://huggingface.co", True),
        ("https://huggingface.co:443", True),
        ("https://cdn.huggingface.co", False),
        ("https://HuggingFace.co", True),
        ("https://evil.example\\@huggingface.co", False),
        ("https://huggingface.co\\@evil.example", False),
        ("https://me@huggingface.co", False),
        ("https://huggingfac\u0435.co", False),
        ("https://huggingface.co%2f@evil.example", False),
        ("https://hf.co", True),
        ("http://huggingface.co", False),
        ("https://huggingface.co:8443", False),
        ("https://huggingface.co.example", False),
        ("https://nothuggingface.co", False),
        ("https://huggingface.co@evil.example", False),
        ("https://evil.example/huggingface.co", False),
        ("https://hf-mirror.example", True),  # named by the environment
        ("http://hf-mirror.example", False),
        ("https://hf-mirror.example:444", False),
        ("http://127.0.0.1:9000", True),  # named by the environment
        ("http://127.0.0.1:9001", False),
        ("http://127.0.0.1.evil.example:9000", False),
        ("http://localhost:9000", False),
        ("https://modelscope.cn", False),
        ("https://huggingface.co:x", False),
        ("", False),
    ],
)
def test_a_hub_token_goes_to_its_hub_or_where_the_environment_says(
    endpoint: str, allowed: bool
) -> None:
    environment = {"HF_ENDPOINT": "https://hf-mirror.example, http://127.0.0.1:9000/"}
    assert may_have_token("huggingface", endpoint, environment) is allowed


def test_no_token_crosses_a_network_without_encryption() -> None:
    for name in ("http://10.0.0.5", "http://mirror.example", "ftp://mirror.example"):
        for hub in HUB_HOSTS:
            assert not may_have_token(hub, name, {"HF_ENDPOINT": name, "MODELSCOPE_ENDPOINT": name})


def config_of(**keys: Any) -> Any:
    return plan(loads(json.dumps(keys, default=str), source="a.yaml").config, made_up("cpu")).config


def evaluation(**keys: Any) -> Any:
    return config_of(task="evaluate", benchmarks=["sample_mmlu"], **keys)


@pytest.mark.parametrize(
    ("task", "key"),
    [("evaluate", "endpoint"), ("evaluate", "judge_endpoint"), ("chat", "endpoint")],
)
@pytest.mark.parametrize(
    "address", ["https://a.example\\@b.example", "https://a.example @b", "https://\u0430.example"]
)
def test_an_address_that_can_be_read_as_two_hosts_is_refused(
    task: str, key: str, address: str
) -> None:
    required = {"benchmarks": ["sample_mmlu"]} if task == "evaluate" else {}
    with pytest.raises(ConfigError):
        loads(json.dumps({"task": task, key: address, **required}), source="a.yaml")


def test_the_sends_of_an_evaluation_name_variable_and_host() -> None:
    config = evaluation(
        endpoint="https://me.example:8000/v1",
        endpoint_models=["a"],
        api_key_env="HF_TOKEN",
        judge_endpoint="http://judge.example/v1",
        judge_model="j",
        judge_key_env="JUDGE_KEY",
    )
    answers, judges = sends(config)
    assert (answers.variable, answers.host) == ("HF_TOKEN", "https://me.example:8000")
    assert answers.needs_consent
    assert answers.is_encrypted
    assert (judges.variable, judges.host) == ("JUDGE_KEY", "http://judge.example")
    assert not judges.needs_consent
    assert not judges.is_encrypted


def test_the_sends_of_a_pipeline_are_those_of_its_steps() -> None:
    steps = [
        {
            "name": name,
            "task": "evaluate",
            "benchmarks": ["sample_mmlu"],
            "endpoint": "https://x.example",
            "endpoint_models": ["a"],
            "api_key_env": "MY_KEY",
        }
        for name in ("a", "b")
    ]
    config = loads(json.dumps({"task": "pipeline", "steps": steps}), source="p.yaml").config
    assert [send.variable for send in sends(config)] == ["MY_KEY"]
    assert "MY_KEY" in needed_secrets(config)


def test_a_chat_sends_its_key_to_its_endpoint() -> None:
    config = config_of(
        task="chat", endpoint="http://127.0.0.1:9/v1", prompt="x", api_key_env="GITHUB_TOKEN"
    )
    (send,) = sends(config)
    assert (send.variable, send.host) == ("GITHUB_TOKEN", "http://127.0.0.1:9")
    assert send.needs_consent


def test_a_reporter_gets_its_own_key_without_consent(tiny: Path, chat_file: Path) -> None:
    config = loads(
        "stage: sft\nreport_to: wandb\n",
        source="a.yaml",
        overrides=[f"model={tiny}", f"dataset={chat_file}"],
    ).config
    (send,) = sends(config)
    assert (send.variable, send.host) == ("WANDB_API_KEY", "https://api.wandb.ai")
    assert not send.needs_consent
    assert "WANDB_API_KEY" in needed_secrets(config)


def test_every_setting_that_names_a_variable_says_where_it_is_sent() -> None:
    fields = {
        (task, name)
        for task in TASKS
        for config_class in TASKS[task].config_classes.values()
        for name in config_class.model_fields
        if name.endswith("_env")
    }
    sent = {("evaluate", "api_key_env"), ("evaluate", "judge_key_env"), ("chat", "api_key_env")}
    never_sent = {("deploy", "api_key_env")}
    """The server compares it with the keys of its clients."""
    assert fields == sent | never_sent


def test_a_run_with_local_files_needs_no_secret(tiny: Path, chat_file: Path) -> None:
    settings = [f"model={tiny}", f"dataset={chat_file}"]
    assert needed_secrets(loads("stage: sft\n", source="a", overrides=settings).config) == set()


def test_a_run_that_downloads_needs_the_token_of_its_hub(tiny: Path, chat_file: Path) -> None:
    def needs(*settings: str) -> frozenset[str]:
        return needed_secrets(loads("stage: sft\n", source="a", overrides=settings).config)

    model = needs("model=owner/name", f"dataset={chat_file}", "hub=huggingface")
    assert {"HF_TOKEN", "https_proxy"} <= model
    assert "MODELSCOPE_API_TOKEN" not in model
    dataset = needs(f"model={tiny}", "dataset=owner/rows#100")
    assert "MODELSCOPE_API_TOKEN" in dataset
    assert "HF_TOKEN" not in dataset
    catalogued = needs("model=Qwen/Qwen3-0.6B", f"dataset={chat_file}")
    assert {"HF_TOKEN", "MODELSCOPE_API_TOKEN"} <= catalogued  # the other hub is asked if it fails


def test_the_base_of_an_adapter_counts_as_a_download(tiny: Path, tmp_path: Path) -> None:
    path = make_adapter(tiny, tmp_path / "adapter") / "adapter_config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "base_model_name_or_path": "owner/name"}))
    settings = [f"adapter={path.parent}"]
    config = loads("task: chat\nprompt: x\n", source="a", overrides=settings).config
    assert "MODELSCOPE_API_TOKEN" in needed_secrets(config)


def test_a_host_is_named_without_its_password() -> None:
    assert origin("https://me:secret@example.org:8000/v1") == "https://example.org:8000"
    assert origin("[::1]:8000") == "http://[::1]:8000"


@pytest.mark.parametrize(
    ("name", "account"),
    [
        *(("HF_TOKEN", True), ("AWS_KEY", True), ("DB_PASSWORD", True), ("MYSQL_PWD", True)),
        *(("OPENAI_API_KEY", False), ("MY_SERVER_TOKEN", False)),
    ],
)
def test_tokens_of_accounts_and_passwords_need_consent(name: str, account: bool) -> None:
    assert is_account(name) is account
    assert Send(name, "https://x.example", "").needs_consent is account
    assert not Send(name, "https://x.example", "", is_own_service=True).needs_consent


# ---- real children

RECORDER = """
import json, os, sys
secrets = [name for name, value in os.environ.items() if "kept-from-children" in value]
with open(os.path.join({folder!r}, f"{{os.getpid()}}.json"), "w") as file:
    json.dump({{"command": sys.orig_argv, "secrets": secrets}}, file)
"""


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where every Python process that starts writes which secrets it has."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(RECORDER.format(folder=str(folder)))
    entries = [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, entries)))
    for name in SECRETS:
        monkeypatch.setenv(name, f"kept-from-children-{name}")
    return folder


def processes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder.glob("*.json")]


@pytest.mark.parametrize("detach", [False, True])
def test_no_process_of_a_run_has_a_secret_that_it_does_not_need(
    detach: bool, recorded: Path, tmp_path: Path, tiny: Path
) -> None:
    settings = {"task": "download", "hub": "local", "model": str(tiny), "local_dir": "copy"}
    (tmp_path / "copy.yaml").write_text(json.dumps({**settings, "output_dir": "run"}))
    box("run", "copy.yaml", *(["--detach"] if detach else []), cwd=tmp_path)
    state = tmp_path / "run" / "state.json"
    until(lambda: json.loads(state.read_text())["status"] == "done", what="the end of the run")
    children = [entry for entry in processes(recorded) if "run" not in entry["command"][1:5]]
    assert len(children) == (2 if detach else 1)  # the worker, and the detached supervisor
    assert all(entry["secrets"] == [] for entry in children), children
    assert not any("kept-from-children" in word for entry in children for word in entry["command"])
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert b"kept-from-children" not in path.read_bytes(), path


def test_a_child_gets_the_secrets_that_it_needs(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    child = Child([sys.executable, "-P", "-c", "pass"], {}, frozenset({"HF_TOKEN"}))
    assert supervise(folder, child) == 0
    assert [entry["secrets"] for entry in processes(recorded)] == [["HF_TOKEN"]]
