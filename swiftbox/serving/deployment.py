"""Run a deployment with its engine: check parity, report the address, serve, stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices import host
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.engines.llama_cpp import server_executable
from swiftbox.errors import RunError, UserError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.adapters import read_adapter
from swiftbox.models.gguf_files import parts_of, require_gguf_file
from swiftbox.models.gguf_headers import read_headers
from swiftbox.models.token_ids import token_ids, tokens_of_settings
from swiftbox.models.unservable_adapters import largest_rank
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.heavy_imports import heavy_imports
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import STOP
from swiftbox.security.children import child_environment
from swiftbox.security.secrets import is_loopback
from swiftbox.serving import llama_cpp
from swiftbox.serving.address import local_url
from swiftbox.serving.server_process import ServerProgram, watch
from swiftbox.templates.closing import GENERATION_FILE, added_ends, write_end_ids
from swiftbox.templates.variables import KEY, served_variables, written

if TYPE_CHECKING:  # only vLLM is told which parsers it needs
    from swiftbox.serving.vllm_parsers import ChosenParsers

GENERATION = "generation"
"""The folder of generation settings in a run folder."""

PROGRAM_STOP_S = 30.0
"""How long another program's server may finish its answers; then it is killed."""

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


@dataclass(frozen=True)
class Deployment:
    """A settled config, local folders, names, and the callbacks of the run."""

    config: DeployConfig
    folder: Path
    """The run folder."""
    key: str | None
    name: str
    model: Path
    adapters: Mapping[str, Path]
    emit: Callable[..., None]
    started: Callable[..., None]
    """Receives the address once the server answers."""

    @property
    def machine(self) -> Machine:
        """Return the machine that the run was planned for."""
        return Machine.from_dict(read_record(self.folder / run_folder.MACHINE))

    def variables(self) -> dict[str, dict[str, Any]]:
        """Return the template variables of each served model, by name."""
        settings = self.config.chat_template_kwargs
        return {
            name: served_variables(folder, self.model, settings)
            for name, folder in {self.name: self.model, **self.adapters}.items()
        }

    def common_variables(self) -> dict[str, Any]:
        """Return the variables for a server that has the same for all its models.

        They are those of the first adapter, if there are adapters.
        """
        by_name = self.variables()
        return next((by_name[name] for name in self.adapters), by_name[self.name])

    def generation(self) -> Path | None:
        """Write the model's generation settings with the ends that trainings of adapters added.

        For a server that reads one file for all its models. Returns its folder; None if none did.
        """
        target = self.folder / GENERATION
        target.mkdir(exist_ok=True)
        (target / GENERATION_FILE).unlink(missing_ok=True)  # of an earlier start, other adapters
        write_end_ids(target, added_ends(self.adapters.values()), self.model)
        return target if (target / GENERATION_FILE).is_file() else None

    def note_variables(self) -> None:
        """Report the template variables that are not set by the config, but by a training."""
        models: dict[str, list[str]] = {}
        for name, variables in self.variables().items():
            if variables != self.config.chat_template_kwargs:
                models.setdefault(written(variables), []).append(name)
        for variables_text, names in models.items():
            listed = ", ".join(names)
            message = text(
                f"{variables_text}: as in the training of {listed}; requests may set others",
                f"{variables_text}：与 {listed} 训练时相同；请求可另行指定",
            )
            self.emit(events.NOTE, key=KEY, message=message)

    def warn(self, message: str) -> None:
        """Report something that the user should look at."""
        self.emit(events.WARNING, message=message)

    def verify(self, url: str, generate: Any = None) -> None:
        """Check the server against the training; raise ResultError for a difference."""
        if self.config.parity == "off":
            return
        from swiftbox.serving import parity
        from swiftbox.serving.client import Endpoint

        self.emit(events.STAGE, name="parity", detail="")
        folders = {self.name: self.model, **self.adapters}
        config = self.config
        is_llama_cpp = config.engine == "llama_cpp"
        if is_llama_cpp and not any((self.model / name).is_file() for name in TOKENIZERS):
            self.emit(events.NOTE, key="parity", message=_nothing_to_compare())
            return
        common = config.engine in ("vllm", "llama_cpp")
        parity.require_parity(
            parity.ParityTarget(
                self.name,
                folders,
                "float16" if is_llama_cpp else config.dtype,
                config.trust_remote_code,
                self.common_variables() if common else config.chat_template_kwargs,
            ),
            parity.RunningServer(
                Endpoint.at(url, self.key), STOP.requested, generate, is_llama_cpp
            ),
            strict=config.parity == "strict",
            emit=self.emit,
        )


def _nothing_to_compare() -> str:
    return text(
        "the folder has no tokenizer files beside the GGUF file: nothing is compared",
        "目录中除 GGUF 文件外没有分词器文件：未做核对",
    )


def _other_variables(name: str, trained: Mapping[str, Any], common: Mapping[str, Any]) -> str:
    none = text("none", "无")
    in_training, in_server = written(trained) or none, written(common) or none
    return text(
        f"{name} was trained with chat_template_kwargs {in_training}, but vllm renders for all "
        f"models with {in_server}: name them in the requests to {name}",
        f"{name} 训练时的 chat_template_kwargs 为 {in_training}，而 vllm 对所有模型使用 "
        f"{in_server}：请在对 {name} 的请求中写明",
    )


def run_deployment(deployment: Deployment) -> Mapping[str, Any]:
    """Serve until a stop is requested; return the totals."""
    deployment.note_variables()
    engines = {"vllm": _vllm, "llama_cpp": _llama_cpp}
    return engines.get(deployment.config.engine, _builtin)(deployment)


