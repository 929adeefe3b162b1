"""An evaluation before it starts: its models, its servers and its data."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter, make_run
from made_up import made_up

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.writing import write
from swiftbox.errors import ConfigError, HubError
from swiftbox.evaluation.candidates import candidates, servers
from swiftbox.evaluation.endpoint import models, with_endpoint_models
from swiftbox.evaluation.tool_requests import evalscope_request, lm_eval_request
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.models.requirements import Remark
from swiftbox.plan import plan
from swiftbox.serving.client import RequestRefused
from swiftbox.tasks import TASKS
from swiftbox.tasks.evaluate import check, server_config
from swiftbox.tasks.load import loads


def settled(**keys: Any) -> EvaluateConfig:
    """Load and plan an evaluation as a launch does."""
    content = json.dumps({"task": "evaluate", "benchmarks": ["sample_mmlu"], **keys}, default=str)
    config = with_absolute_paths(
        plan(loads(content, source="a.yaml").config, made_up("cpu")).config
    )
    assert isinstance(config, EvaluateConfig)
    return config


@pytest.fixture(scope="session")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny, tmp_path_factory.mktemp("evaluated") / "tuned")


def test_batch_size_is_a_separate_key_from_that_of_a_training() -> None:
    loaded = loads("task: evaluate\nmodel: m\nbatch_size: 3\n", source="a.yaml")
    assert isinstance(loaded.config, EvaluateConfig)
    assert loaded.config.batch_size == 3
    assert loaded.notes == ()
    trained = loads("model: m\ndataset: d\nbatch_size: 3\n", source="a.yaml")
    assert trained.config.model_dump()["per_device_train_batch_size"] == 3
    changed = loads("task: evaluate\nmodel: m", source="", overrides=["batch_size=5"])
    assert changed.config.model_dump()["batch_size"] == 5


def test_it_is_settled_like_a_deployment_and_read_back(tiny: Path, adapter: Path) -> None:
    config = settled(model=tiny, adapter=adapter, compare={"other": str(tiny)})
    assert (config.engine, config.dtype) == ("builtin", "float32")
    assert loads(write(config), source="settled.yaml").config == config


def test_base_and_adapters_share_a_server_and_other_weights_get_their_own(
    tiny: Path, tiny_models: dict[str, Path], adapter: Path
) -> None:
    compare = {"second": str(adapter), "llama": str(tiny_models["llama"])}
    config = settled(model=tiny, adapter=adapter, compare=compare)
    models = candidates(config)
    kinds = [(model.name, model.kind) for model in models]
    assert kinds == [
        ("qwen3", "base"),
        ("tuned", "adapter"),
        ("second", "adapter"),
        ("llama", "model"),
    ]
    shared, alone = servers(models)
    assert server_config(config, shared).adapters == {"tuned": str(adapter), "second": str(adapter)}
    assert server_config(config, shared).port == 0
    assert [model.name for model in alone.candidates] == ["llama"]


def test_an_adapter_alone_implies_its_base_and_a_run_its_name(
    tiny: Path, tmp_path: Path, adapter: Path
) -> None:
    run = make_run(_copied(adapter, tmp_path), tiny)
    config = settled(adapter=run)
    assert config.model == str(tiny)
    assert [model.name for model in candidates(config)] == ["qwen3", "my-run"]


def _copied(adapter: Path, into: Path) -> Path:
    import shutil

    return Path(shutil.copytree(adapter, into / "my-run" / "model"))


def test_two_models_of_one_name_are_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="two models are named qwen3"):
        candidates(settled(model=tiny, compare=[str(tiny)]))


def test_an_evaluation_without_benchmarks_is_refused() -> None:
    with pytest.raises(ConfigError, match="model: is required"):
        settled()


def test_an_endpoint_excludes_weights_and_likelihoods(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"endpoint: .*, but model is set too"):
        settled(endpoint="http://127.0.0.1:1", model=tiny)
    with pytest.raises(ConfigError, match="needs the weights"):
        settled(endpoint="http://127.0.0.1:1", backend="lm_eval")
    with pytest.raises(ConfigError, match="must be set together"):
        settled(model=tiny, judge_model="j")
    with pytest.raises(ConfigError, match="not contain a password"):
        settled(endpoint="http://me:secret@127.0.0.1:1")


@contextmanager
def listing(*names: str, key: str = "") -> Iterator[str]:
    """Serve a list of models at a free port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = not key or self.headers["Authorization"] == f"Bearer {key}"
            self.send_response(200 if right else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [{"id": name} for name in names]}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_an_endpoint_is_asked_for_its_models_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-1")
    with listing("a", "b") as url:
        check_config(settled(endpoint=url, api_key_env="MY_KEY"))
        with pytest.raises(ConfigError, match="the server has no c") as caught:
            check_config(settled(endpoint=url, api_key_env="MY_KEY", endpoint_models=["c"]))
        assert caught.value.hint == "available: a, b"
    with listing("a", "b", key="sk-1") as url:
        with pytest.raises(ConfigError, match="401"):
            check_config(settled(endpoint=url))
        remarks: list[Remark] = []
        check(settled(endpoint=url, api_key_env="MY_KEY"), remarks.append)
        assert "their names are not checked" in str(remarks[-1])
        with pytest.raises(ConfigError, match="the server has no c"):
            with_endpoint_models(settled(endpoint=url, endpoint_models=["c"]), "sk-1")
    with pytest.raises(ConfigError, match="returns no list of models"):
        check_config(settled(endpoint=url))
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        check_config(settled(endpoint=url, api_key_env="MY_KEY"))


