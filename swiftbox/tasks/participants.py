"""Who answers in a chat: from what people name to servers, their own started and ended with it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from swiftbox.config.chat import ChatConfig
from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, RunError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.adapters import CONFIG, base_of, look
from swiftbox.models.location import find_folder, locate, short_name
from swiftbox.runs import folder as run_folder
from swiftbox.runs.supervise import OnEvent
from swiftbox.serving.client import Endpoint, Refused
from swiftbox.serving.talking import Side
from swiftbox.tasks.temporary_server import serving

BASE_WORD = "base"
"""Names the base of what is talked to."""

SERVED_AS = "swiftbox-base"
"""What a server of one's own calls the model; adapters have the names that people see."""


@dataclass(frozen=True)
class Target:
    """What one side is, as far as it is known before anything starts."""

    name: str
    model: str | None = None
    """Folder or id of a model, or the name at an endpoint; None there: what it serves."""
    adapter: str | None = None
    url: str | None = None
    key_env: str | None = None
    hub: str | None = None
    revision: str | None = None
    wants_base: bool = False
    weights: str | None = None
    """Folder of what a deployment of ours serves: it says how it wants to be sampled."""


def targets(config: ChatConfig) -> list[Target]:
    """Return who is to answer; raise ConfigError for names that mean nothing."""
    first = _first(config)
    if config.compare is None:
        return [first]
    if config.compare == BASE_WORD:
        return [_base_of(first), first]
    other = named(config.compare, key="compare", hub=config.hub)
    same = other.name == first.name
    return [replace(other, name=f"{other.name}-2") if same else other, first]


def _first(config: ChatConfig) -> Target:
    if config.endpoint is not None:
        name = config.model or config.endpoint
        own = _ours_at(config.endpoint)
        key_env = config.api_key_env or (own.key_env if own else None)
        weights = own.weights if own else None
        return Target(name, config.model, url=config.endpoint, key_env=key_env, weights=weights)
    if config.adapter is not None:
        found = named(config.adapter, key="adapter", hub=config.hub)
        found = replace(found, adapter=found.adapter or found.model)
        if config.model is None:
            if found.url is None and found.adapter == found.model:
                raise _without_base(config.adapter)
            return found
        return replace(found, model=config.model, hub=None, revision=None)
    if config.model is None:
        raise ConfigError(
            text("model: who is to answer?", "model：与谁对话？"),
            hint=text(
                "give model, adapter or endpoint: a run, a folder, an id or a URL",
                "请给出 model、adapter 或 endpoint：运行、目录、id 或 URL",
            ),
        )
    return named(config.model, key="model", hub=config.hub)


def _without_base(adapter: str) -> ConfigError:
    return ConfigError(
        text(
            f"model: is required: which base {adapter} was trained on is not known here",
            f"model：必填：尚不知道 {adapter} 的基座",
        ),
        hint=text(
            "give its base: model=...; or give as adapter a LoRA run, or a folder with "
            "adapter_config.json",
            "请给出其基座：model=...；或将 adapter 设为 LoRA 运行或含 adapter_config.json 的目录",
        ),
    )


def named(name: str, *, key: str, hub: str) -> Target:
    """Return what a run, a folder, an id or a URL means; raise ConfigError for anything else."""
    if "://" in name:
        return _ours_at(name) or Target(name, url=name)
    served = _deployment(name)
    if served is not None:
        return served
    folder = locate(name, key=key, hub=hub)
    if folder is None:
        return Target(name, name)
    called = short_name(str(folder))
    if (folder / CONFIG).is_file():
        base = base_of(look(folder))
        return Target(called, base.name, str(folder), hub=base.hub, revision=base.revision)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            text(f"{folder} holds no model", f"{folder} 中没有模型"),
            hint=text(
                "give a run that has ended, or a folder with config.json",
                "请给出已完成的运行，或含 config.json 的目录",
            ),
        )
    return Target(called, str(folder))


def _deployment(name: str) -> Target | None:
    """Return the address of a deployment that runs; None for anything else."""
    try:
        run = run_folder.find(name)
    except RunError:
        return None
    url = run.state.get("url") if run.is_active else None
    if not url:
        return None
    from swiftbox.tasks.load import load

    config = load(run.folder / run_folder.SETTLED).config
    key_env = config.api_key_env if isinstance(config, DeployConfig) else None
    weights = config.model if isinstance(config, DeployConfig) else None
    return Target(run.name, url=str(url), key_env=key_env, weights=weights)


