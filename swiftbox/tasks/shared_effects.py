"""The effects that tasks share: the code of models, keys and requests, caches and folders."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.groups import MODEL_KEYS, as_list
from swiftbox.config.references import is_reference, texts_in
from swiftbox.config.task import TaskConfig
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.models.adapters import ADAPTER_CONFIG, base_of, read_adapter
from swiftbox.models.cache_layouts import CacheName, cache_root
from swiftbox.models.location import find_folder, looks_like_path
from swiftbox.security.paths import SHA1_LENGTH, fault_of_digest
from swiftbox.security.regular import read_regular
from swiftbox.security.secrets import Send, origin
from swiftbox.tasks.effects import Effect, Effects
from swiftbox.tasks.sending import downloading_hubs, sends

MAX_SHOWN_FILES = 3
MAX_CONFIG_BYTES = 16 * 2**20

CONFIGS = ("config.json", "*_config.json")
"""Files of a model that may name Python files, also those of another repository."""


def effects_of(config: TaskConfig, *, code: Iterable[Effect] = ()) -> Effects:
    """Return the effects that tasks share; `code` is what only this task executes."""
    return Effects(
        (*model_code(config), *code),
        tuple(dict.fromkeys((*_secrets(config), *_contents(config)))),
        (*run_folder_outside(config), *_caches(config)),
    )


# ---- code


def model_code(config: TaskConfig) -> Iterator[Effect]:
    """Yield the code of each model that a config trusts; a model without code has none."""
    if getattr(config, "trust_remote_code", False):
        yield from code_of_models(config)


def code_of_models(config: TaskConfig) -> Iterator[Effect]:
    """Yield the code of each model that a config names, as if the config trusted it."""
    names = [name for key in MODEL_KEYS for name in _names(config, key)]
    bases = [model for name in names for model in _adapted_model(name)]
    for name in dict.fromkeys((*names, *bases)):
        folder = _local_folder(name)
        if folder is None:
            yield _code_of_repository(config, name)
            continue
        files, named = sorted(folder.rglob("*.py")), _named_code(folder)
        if files or named:
            yield _code_of_folder(folder, files, named)


def _names(config: TaskConfig, key: str) -> list[str]:
    """Return the models and adapters that a setting names; at an endpoint `model` is none."""
    if key == "model" and config.task in ("chat", "evaluate") and getattr(config, "endpoint", None):
        return []
    value = getattr(config, key, None)
    values = value.values() if isinstance(value, Mapping) else as_list(value or [])
    names = [str(name) for name in values if "://" not in str(name)]
    if config.task == "chat":
        from swiftbox.tasks.participants import BASE_WORD

        return [name for name in names if name != BASE_WORD]
    return names


def _adapted_model(name: str) -> Iterator[str]:
    """Yield the base of an adapter on this machine."""
    folder = _local_folder(name)
    if folder is not None and (folder / ADAPTER_CONFIG).is_file():
        with contextlib.suppress(UserError, OSError):  # the check reports a broken adapter
            yield base_of(read_adapter(folder)).name


def _local_folder(name: str) -> Path | None:
    if is_reference(name) or not looks_like_path(name):
        return None
    with contextlib.suppress(UserError, OSError, ValueError):
        return find_folder(name)
    return None


def _named_code(folder: Path) -> list[str]:
    """Return the values of `auto_map` in the configs of a model: `[OWNER/NAME--]FILE.CLASS`."""
    named: dict[str, None] = {}
    for file in sorted(file for pattern in CONFIGS for file in folder.glob(pattern)):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = json.loads(read_regular(file, MAX_CONFIG_BYTES))
            named.update(dict.fromkeys(_texts_of_auto_maps(content)))
    return list(named)


def _texts_of_auto_maps(content: Any) -> Iterator[str]:
    """Yield the texts in every `auto_map`: the configs of the parts of a model lie inside its."""
    if isinstance(content, list):
        for item in content:
            yield from _texts_of_auto_maps(item)
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from texts_in(value) if key == "auto_map" else _texts_of_auto_maps(value)


def _code_of_folder(folder: Path, files: list[Path], named: list[str]) -> Effect:
    shown = ", ".join(str(file.relative_to(folder)) for file in files[:MAX_SHOWN_FILES])
    if len(files) > MAX_SHOWN_FILES:
        rest = len(files) - MAX_SHOWN_FILES
        shown += text(f" and {rest} more", f" 等另外 {rest} 个")
    elsewhere = sorted({name.partition("--")[0] for name in named if "--" in name})
    what = text(
        f"the Python files of {folder}" + (f" ({shown})" if shown else ""),
        f"{folder} 中的 Python 文件" + (f"（{shown}）" if shown else ""),
    )
    if elsewhere:
        names = ", ".join(elsewhere)
        what += text(f", and those of {names} on the hub", f"，以及社区上 {names} 中的")
    subject = f"code {folder} {' '.join(sorted(named))}"
    keys = ("trust_remote_code",)
    return Effect(keys, what, True, subject, tuple(files), is_fixed=not elsewhere)


def _code_of_repository(config: TaskConfig, name: str) -> Effect:
    revision = getattr(config, "revision", None)
    place = f"{name}@{revision}" if revision else name
    what = text(f"the Python files of {place}", f"{place} 中的 Python 文件")
    mirrors = " ".join(as_list(getattr(config, "endpoint", None) or []))
    subject = f"code {getattr(config, 'hub', '')} {place} {mirrors}".rstrip()
    return Effect(
        ("trust_remote_code",),
        what,
        needs_consent=True,
        subject=subject,
        is_fixed=not fault_of_digest(str(revision), SHA1_LENGTH),
    )


# ---- what is sent


def _secrets(config: TaskConfig) -> Iterator[Effect]:
    """Yield the secrets that a run sends; a token that belongs elsewhere needs consent."""
    try:
        listed = sends(config)
    except UserError:  # the check reports what is wrong with the participants
        return
    for send in listed:
        keys = _keys_of(config, send)
        what = text(
            f"${send.variable} to {send.host} ({send.purpose})",
            f"${send.variable} 发往 {send.host}（{send.purpose}）",
        )
        if not send.is_encrypted:
            what += text(", readable on the way", "，途中可被读取")
        asks = send.needs_consent or not send.is_encrypted
        yield Effect(keys, what, asks, f"send {send.variable} {send.host}")


def _keys_of(config: TaskConfig, send: Send) -> tuple[str, ...]:
    """Return the settings that name a variable and the server that gets it."""
    for key, server in (("api_key_env", "endpoint"), ("judge_key_env", "judge_endpoint")):
        address = str(getattr(config, server, None) or "")
        if getattr(config, key, None) == send.variable and origin(address) == send.host:
            return (key, server)
    return ("report_to",) if hasattr(config, "report_to") else ("endpoint",)


def _contents(config: TaskConfig) -> Iterator[Effect]:
    """Yield the servers that get questions, answers or requests of a run."""
    for key in ("endpoint", "judge_endpoint", "model", "compare"):
        value = getattr(config, key, None)
        for address in as_list(value or []) if not isinstance(value, Mapping) else value.values():
            if not isinstance(address, str) or is_reference(address):
                continue
            if key in ("model", "compare") and "://" not in address:
                continue
            with contextlib.suppress(ValueError):
                host = origin(address)
                yield Effect((key,), text(f"requests to {host}", f"请求发往 {host}"))


# ---- where a run writes


def _caches(config: TaskConfig) -> Iterator[Effect]:
    """Yield the caches of the hubs that a run downloads from."""
    if getattr(config, "local_dir", None):
        return  # the files go there
    hubs: dict[str, CacheName] = {"modelscope": "modelscope", "huggingface": "huggingface"}
    with contextlib.suppress(UserError, OSError):
        for hub in sorted(downloading_hubs(config)):
            if hub in hubs:
                yield Effect(
                    ("hub",),
                    text(
                        f"{cache_root(hubs[hub])} (downloads)", f"{cache_root(hubs[hub])}（下载）"
                    ),
                )


def folder_written(key: str, folder: str) -> Effect:
    """Return the effect of writing into a folder that a setting names."""
    return Effect((key,), str(Path(folder).expanduser().absolute()))


def run_folder_outside(config: TaskConfig) -> tuple[Effect, ...]:
    """Return the run folder as an effect if it is outside the current folder."""
    if config.output_dir == "auto":
        return ()
    folder = Path(config.output_dir).expanduser().absolute()
    inside = folder.resolve().is_relative_to(Path.cwd().resolve())
    return () if inside else (folder_written("output_dir", config.output_dir),)


def reward_code(names: Any) -> Iterator[Effect]:
    """Yield the files of reward functions, which are executed."""
    if not names:
        return
    from swiftbox.core.losses.reward_functions import REWARDS

    for name in as_list(names):
        path, _, function = str(name).rpartition(":")
        if name in REWARDS or not path:
            continue
        file = Path(path).expanduser().absolute()
        what = text(f"{file}, function {function}", f"{file} 中的函数 {function}")
        yield Effect(("reward_funcs",), what, True, f"code {file}:{function}", (file,))
