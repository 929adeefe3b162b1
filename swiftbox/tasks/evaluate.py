"""task: evaluate. Score a base, its tuned and its quantized versions on the same questions."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from swiftbox.config.deploy import DeployConfig, ServingEngine
from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import as_list
from swiftbox.config.references import is_reference
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError
from swiftbox.evaluation import endpoint, local_data, tool_requests
from swiftbox.evaluation.benchmarks import (
    ScoringSetup,
    benchmark_remarks,
    require_reachable,
    select_benchmarks,
)
from swiftbox.evaluation.candidates import (
    Candidate,
    ServedWeights,
    candidates,
    quantized,
    servers,
    with_absolute_paths,
)
from swiftbox.evaluation.jobs import Job, jobs
from swiftbox.evaluation.report_files import write_report
from swiftbox.evaluation.run_jobs import ToolCall, run_jobs
from swiftbox.evaluation.workload import workload_remark
from swiftbox.files import write_json
from swiftbox.fit.forecast import Forecast, RunInputs, forecast_of_shape
from swiftbox.fit.serving import serving as serving_need
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.gguf_files import holds_gguf
from swiftbox.models.location import short_name
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.models.text_models import require_named_text
from swiftbox.models.unservable_adapters import require_no_new_tokens
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import STOP
from swiftbox.security.paths import file_name, inside
from swiftbox.security.secrets import HUB_TOKENS, PROXY_VARIABLES
from swiftbox.tasks.checks import OnRemark, report
from swiftbox.tasks.deploy import DEPLOY
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.task import Output, Resolved, Task
from swiftbox.tasks.temporary_server import temporary_server

SERVERS = "servers"
"""Folder in the run folder with one run folder per server."""

READABLE_BENCHMARKS = ("ceval", "mmlu")
"""Benchmarks whose rows are checked before anything starts."""


def resolve(config: EvaluateConfig, machine: Machine) -> Resolved:
    """Settle engine and dtype as for a deployment; raise ConfigError for conflicting settings."""
    _require_one_source(config)
    if config.endpoint is not None:
        return Resolved(config, (), 1, {})
    served = ServedWeights(config.model or "", config.revision, ())
    server = DEPLOY.resolve(server_config(config, served), machine)
    settled = server.config.model_dump(include={"engine", "dtype"})
    return Resolved(config.model_copy(update=settled), server.reasons, 1, server.env)


def _require_one_source(config: EvaluateConfig) -> None:
    weights = [key for key in ("model", "adapter", "compare") if getattr(config, key)]
    if config.endpoint is not None and weights:
        raise ConfigError(
            text(
                f"endpoint: scores the models of that server, but {', '.join(weights)} is set too",
                f"endpoint：评测该服务上的模型，但同时设了 {', '.join(weights)}",
            ),
            hint=text("remove one of them", "请去掉其中之一"),
        )
    if config.endpoint is not None and config.backend == "lm_eval":
        raise ConfigError(
            text("backend: lm_eval needs the weights", "backend: lm_eval 需要模型权重"),
            hint=text("set model: instead of endpoint:", "请设 model: 而不是 endpoint:"),
        )
    if config.chat_template_kwargs and config.backend == "lm_eval":
        raise ConfigError(
            text(
                "chat_template_kwargs: backend: lm_eval uses no chat template",
                "chat_template_kwargs：backend: lm_eval 不使用对话模板",
            ),
            hint=text("remove it, or set backend: evalscope", "请去掉它，或设 backend: evalscope"),
        )
    for key, server in (("api_key_env", "endpoint"), ("judge_key_env", "judge_endpoint")):
        if getattr(config, key) is not None and getattr(config, server) is None:
            raise ConfigError(
                text(
                    f"{key}: is the key of {server}, which is not set",
                    f"{key}：是 {server} 的密钥，但未设 {server}",
                ),
                hint=text(f"remove it, or set {server}", f"请去掉它，或设置 {server}"),
            )
    if (config.judge_endpoint is None) != (config.judge_model is None):
        raise ConfigError(
            text(
                "judge_endpoint and judge_model must be set together",
                "judge_endpoint 与 judge_model 须同时设置",
            ),
            hint=text("set both, or neither", "请同时设置，或都不设"),
        )


def server_config(config: EvaluateConfig, served: ServedWeights) -> DeployConfig:
    """Return the deployment of a model with its adapters."""
    engine = _engine_of(config, served)
    return DeployConfig(
        model=served.model or None,
        adapters=served.adapters or None,
        served_model_name=served.base_name if served.model else None,
        hub=config.hub,
        revision=served.revision,
        trust_remote_code=config.trust_remote_code,
        chat_template_kwargs=config.chat_template_kwargs,
        dtype="auto" if engine == "llama_cpp" else config.dtype,
        engine=engine,
        parity="warn",  # a difference from the trained model is reported, and does not stop it
        port=0,
        max_concurrency=config.batch_size,
        max_model_len=config.max_model_len,
        tensor_parallel_size=config.tensor_parallel_size,
    )


def _engine_of(config: EvaluateConfig, served: ServedWeights) -> ServingEngine:
    """Return the program that serves one of the models: llama.cpp for a GGUF file, for no other."""
    if holds_gguf(served.model):
        return "llama_cpp"
    return "auto" if config.engine == "llama_cpp" else config.engine


def check(config: EvaluateConfig, on_remark: OnRemark) -> None:
    """Raise UserError for every problem that is known before a model is loaded."""
    benchmarks = select_benchmarks(as_list(config.benchmarks), config.benchmark_dir)
    engine = "endpoint" if config.endpoint else config.engine
    means = ScoringSetup(config.backend, engine, config.judge_endpoint is not None)
    report("benchmarks", benchmark_remarks(benchmarks, means), on_remark)
    for benchmark in benchmarks:
        readable = config.backend == "lm_eval" or benchmark.row.name in READABLE_BENCHMARKS
        if benchmark.folder is not None and readable:
            local_data.questions(benchmark.folder)
    on_remark(workload_remark(config, benchmarks))
    endpoint.key_of(config.judge_key_env, os.environ, "judge_key_env")
    endpoint.key_of(config.api_key_env, os.environ, "api_key_env")
    if config.endpoint is not None:
        if not is_reference(config.endpoint):
            _check_endpoint(config, on_remark)
    elif config.model is not None:  # else the base of an adapter that an earlier step makes
        models = candidates(config)
        for model in models:
            require_named_text((("adapter", model.adapter), ("model", model.model)))
        if config.backend == "lm_eval":
            _require_unquantized(models)
            other = text("set backend: evalscope", "设 backend: evalscope")
            adapters = [Path(model.adapter) for model in models if model.adapter]
            require_no_new_tokens(adapters, "lm_eval", other)
        for served in servers(models):
            DEPLOY.check(server_config(config, served), on_remark)
    require_reachable(benchmarks, config.hub)


def _check_endpoint(config: EvaluateConfig, on_remark: OnRemark) -> None:
    """Ask the endpoint for its models without sending a key, and check their names."""
    if not endpoint.asks_for_key(config):
        candidates(endpoint.with_endpoint_models(config, None))
        return
    on_remark(
        Remark(
            NOTE,
            "endpoint",
            text(
                f"{config.endpoint} lists its models only with a key, which is not sent before "
                "the run: their names are not checked",
                f"{config.endpoint} 仅在有密钥时列出模型，而运行前不发送密钥：未核对模型名称",
            ),
        )
    )
    if config.endpoint_models:
        candidates(config)


def _require_unquantized(models: Sequence[Candidate]) -> None:
    """Raise ConfigError for quantized weights, which the engine of lm_eval cannot read."""
    names = [f"{model.name} ({quantized(model)})" for model in models if quantized(model)]
    if names:
        raise ConfigError(
            text(
                f"backend: lm_eval cannot read quantized weights: {', '.join(names)}",
                f"backend: lm_eval 不能读取量化权重：{', '.join(names)}",
            ),
            hint=text("set backend: evalscope", "设 backend: evalscope"),
        )


def engines(config: EvaluateConfig, machine: Machine) -> tuple[str, ...]:
    """Return the engine that runs the benchmarks, and those that serve or load the models."""
    if config.endpoint is not None or config.backend == "lm_eval":
        return (config.backend,)
    groups: tuple[ServedWeights, ...] = (ServedWeights("", None, ()),)
    if config.model is not None:  # else the base of an adapter that an earlier step makes
        groups = servers(candidates(config))
    names: list[str] = [config.backend]
    for served in groups:
        deployment = server_config(config, served)
        settled = DEPLOY.resolve(deployment, machine).config.model_dump(include={"engine"})
        names += DEPLOY.engines(deployment.model_copy(update=settled), machine)
    return tuple(dict.fromkeys(names))


def run(config: EvaluateConfig, folder: Path, emit: Emit) -> Path | None:
    """Ask all questions without an answer, then write the report; return the run folder."""
    began = time.monotonic()
    config = with_absolute_paths(config)
    if config.endpoint is not None:
        key = endpoint.key_of(config.api_key_env, os.environ, "api_key_env")
        config = endpoint.with_endpoint_models(config, key)
    benchmarks = select_benchmarks(as_list(config.benchmarks), config.benchmark_dir)
    models = candidates(config)
    groups = [ServedWeights("", None, models)]
    if config.endpoint is None:
        groups = _fetch_models(config, models, emit)
    write_json(folder / run_folder.INPUTS, {"candidates": [vars(model) for model in models]})
    scores = jobs(models, benchmarks, folder)
    STOP.can_save.set()  # results are written one by one: a stop loses at most one
    emit(
        events.EVALUATING,
        candidates=[model.name for model in models],
        benchmarks=[benchmark.name for benchmark in benchmarks],
    )
    for served in groups:
        open_jobs = [
            job for job in scores if job.candidate in served.candidates and not job.is_done
        ]
        if open_jobs and not _score(config, served, open_jobs, folder, emit):
            done = sum(job.is_done for job in scores)
            emit(events.STOPPED, step=None, scored=done, of=len(scores))
            return None
    seconds = round(time.monotonic() - began, 1)
    emit(events.REPORT, **write_report(config, scores, folder, seconds=seconds))
    emit(events.DONE, seconds=seconds, report=str(folder / "report.html"), scored=len(scores))
    return folder


def _fetch_models(
    config: EvaluateConfig, models: Sequence[Candidate], emit: Emit
) -> list[ServedWeights]:
    """Return the servers with local folders for ids; the candidates keep their names."""
    folders: dict[str, str] = {}

    def fetch(name: str, revision: str | None) -> str:
        if name not in folders:
            emit(events.STAGE, name="fetch", detail=name)
            fetched = fetch_model(name, hub=config.hub, revision=revision, emit=emit)
            folders[name] = str(fetched.folder)
        return folders[name]

    return [
        ServedWeights(
            fetch(served.model, served.revision),
            None,
            served.candidates,
            {name: fetch(path, None) for name, path in served.adapters.items()},
        )
        for served in servers(tuple(models))
    ]


def _score(
    config: EvaluateConfig,
    served: ServedWeights,
    open_jobs: Sequence[Job],
    folder: Path,
    emit: Emit,
) -> bool:
    """Score the candidates of one server; return False if a stop was requested."""
    machine = Machine.from_dict(read_record(folder / run_folder.MACHINE))
    name = short_name(served.model) if served.model else "endpoint"
    server_folder = inside(folder / SERVERS, file_name(name), source="model")
    if config.backend == "lm_eval":
        device = BACKENDS[machine.backend].torch_device
        emit(events.STAGE, name="model", detail=served.model)
        call = ToolCall(
            "lm_eval",
            tool_requests.lm_eval_request(config, served, open_jobs, device),
            server_folder,
            secrets=_engine_secrets(config),
        )
        return run_jobs(call, open_jobs, emit, server=None, stop=STOP.requested)
    if config.endpoint is not None:
        key = endpoint.key_of(config.api_key_env, os.environ, "api_key_env")
        call = _call(config, open_jobs, server_folder, address=config.endpoint, key=key)
        remote = endpoint.RemoteServer(config.endpoint)
        return run_jobs(call, open_jobs, emit, server=remote, stop=STOP.requested)
    emit(events.STAGE, name="model", detail=served.model)
    deployment = server_config(config, served)
    with temporary_server(server_folder, deployment, machine, stop=STOP.requested) as server:
        if server is None:
            return False
        if comparison := run_folder.newest_event(server_folder, events.PARITY):
            emit(events.PARITY, models=comparison["models"])
        emit(events.SERVED, url=server.url, models=list(server.models), engine=config.engine)
        address = endpoint.base_of(server.url)
        call = _call(config, open_jobs, server_folder, address=address, key=server.key)
        return run_jobs(call, open_jobs, emit, server=server.run, stop=STOP.requested)


def _call(
    config: EvaluateConfig,
    open_jobs: Sequence[Job],
    server_folder: Path,
    *,
    address: str,
    key: str | None,
) -> ToolCall:
    keys = {
        tool_requests.KEY: key,
        tool_requests.JUDGE_KEY: endpoint.key_of(config.judge_key_env, os.environ, "judge_key_env"),
    }
    env = {name: key for name, key in keys.items() if key}
    return ToolCall(
        "evalscope",
        tool_requests.evalscope_request(config, address, open_jobs),
        server_folder,
        env | _no_proxy(),
        _engine_secrets(config),
    )


def _engine_secrets(config: EvaluateConfig) -> frozenset[str]:
    """Return the variables whose secrets the engine needs, to download benchmarks."""
    selected = select_benchmarks(as_list(config.benchmarks), config.benchmark_dir)
    is_download = any(benchmark.folder is None for benchmark in selected)
    tokens = HUB_TOKENS.get(config.hub, ()) if is_download else ()
    return frozenset((*tokens, *PROXY_VARIABLES))


def _no_proxy() -> dict[str, str]:
    """Exclude this machine from a proxy that the environment sets."""
    names = [name for name in os.environ.get("NO_PROXY", "").split(",") if name]
    local = ",".join(dict.fromkeys([*names, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": local, "no_proxy": local}


def run_name(config: EvaluateConfig) -> str:
    """Name an evaluation after its adapter, model or endpoint."""
    sources = [*as_list(config.adapter or []), config.model, config.endpoint]
    first = next((str(source) for source in sources if source), "models")
    return f"evaluate-{short_name(first).rpartition('/')[2].lower()}"


def outputs(config: EvaluateConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the output of an evaluation: the report."""
    return {"report": lambda folder: str(folder / "report.html")}


def forecast(config: EvaluateConfig, machine: Machine, before: RunInputs) -> Forecast | None:  # noqa: ARG001
    """Estimate the memory of the server that answers; the questions are small."""
    context = config.max_model_len or 4096
    return forecast_of_shape(
        before,
        disk=lambda _shape: 0.0,
        memory=lambda shape: (
            serving_need(
                shape, storage=config.dtype, context=context, concurrency=config.batch_size
            ).device
        ),
    )


EVALUATE: Task[EvaluateConfig] = Task(
    name="evaluate",
    discriminator="task",
    default="evaluate",
    config_classes={"evaluate": EvaluateConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    effects=effects_of,
    check=check,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    outputs=outputs,
    forecast=forecast,
)
