"""The participants of a chat: what the names that users type mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swiftbox.config.chat import ChatConfig
from swiftbox.config.deploy import DeployConfig
from swiftbox.errors import ConfigError, RunError, UserError, raise_together
from swiftbox.language import text
from swiftbox.models.adapters import ADAPTER_CONFIG, base_of, read_adapter
from swiftbox.models.gguf_files import is_gguf_folder
from swiftbox.models.location import locate, short_name
from swiftbox.models.text_models import require_writes_text
from swiftbox.runs import folder as run_folder
from swiftbox.serving.address import is_this_machine

BASE_WORD = "base"
"""The name of the first participant's base."""


@dataclass(frozen=True)
class ParticipantSource:
    """A participant before any server starts: a model, an adapter, or a model at an address."""

    name: str
    model: str | None = None
    """Folder or id of a model, or its name at `url`; None there means the model it serves."""
    adapter: str | None = None
    url: str | None = None
    key_env: str | None = None
    hub: str | None = None
    revision: str | None = None
    is_base: bool = False
    """Whether the base is meant where a server also has adapters."""
    weights: str | None = None
    """The model folder of one of our deployments; its generation config sets the sampling."""
    process: int | None = None
    """The process of one of our deployments; its key is sent only if that still listens."""


def participant_sources(config: ChatConfig) -> list[ParticipantSource]:
    """Return the participants of a chat; raise ConfigError for names that cannot be resolved."""
    _require_names(config)
    first = _first(config)
    if config.compare is None:
        return [first]
    if config.compare == BASE_WORD:
        return [_base_of(first), first]
    other = resolve_participant(config.compare, key="compare", hub=config.hub)
    if other.name == first.name:
        other = replace(other, name=f"{other.name}-2")
    return [other, first]


def _require_names(config: ChatConfig) -> None:
    """Raise one error for all names that cannot be resolved."""
    names = {"compare": config.compare if config.compare != BASE_WORD else None}
    if config.endpoint is None:
        names |= {"model": config.model, "adapter": config.adapter}
    errors: list[UserError] = []
    for key, name in names.items():
        try:
            if name is not None:
                resolve_participant(name, key=key, hub=config.hub)
        except UserError as error:
            errors.append(error)
    raise_together(errors)


def _first(config: ChatConfig) -> ParticipantSource:
    if config.endpoint is not None:
        return _at_endpoint(config, config.endpoint)
    if config.adapter is not None:
        return _with_adapter(config, config.adapter)
    if config.model is None:
        raise ConfigError(
            text("model: no participant is given", "model：未指定对话对象"),
            hint=text(
                "give model, adapter or endpoint: a run, a folder, an id or a URL",
                "请给出 model、adapter 或 endpoint：运行、目录、id 或 URL",
            ),
        )
    return resolve_participant(config.model, key="model", hub=config.hub)


def _at_endpoint(config: ChatConfig, endpoint: str) -> ParticipantSource:
    deployment = _deployment_at(endpoint)
    return ParticipantSource(
        config.model or endpoint,
        config.model,
        url=endpoint,
        key_env=config.api_key_env or (deployment.key_env if deployment else None),
        weights=deployment.weights if deployment else None,
        process=deployment.process if deployment else None,
    )


def _with_adapter(config: ChatConfig, adapter: str) -> ParticipantSource:
    source = resolve_participant(adapter, key="adapter", hub=config.hub)
    source = replace(source, adapter=source.adapter or source.model)
    if config.model is not None:
        return replace(source, model=config.model, hub=None, revision=None)
    if source.url is None and source.adapter == source.model:
        raise _unknown_base(adapter)
    return source


def _unknown_base(adapter: str) -> ConfigError:
    return ConfigError(
        text(
            f"model: required, because the base of {adapter} is unknown",
            f"model：必填，因为 {adapter} 的基座未知",
        ),
        hint=text(
            "give its base: model=...; or set adapter to a LoRA run, or to a folder with "
            "adapter_config.json",
            "请给出其基座：model=...；或将 adapter 设为 LoRA 运行或含 adapter_config.json 的目录",
        ),
    )


def resolve_participant(name: str, *, key: str, hub: str) -> ParticipantSource:
    """Resolve a run, folder, id or URL; raise ConfigError for anything else."""
    if "://" in name:
        return _deployment_at(name) or ParticipantSource(name, url=name)
    deployment = _deployment(name)
    if deployment is not None:
        return deployment
    folder = locate(name, key=key, hub=hub)
    if folder is None:
        return ParticipantSource(name, name)
    require_writes_text(folder, key)
    label = short_name(str(folder))
    if (folder / ADAPTER_CONFIG).is_file():
        base_model = base_of(read_adapter(folder))
        return ParticipantSource(
            label, base_model.name, str(folder), hub=base_model.hub, revision=base_model.revision
        )
    if not (folder / "config.json").is_file() and not is_gguf_folder(folder):
        raise ConfigError(
            text(f"no model in {folder}", f"{folder} 中没有模型"),
            hint=text(
                "give a finished run, or a folder with config.json",
                "请给出已完成的运行，或含 config.json 的目录",
            ),
        )
    return ParticipantSource(label, str(folder))


def _deployment(name: str) -> ParticipantSource | None:
    """Return the address of a running deployment; None for anything else."""
    try:
        run = run_folder.find(name)
    except RunError:
        return None
    url = run.url
    if not url:
        return None
    from swiftbox.tasks.load import load

    config = load(run.folder / run_folder.SETTLED).config
    if not isinstance(config, DeployConfig):  # a pipeline that serves
        return ParticipantSource(run.name, url=str(url))
    # A record names the variable of the key: it is sent to a server of this machine only.
    key_env = config.api_key_env if is_this_machine(str(url)) else None
    return ParticipantSource(
        run.name,
        url=str(url),
        key_env=key_env,
        weights=config.model,
        process=int(run.state.get("pid") or 0),
    )


def _deployment_at(url: str) -> ParticipantSource | None:
    """Return our running deployment at an address; None if it is not one of ours."""
    address = url.rstrip("/").removesuffix("/v1")
    for run in run_folder.runs():
        if run.url == address:
            return _deployment(str(run.folder))
    return None


def _base_of(source: ParticipantSource) -> ParticipantSource:
    if source.url is not None:
        return replace(source, name=BASE_WORD, model=None, is_base=True)
    if source.adapter is None or source.model is None:
        raise ConfigError(
            text(
                f"compare: {source.name} is not an adapter, so it has no base",
                f"compare：{source.name} 不是适配器，没有基座可比",
            ),
            hint=text("compare it with a run, a folder or an id", "请与运行、目录或 id 比较"),
        )
    return replace(source, name=BASE_WORD, adapter=None)