def _ours_at(url: str) -> Target | None:
    """Return the deployment of ours that has this address; None for a stranger's."""
    wanted = url.rstrip("/").removesuffix("/v1")
    for run in run_folder.runs():
        if run.state.get("url") == wanted and run.is_active:
            return _deployment(str(run.folder))
    return None


def _base_of(one: Target) -> Target:
    if one.url is not None:
        return replace(one, name=BASE_WORD, model=None, wants_base=True)
    if one.adapter is None or one.model is None:
        raise ConfigError(
            text(
                f"compare: {one.name} is no adapter: what would be its base?",
                f"compare：{one.name} 不是适配器，没有基座可比",
            ),
            hint=text("compare it with a run, a folder or an id", "请与运行、目录或 id 比较"),
        )
    return replace(one, name=BASE_WORD, adapter=None)


@contextlib.contextmanager
def answering(
    config: ChatConfig,
    folder: Path,
    machine: Machine,
    *,
    stop: threading.Event,
    on_event: OnEvent | None = None,
) -> Iterator[list[Side]]:
    """Have everybody ready who is to answer; servers of one's own end with the block.

    Yields nobody when `stop` came first.
    """
    wanted = targets(config)
    urls: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for number, deployed in enumerate(deployments(config, wanted)):
            one = stack.enter_context(
                serving(
                    folder / f"server-{number + 1}",
                    deployed,
                    machine,
                    stop=stop,
                    on_event=on_event,
                )
            )
            if one is None:
                yield []
                return
            urls[deployed.model or ""] = one.url
        yield [_side(config, one, urls) for one in wanted]


def deployments(config: ChatConfig, wanted: list[Target]) -> list[DeployConfig]:
    """Return the servers to start: one for each base, with all adapters that are wanted of it."""
    local = [one for one in wanted if one.url is None and one.model is not None]
    adapters: dict[str, dict[str, str]] = {str(one.model): {} for one in local}
    for one in local:
        if one.adapter is not None:
            adapters[str(one.model)][one.name] = one.adapter
    first = {str(one.model): one for one in reversed(local)}
    return [_deployed(config, first[model], own) for model, own in adapters.items()]


def _deployed(config: ChatConfig, one: Target, adapters: dict[str, str]) -> DeployConfig:
    said = {
        "model": one.model,
        "adapters": adapters or None,
        "served_model_name": SERVED_AS,
        "hub": one.hub or config.hub,
        "revision": config.revision or one.revision,
        "trust_remote_code": config.trust_remote_code,
        "engine": "builtin",
        "port": 0,
        "parity": "off",  # one user alone is served; a deployment is held against its training
    }
    return DeployConfig.model_validate(said)


def _side(config: ChatConfig, one: Target, urls: dict[str, str]) -> Side:
    if one.url is None:
        heat = config.temperature
        if heat is None and not _has_settings(one.model or ""):
            heat = 0.0
        at = Endpoint.at(urls[one.model or ""])
        return Side(one.name, at, SERVED_AS if one.adapter is None else one.name, heat)
    key = os.environ.get(one.key_env, "") if one.key_env else ""
    if one.key_env and not key:
        raise ConfigError(
            text(f"api_key_env: {one.key_env} is not set", f"api_key_env：{one.key_env} 未设置"),
            hint=f"export {one.key_env}=...",
        )
    at = Endpoint.at(one.url, key or None)
    heat = config.temperature
    if heat is None and one.weights is not None and not _has_settings(one.weights):
        heat = 0.0
    return Side(one.name, at, one.model or served_by(at, base=one.wants_base), heat)


def _has_settings(model: str) -> bool:
    """Tell whether a model says how it wants to be sampled."""
    folder = find_folder(model)
    said = read_json(folder / "generation_config.json") if folder else {}
    return folder is None or "temperature" in said or bool(said.get("do_sample"))


def served_by(at: Endpoint, *, base: bool) -> str:
    """Return whom an endpoint serves: its first adapter where it has any, else its first model."""
    try:
        found = at.ask("/v1/models").get("data") or []
        names = [(str(one["id"]), one.get("parent")) for one in found]
    except (Refused, KeyError, TypeError) as error:
        raise RunError(
            text(f"{at.url} does not answer: {error}", f"{at.url} 无应答：{error}"),
            hint=text(
                "is it running? `swiftbox runs list` shows deployments with their health",
                "它在运行吗？`swiftbox runs list` 显示部署及其状态",
            ),
        ) from None
    wanted = [name for name, parent in names if bool(parent) is not base]
    every = wanted or [name for name, _ in names]
    if not every:
        raise RunError(text(f"{at.url} serves no model", f"{at.url} 没有模型"))
    return every[0]
