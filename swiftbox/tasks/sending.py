"""Which secrets a run sends where, and which secrets the processes of a run need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from swiftbox.config.groups import DATASET_KEYS, MODEL_KEYS, DatasetSource, as_list
from swiftbox.config.own_rows import ROW_WORDS
from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.references import is_reference, is_served_address
from swiftbox.config.task import TaskConfig
from swiftbox.data.source import parse_sources
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.models.adapters import ADAPTER_CONFIG, base_of, read_adapter
from swiftbox.models.location import find_folder, looks_like_path
from swiftbox.security.secrets import (
    HUB_TOKENS,
    PROXY_VARIABLES,
    REPORTER_SECRETS,
    Send,
    origin,
)

if TYPE_CHECKING:  # a training needs neither servers nor benchmarks
    from swiftbox.config.chat import ChatConfig
    from swiftbox.config.evaluate import EvaluateConfig

REPORTERS = {
    "wandb": ("WANDB_BASE_URL", "https://api.wandb.ai"),
    "swanlab": ("SWANLAB_API_HOST", "https://api.swanlab.cn"),
}
"""For each value of `report_to`: the variable that names its server, and its usual server."""


def sends(config: TaskConfig) -> list[Send]:
    """Return the secrets that a run of a config sends to servers that the config names.

    The token of a hub goes to that hub only (security/secrets.py) and is not listed.
    """
    if isinstance(config, PipelineConfig):
        listed = [send for step in config.steps for send in sends(step.config)]
    else:
        listed = list(_reports(config))
        if config.task == "evaluate":
            listed = [*_sends_of_evaluation(cast("EvaluateConfig", config))]
        elif config.task == "chat":
            listed = [*_sends_of_chat(cast("ChatConfig", config))]
    return list(dict.fromkeys(listed))


def _sends_of_evaluation(config: EvaluateConfig) -> Iterator[Send]:
    if config.endpoint and config.api_key_env and not is_reference(config.endpoint):
        purpose = text("endpoint: answers the questions", "endpoint：回答评测题")
        yield Send(config.api_key_env, origin(config.endpoint), purpose)
    if config.judge_endpoint and config.judge_key_env and not is_reference(config.judge_endpoint):
        purpose = text("judge_endpoint: judges the answers", "judge_endpoint：评判回答")
        yield Send(config.judge_key_env, origin(config.judge_endpoint), purpose)


def _sends_of_chat(config: ChatConfig) -> Iterator[Send]:
    """Yield the keys of the servers of a chat; a deployment's record names its key."""
    from swiftbox.tasks.participants import participant_sources

    for source in participant_sources(config):
        # An output is the address of a server that the same pipeline starts on this machine.
        if source.url and source.key_env and not is_served_address(source.url):
            purpose = text("endpoint: answers the prompts", "endpoint：回答提问")
            yield Send(source.key_env, origin(source.url), purpose)


def _reports(config: TaskConfig) -> Iterator[Send]:
    for name in as_list(getattr(config, "report_to", None) or []):
        if name in REPORTERS:
            variable, usual = REPORTERS[name]
            host = origin(os.environ.get(variable) or usual)
            purpose = text(f"report_to: {name} gets the metrics", f"report_to：{name} 接收指标")
            yield Send(REPORTER_SECRETS[name][0], host, purpose, is_own_service=True)


def needed_secrets(config: TaskConfig) -> frozenset[str]:
    """Return the variables whose secrets the child of a run needs; reads folders on this machine.

    A run that downloads needs the token of its hub, and those of proxies.
    """
    if isinstance(config, PipelineConfig):
        return frozenset().union(*(needed_secrets(step.config) for step in config.steps))
    names = {send.variable for send in sends(config)}
    key = getattr(config, "api_key_env", None)
    if config.task in ("deploy", "chat") and key:
        names.add(key)
    for reporter in as_list(getattr(config, "report_to", None) or []):
        names.update(REPORTER_SECRETS.get(reporter, ()))
    names.update(hub_secrets(config))
    if names or getattr(config, "endpoint", None) or getattr(config, "judge_endpoint", None):
        names.update(PROXY_VARIABLES)
    return frozenset(names)


def hub_secrets(config: TaskConfig) -> frozenset[str]:
    """Return the variables with the tokens of the hubs from which a run downloads."""
    hubs = set(downloading_hubs(config))
    if not hubs:
        return frozenset()
    from swiftbox.hub.download import catalogue_twin

    for name, hub in _models(config, str(getattr(config, "hub", "local"))):
        if hub in hubs and catalogue_twin(name, hub):  # the other hub is asked if this one fails
            hubs.update(HUB_TOKENS)
    return frozenset(name for hub in hubs for name in HUB_TOKENS.get(hub, ()))


def downloading_hubs(config: TaskConfig) -> frozenset[str]:
    """Return the hubs from which a run downloads, as its config names them."""
    hub = str(getattr(config, "hub", "local"))
    if hub == "local":
        return frozenset()
    hubs = {hub} if _downloads_benchmarks(config) or any(_datasets(config)) else set()
    return frozenset(hubs.union(model_hub for _, model_hub in _models(config, hub)))


def _models(config: TaskConfig, hub: str) -> Iterator[tuple[str, str]]:
    """Yield the models that are ids, with their hubs; bases of adapters if no model is set."""
    for key in MODEL_KEYS:
        for name in _texts(getattr(config, key, None)):
            if not looks_like_path(name):
                yield name, hub
            elif key == "compare" or not getattr(config, "model", None):
                yield from _base_model(name, hub)


def _base_model(adapter: str, hub: str) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(UserError, OSError):
        folder = find_folder(adapter)
        if folder is not None and (folder / ADAPTER_CONFIG).is_file():
            model = base_of(read_adapter(folder))
            if not looks_like_path(model.name):
                yield model.name, model.hub or hub


def _datasets(config: TaskConfig) -> Iterator[str]:
    entries = [
        entry.model_dump() if isinstance(entry, DatasetSource) else entry
        for key in DATASET_KEYS
        for entry in as_list(getattr(config, key, None) or [])
        if not is_reference(entry) and not (key == "test_dataset" and entry in ROW_WORDS)
    ]
    with contextlib.suppress(UserError):
        for source in parse_sources(entries, columns={}):
            is_path = looks_like_path(source.path)
            if not is_path and not Path(source.path).expanduser().exists():
                yield source.path


def _texts(value: Any) -> Iterator[str]:
    values = value.values() if isinstance(value, dict) else as_list(value or [])
    yield from (item for item in values if isinstance(item, str) and not is_reference(item))


def _downloads_benchmarks(config: TaskConfig) -> bool:
    if config.task != "evaluate":
        return False
    from swiftbox.evaluation.benchmarks import select_benchmarks

    evaluation = cast("EvaluateConfig", config)
    selected = select_benchmarks(as_list(evaluation.benchmarks), evaluation.benchmark_dir)
    return any(benchmark.folder is None for benchmark in selected)
