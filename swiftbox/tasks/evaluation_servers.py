"""The servers of an evaluation: started, asked, and stopped; what the evaluation tools get."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from swiftbox.config.deploy import DeployConfig, ServingEngine
from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import as_list
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.evaluation import endpoint, tool_requests
from swiftbox.evaluation.benchmarks import select_benchmarks
from swiftbox.evaluation.candidates import ServedWeights
from swiftbox.evaluation.jobs import Job
from swiftbox.evaluation.run_jobs import AnsweringServer, ToolCall, run_jobs
from swiftbox.models.gguf_files import holds_gguf
from swiftbox.models.location import short_name
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import STOP
from swiftbox.security.paths import file_name, inside
from swiftbox.security.secrets import HUB_TOKENS, PROXY_VARIABLES
from swiftbox.serving.client import Endpoint
from swiftbox.tasks.evaluate_rows import OwnRows
from swiftbox.tasks.temporary_server import temporary_server

SERVERS = "servers"
"""Folder in the run folder with one run folder per server."""


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


@dataclass(frozen=True)
class Evaluation:
    """A run: its settings, its folder, and the user's own rows, which come first."""

    config: EvaluateConfig
    folder: Path
    emit: Emit
    own_rows: OwnRows | None

    def score_all(self, groups: Sequence[ServedWeights], scores: Sequence[Job]) -> bool:
        """Do everything that has no result yet; return False if a stop was requested."""
        if self.own_rows is not None and not self.own_rows.prepare(groups, self._machine()):
            return False
        for served in groups:
            candidates = served.candidates
            open_jobs = [job for job in scores if job.candidate in candidates and not job.is_done]
            asks_rows = self.own_rows is not None and bool(
                self.own_rows.open_candidates(candidates)
            )
            if (open_jobs or asks_rows) and not self._score(served, open_jobs):
                return False
        return self.own_rows is None or self.own_rows.judge()

    def _machine(self) -> Machine:
        return Machine.from_dict(read_record(self.folder / run_folder.MACHINE))

    def _score(self, served: ServedWeights, open_jobs: Sequence[Job]) -> bool:
        """Score the candidates of one server; return False if a stop was requested."""
        config, emit = self.config, self.emit
        name = short_name(served.model) if served.model else "endpoint"
        server_folder = inside(self.folder / SERVERS, file_name(name), source="model")
        if config.backend == "lm_eval":
            device = BACKENDS[self._machine().backend].torch_device
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
            remote = endpoint.RemoteServer(config.endpoint)
            answering = Answering(config.endpoint, key, remote)
            return self._ask(served, open_jobs, answering, server_folder)
        emit(events.STAGE, name="model", detail=served.model)
        deployment, machine = server_config(config, served), self._machine()
        with temporary_server(server_folder, deployment, machine, stop=STOP.requested) as server:
            if server is None:
                return False
            if comparison := run_folder.newest_event(server_folder, events.PARITY):
                emit(events.PARITY, models=comparison["models"])
            emit(events.SERVED, url=server.url, models=list(server.models), engine=config.engine)
            answering = Answering(endpoint.base_of(server.url), server.key, server.run)
            return self._ask(served, open_jobs, answering, server_folder)

    def _ask(
        self,
        served: ServedWeights,
        open_jobs: Sequence[Job],
        answering: Answering,
        server_folder: Path,
    ) -> bool:
        """Ask a server about the user's rows, then the questions of the benchmarks."""
        server = Endpoint.at(answering.address, answering.key)
        address = replace(server, timeout_s=tool_requests.ANSWER_TIMEOUT_S)
        if self.own_rows is not None and not self.own_rows.answer(
            served, address, answering.server
        ):
            return False
        if not open_jobs:
            return True
        call = _call(self.config, open_jobs, server_folder, answering)
        return run_jobs(call, open_jobs, self.emit, server=answering.server, stop=STOP.requested)


@dataclass(frozen=True)
class Answering:
    """A server that answers: its address with /v1, its key, and whether it lives."""

    address: str
    key: str | None
    server: AnsweringServer


def _call(
    config: EvaluateConfig,
    open_jobs: Sequence[Job],
    server_folder: Path,
    answering: Answering,
) -> ToolCall:
    keys = {
        tool_requests.KEY: answering.key,
        tool_requests.JUDGE_KEY: endpoint.key_of(config.judge_key_env, os.environ, "judge_key_env"),
    }
    env = {name: key for name, key in keys.items() if key}
    return ToolCall(
        "evalscope",
        tool_requests.evalscope_request(config, answering.address, open_jobs),
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
