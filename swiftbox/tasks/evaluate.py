"""task: evaluate. Base, tuned and quantized asked the same questions, and what can be told."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import as_list
from swiftbox.config.references import is_reference
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError
from swiftbox.evaluation import endpoint, local_data, tools
from swiftbox.evaluation.asking import Call, ask
from swiftbox.evaluation.benchmarks import Means, chosen, findings, require_reachable
from swiftbox.evaluation.candidates import (
    Candidate,
    Served,
    candidates,
    quantized,
    servers,
    with_absolute_paths,
)
from swiftbox.evaluation.results import Job, jobs
from swiftbox.evaluation.writing import write_report
from swiftbox.files import read_json, write_json
from swiftbox.fit.forecast import Before, Forecast, of_shape
from swiftbox.fit.serving import serving as serving_need
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.location import short_name
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.stop import STOP
from swiftbox.tasks.checks import OnRemark, report
from swiftbox.tasks.deploy import DEPLOY
from swiftbox.tasks.task import Output, Resolved, Task
from swiftbox.tasks.temporary_server import serving

SERVERS = "servers"
"""In the run folder: one run folder for each server."""

WITH_CHOICES = ("ceval", "mmlu")
"""Benchmarks whose rows we can read ourselves, and check before anything starts."""


def resolve(config: EvaluateConfig, machine: Machine) -> Resolved:
    """Settle engine and number type as a deployment's; refuse settings that exclude each other."""
    _require_one_source(config)
    if config.endpoint is not None:
        return Resolved(config, (), 1, {})
    served = Served(config.model or "", config.revision, ())
    found = DEPLOY.resolve(server_config(config, served), machine)
    settled = found.config.model_dump(include={"engine", "dtype"})
    return Resolved(config.model_copy(update=settled), found.reasons, 1, found.env)


def _require_one_source(config: EvaluateConfig) -> None:
    weights = [key for key in ("model", "adapter", "compare") if getattr(config, key)]
    if config.endpoint is not None and weights:
        raise ConfigError(
            text(
                f"endpoint: its models are asked, and {', '.join(weights)} names others",
                f"endpoint：评测该服务上的模型，但 {', '.join(weights)} 指定了其他模型",
            ),
            hint=text("leave one of them out", "请去掉其中之一"),
        )
    if config.endpoint is not None and config.backend == "lm_eval":
        raise ConfigError(
            text("backend: lm_eval wants the weights", "backend: lm_eval 需要模型权重"),
            hint=text("set model: instead of endpoint:", "请设 model: 而不是 endpoint:"),
        )
    if (config.judge_endpoint is None) != (config.judge_model is None):
        raise ConfigError(
            text(
                "judge_endpoint and judge_model belong together",
                "judge_endpoint 与 judge_model 须同时设置",
            )
        )


def server_config(config: EvaluateConfig, served: Served) -> DeployConfig:
    """Return the deployment of one set of weights with the adapters on it."""
    return DeployConfig(
        model=served.model or None,
        adapters=served.adapters or None,
        served_model_name=served.base_name if served.model else None,
        hub=config.hub,
        revision=served.revision,
        trust_remote_code=config.trust_remote_code,
        dtype=config.dtype,
        engine=config.engine,
        parity="warn",  # what it serves is what is measured, and differences are told
        port=0,
        max_concurrency=config.batch_size,
        max_model_len=config.max_model_len,
        tensor_parallel_size=config.tensor_parallel_size,
    )


def check(config: EvaluateConfig, on_remark: OnRemark) -> None:
    """Raise UserError for all that is known to be wrong before a model is loaded."""
    asked = chosen(as_list(config.benchmarks), config.benchmark_dir)
    engine = "endpoint" if config.endpoint else config.engine
    means = Means(config.backend, engine, config.judge_endpoint is not None)
    report("benchmarks", findings(asked, means), on_remark)
    for one in asked:
        if one.folder is not None and (config.backend == "lm_eval" or one.row.name in WITH_CHOICES):
            local_data.questions(one.folder)
    endpoint.key_of(config.judge_key_env, os.environ, "judge_key_env")
    if config.endpoint is not None:
        if not is_reference(config.endpoint):
            candidates(endpoint.asked_there(config, os.environ))
    elif config.model is not None:  # else it is the base of an adapter that has yet to be made
        who = candidates(config)
        if config.backend == "lm_eval":
            _require_whole(who)
        for served in servers(who):
            DEPLOY.check(server_config(config, served), on_remark)
    require_reachable(asked, config.hub)


def _require_whole(who: Sequence[Candidate]) -> None:
    """Raise ConfigError for quantized weights, which the engine of lm_eval cannot read."""
    found = [f"{one.name} ({quantized(one)})" for one in who if quantized(one)]
    if found:
        raise ConfigError(
            text(
                f"backend: lm_eval reads no quantized weights: {', '.join(found)}",
                f"backend: lm_eval 不能读取量化权重：{', '.join(found)}",
            ),
            hint=text("set backend: evalscope", "设 backend: evalscope"),
        )


def engines(config: EvaluateConfig, machine: Machine) -> tuple[str, ...]:
    """Return the engine that asks, and that which serves."""
    if config.endpoint is not None or config.backend == "lm_eval":
        return (config.backend,)
    served = DEPLOY.engines(server_config(config, Served("", None, ())), machine)
    return (config.backend, *served)