@contextmanager
def answering(status: int, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """Answer every request alike at a free port; list the requests with their keys."""
    requests: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"{self.path} {self.headers['Authorization']}")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requests
        finally:
            server.shutdown()
            thread.join()


def test_requests_to_this_machine_bypass_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listing("a", key="sk-1") as url, answering(502) as (proxy, requests):
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(urllib.request, "_opener", None)  # knows the proxies of before
        assert models(f"{url}/v1", "sk-1") == ["a"]
    assert requests == []


def test_a_redirect_does_not_receive_the_key() -> None:
    with (
        answering(200) as (other, requests),
        answering(302, Location=f"{other}/v1/models") as (url, first),
        pytest.raises(RequestRefused, match="302"),
    ):
        models(f"{url}/v1", "sk-1")
    assert first == ["/v1/models Bearer sk-1"]
    assert requests == []


def test_an_endpoint_that_disappears_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from swiftbox.evaluation import endpoint

    monkeypatch.setattr(endpoint, "POLL_S", 0.0)
    with listing("a") as url:
        remote = endpoint.RemoteServer(f"{url}/v1")
        assert all(remote.is_alive for _ in range(5))
    assert [remote.is_alive for _ in range(3)] == [True, True, False]
    assert "no longer accepts connections" in remote.failure().message


def test_a_missing_model_is_refused_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        check_config(settled(model=str(tmp_path / "none")))


def test_data_on_an_unreachable_hub_is_refused_before_the_start(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="ceval"):
        check_config(settled(model=tiny, benchmarks="ceval"))


def test_lm_eval_refuses_quantized_weights(tiny: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny, tmp_path / "nf4"))
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"cannot read quantized weights: nf4 \(gptq 4-bit\)"):
        check_config(settled(model=tiny, compare=[str(folder)], backend="lm_eval"))


def test_the_required_engines_are_named(tiny: Path) -> None:
    task = TASKS["evaluate"]
    assert task.engines(settled(model=tiny), made_up("cpu")) == ("evalscope",)
    assert task.engines(settled(model=tiny, backend="lm_eval"), made_up("cpu")) == ("lm_eval",)


def test_requests_hold_the_settings_and_no_key(tiny: Path, tmp_path: Path) -> None:
    from swiftbox.evaluation.benchmarks import select_benchmarks
    from swiftbox.evaluation.jobs import jobs

    config = settled(model=tiny, limit=2, num_fewshot=0, max_tokens=7)
    models = candidates(config)
    todo = jobs(models, select_benchmarks(["sample_mmlu"], None), tmp_path)
    request = evalscope_request(config, "http://127.0.0.1:1/v1", todo)
    (job,) = request["jobs"]
    assert (request["limit"], request["generation"]["max_tokens"]) == (2, 7)
    assert (job["benchmark"], job["few_shot"], len(job["subsets"])) == ("mmlu", 0, 6)
    assert "key" not in json.dumps(request).lower()
    (served,) = servers(models)
    likelihood_job = lm_eval_request(config, served, todo, "cpu")
    rows = (
        (Path(likelihood_job["jobs"][0]["work"]) / "questions.jsonl")
        .read_text("utf-8")
        .splitlines()
    )
    assert len(rows) == 12
    assert json.loads(rows[0])["choices"]


def test_only_an_endpoint_gets_the_variables_of_the_template(tiny: Path) -> None:
    """Our own server renders with them already."""
    variables = {"enable_thinking": False}
    remote = settled(endpoint="http://127.0.0.1:1", chat_template_kwargs=variables)
    generation = evalscope_request(remote, "http://127.0.0.1:1/v1", [])["generation"]
    assert generation["extra_body"] == {"chat_template_kwargs": variables}
    for config in (
        settled(model=tiny, chat_template_kwargs=variables),
        settled(endpoint="http://127.0.0.1:1"),
    ):
        assert "extra_body" not in evalscope_request(config, "http://x/v1", [])["generation"]