def _builtin(deployment: Deployment) -> Mapping[str, Any]:
    from swiftbox.serving.address import listen_on

    with heavy_imports():
        from swiftbox.serving.builtin_server import ServedFolders, ServerCallbacks, serve

    config = deployment.config
    device = BACKENDS[deployment.machine.backend].torch_device
    served = ServedFolders(deployment.model, deployment.name, deployment.adapters, device)
    STOP.can_save.set()  # from here on the server handles a stop

    def on_ready(url: str, limits: Any) -> None:
        size = {"max_model_len": limits.length, "slots": limits.rows}
        deployment.started(url, page=f"{url}/", **size)

    with listen_on(config.host, config.port) as listening:
        callbacks = ServerCallbacks(STOP.requested, on_ready, deployment.verify, deployment.warn)
        return serve(config, served, listening, callbacks, key=deployment.key)


def _vllm(deployment: Deployment) -> Mapping[str, Any]:
    from swiftbox.engines.vllm import server_command, vllm_folder
    from swiftbox.serving import vllm
    from swiftbox.serving.address import free_port

    config = deployment.config
    port = free_port(config.host, config.port)
    ranks = tuple(largest_rank(read_adapter(path)) for path in deployment.adapters.values())
    program = server_command(vllm_folder())
    variables = deployment.common_variables()
    for name, trained in deployment.variables().items():
        if name in deployment.adapters and trained != variables:
            deployment.warn(_other_variables(name, trained, variables))
    target = vllm.VllmTarget(
        program,
        deployment.model,
        deployment.name,
        deployment.adapters,
        ranks,
        port,
        variables,
        deployment.generation(),
        _parsers(deployment, variables),
    )
    server = ServerProgram(
        "vllm",
        vllm.command(config, target),
        vllm.environment(
            child_environment(), deployment.machine.backend, config, key=deployment.key
        ),
        local_url(config.host, port),
        deployment.folder / run_folder.LOG,
    )
    _watch(deployment, server, stop=STOP.requested)
    return {}


def _parsers(deployment: Deployment, variables: Mapping[str, Any]) -> ChosenParsers:
    """Return vLLM's parsers for the answers of the model; report those and what is not read."""
    from swiftbox.serving.vllm_parsers import NO_PARSERS, choose_parsers
    from swiftbox.templates.folder import own_template

    try:
        template = own_template(deployment.model, variables)
    except UserError:  # the model of a base has none; completions need none
        return NO_PARSERS
    vocabulary = {*token_ids(deployment.model), *tokens_of_settings(deployment.model)}
    model_type = str(read_json(deployment.model / "config.json").get("model_type"))
    parsers = choose_parsers(template, vocabulary, model_type)
    for message in parsers.lines():
        deployment.emit(events.NOTE, key="engine", message=message)
    return parsers


def _llama_cpp(deployment: Deployment) -> Mapping[str, Any]:
    config = deployment.config
    file = require_gguf_file(deployment.model)
    headers = read_headers(file)
    weights_bytes = sum(part.stat().st_size for part in parts_of(file))
    free = max(0.0, host.memory()[1] - weights_bytes)
    limits = llama_cpp.server_limits(headers.metadata, config, llama_cpp.CACHE_SHARE * free)
    if limits.slots < config.max_concurrency:
        deployment.warn(_fewer_slots(limits.slots, config.max_concurrency))
    with heavy_imports():
        from swiftbox.serving.forwarding import private_socket

    with private_socket() as socket:
        target = llama_cpp.LlamaTarget(
            server_executable(),
            file,
            deployment.name,
            socket,
            limits,
            host.cores(),
            deployment.common_variables(),
            llama_cpp.sampling_options(
                read_json(deployment.model / GENERATION_FILE), headers.metadata
            ),
        )
        _watch_behind_ours(deployment, target)
    return {}


def _watch_behind_ours(deployment: Deployment, target: llama_cpp.LlamaTarget) -> None:
    """Run llama.cpp's server behind our listener, which ends first."""
    from swiftbox.serving.address import listen_on
    from swiftbox.serving.chat_page import PageDefaults
    from swiftbox.serving.forwarding import ForwardedServer, forwarding
    from swiftbox.serving.guards import LARGEST_BODY, AccessRules

    config, limits = deployment.config, target.limits
    page = PageDefaults(max_model_len=limits.length)
    server = ForwardedServer(target.socket, limits.slots, config.max_queue, page)
    access = AccessRules(
        deployment.key, LARGEST_BODY, is_loopback(config.host), config.allowed_origins or ()
    )
    with (
        listen_on(config.host, config.port) as listening,
        forwarding(server, listening, access, stop=STOP.requested) as listener,
    ):
        program = ServerProgram(
            "llama_cpp",
            llama_cpp.command(target),
            llama_cpp.environment(child_environment()),
            listener.url,
            deployment.folder / run_folder.LOG,
            is_forwarded=True,
        )
        details = {"max_model_len": limits.length, "slots": limits.slots}
        page_url = f"{listener.url}/"
        _watch(deployment, program, stop=listener.ended, page=page_url, **details)


def _fewer_slots(slots: int, requested: int) -> str:
    return text(
        f"max_concurrency: {requested} answers at the same time do not fit in the memory; {slots}",
        f"max_concurrency：内存不足以同时生成 {requested} 个回答，改为 {slots} 个",
    )


def _watch(
    deployment: Deployment, program: ServerProgram, *, stop: threading.Event, **details: Any
) -> None:
    """Run the server of another program; report its address once it answers as trained."""
    STOP.can_save.set()

    def on_ready() -> None:
        try:
            deployment.verify(program.url)
        except RunError:
            if not STOP.requested.is_set():
                raise
        if not STOP.requested.is_set():
            deployment.started(program.url, **details)

    watch(program, stop=stop, started=on_ready, drain_s=PROGRAM_STOP_S)