def run(config: EvaluateConfig, folder: Path, emit: Emit) -> Path | None:
    """Ask everything that has no answer yet, then write the report; return the run folder."""
    began = time.monotonic()
    config = with_absolute_paths(config)
    if config.endpoint is not None:
        config = endpoint.asked_there(config, os.environ)
    asked = chosen(as_list(config.benchmarks), config.benchmark_dir)
    who = candidates(config)
    groups = _fetched(config, who, emit) if config.endpoint is None else [Served("", None, who)]
    write_json(folder / run_folder.INPUTS, {"candidates": [vars(one) for one in who]})
    every = jobs(who, asked, folder)
    STOP.can_save.set()  # results are written whole, one by one: a stop loses no more than one
    emit(
        events.EVALUATING,
        candidates=[one.name for one in who],
        benchmarks=[one.name for one in asked],
    )
    for served in groups:
        todo = [one for one in every if one.candidate in served.candidates and not one.is_done]
        if todo and not _asked(config, served, todo, folder, emit):
            done = sum(one.is_done for one in every)
            emit(events.STOPPED, step=None, scored=done, of=len(every))
            return None
    seconds = round(time.monotonic() - began, 1)
    found = write_report(config, every, folder, seconds=seconds)
    emit(events.REPORT, **found)
    emit(events.DONE, seconds=seconds, report=str(folder / "report.html"), scored=len(every))
    return folder


def _fetched(config: EvaluateConfig, who: Sequence[Candidate], emit: Emit) -> list[Served]:
    """Return the servers, with folders in the place of ids; candidates keep their names."""
    here: dict[str, str] = {}

    def fetch(name: str, revision: str | None) -> str:
        if name not in here:
            emit(events.STAGE, name="fetch", detail=name)
            fetched = fetch_model(name, hub=config.hub, revision=revision, emit=emit)
            here[name] = str(fetched.folder)
        return here[name]

    return [
        Served(
            fetch(one.model, one.revision),
            None,
            one.candidates,
            {name: fetch(path, None) for name, path in one.adapters.items()},
        )
        for one in servers(tuple(who))
    ]


def _asked(
    config: EvaluateConfig, served: Served, todo: Sequence[Job], folder: Path, emit: Emit
) -> bool:
    """Ask what one server answers; return False when a stop was asked for."""
    machine = Machine.from_dict(read_json(folder / run_folder.MACHINE))
    place = (
        folder
        / SERVERS
        / (short_name(served.model) if served.model else "endpoint").replace("/", "-")
    )
    if config.backend == "lm_eval":
        device = BACKENDS[machine.backend].torch_device
        emit(events.STAGE, name="model", detail=served.model)
        call = Call("lm_eval", tools.by_likelihood(config, served, todo, device), place)
        return ask(call, todo, emit, server=None, stop=STOP.requested)
    if config.endpoint is not None:
        call = _call(config, config.endpoint, todo, place)
        remote = endpoint.Remote(config.endpoint)
        return ask(call, todo, emit, server=remote, stop=STOP.requested)
    emit(events.STAGE, name="model", detail=served.model)
    with serving(place, server_config(config, served), machine, stop=STOP.requested) as one:
        if one is None:
            return False
        said = [a for a in run_folder.read_events(place)[0] if a.get("event") == events.PARITY]
        if said:
            emit(events.PARITY, models=said[-1]["models"])
        emit(events.SERVED, url=one.url, models=list(one.models), engine=config.engine)
        call = _call(config, endpoint.base_of(one.url), todo, place)
        return ask(call, todo, emit, server=one.running, stop=STOP.requested)


def _call(config: EvaluateConfig, address: str, todo: Sequence[Job], place: Path) -> Call:
    keys = {
        tools.KEY: endpoint.key_of(config.api_key_env, os.environ, "api_key_env"),
        tools.JUDGE_KEY: endpoint.key_of(config.judge_key_env, os.environ, "judge_key_env"),
    }
    env = {name: key for name, key in keys.items() if key}
    return Call("evalscope", tools.by_answers(config, address, todo), place, env | _no_proxy())


def _no_proxy() -> dict[str, str]:
    """Keep requests to this machine off a proxy, whatever else goes through it."""
    names = [one for one in os.environ.get("NO_PROXY", "").split(",") if one]
    local = ",".join(dict.fromkeys([*names, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": local, "no_proxy": local}


def run_name(config: EvaluateConfig) -> str:
    """Name an evaluation by its adapter, or by its model."""
    named = [*as_list(config.adapter or []), config.model, config.endpoint]
    first = next((str(one) for one in named if one), "models")
    return f"evaluate-{short_name(first).rpartition('/')[2].lower()}"


def outputs(config: EvaluateConfig) -> Mapping[str, Output]:  # noqa: ARG001 - as every task
    """Name the report."""
    return {"report": lambda folder: str(folder / "report.html")}


def forecast(config: EvaluateConfig, machine: Machine, before: Before) -> Forecast | None:  # noqa: ARG001
    """Tell what the server takes that answers; the questions are small."""
    context = config.max_model_len or 4096
    return of_shape(
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
    check=check,
    with_absolute_paths=with_absolute_paths,
    engines=engines,
    outputs=outputs,
    forecast=forecast,
)
