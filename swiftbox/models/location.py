"""From what people write to what it means: a folder, a run, an adapter, or an id on a hub.

Every task that takes a model or an adapter asks here, and no network is asked. A name is a path if
it looks like one (`looks_like_path`); a path that does not exist is an error at once, and the hint
names what is spelled like it. Only `owner/name` can be an id on a hub, whatever folders are here:
`misspelled` tells whether it is more likely a path with a typing error, which is asked once, before
a new run is planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from swiftbox.config.references import is_reference, references_in
from swiftbox.data.readers import DATA_SUFFIXES
from swiftbox.errors import ConfigError, RunError, UserError, raise_together
from swiftbox.files import explain_refused_paths
from swiftbox.formatting import did_you_mean, near
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.adapters import ADAPTER_CONFIG, Adapter, read_adapter
from swiftbox.models.cache_layouts import folders_in
from swiftbox.runs import folder as run_folder

FILE_SUFFIXES = frozenset(
    {*DATA_SUFFIXES, ".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt"}
    | {".yaml", ".yml", ".jinja"}
)
"""Suffixes of files; ids on a hub have dots too (Qwen2.5-7B), but none of these behind them."""

RUNS = "runs"
"""Where runs are recorded by default: `runs/NAME` is never an id on a hub."""

MAX_SUGGESTIONS = 3


def locate(name: str, *, key: str, hub: str = "modelscope") -> Path | None:
    """Return the folder that a name means; None for an id on a hub or a pipeline's reference.

    Raises ConfigError, under the setting's `key`, for a path or run that does not exist, a file,
    and a run without a result.
    """
    if is_reference(name):
        return None
    folder = find_folder(name)
    if folder is None:
        if Path(name).expanduser().is_file():
            raise _is_file(name, key)
        if hub == "local" or looks_like_path(name):
            raise _missing(name, key)
        return None
    if not folder.is_dir():
        raise _without_result(folder.parent, key)
    return folder


def locate_recorded(name: str, *, key: str, hub: str) -> Path | None:
    """Return what `locate` does for a name in a settled config, whose folders are absolute.

    There `owner/name` is an id even if such a folder appeared since.
    """
    if hub != "local" and not looks_like_path(name):
        return None
    return locate(name, key=key, hub=hub)


def locate_adapter(name: str, *, key: str = "adapter", hub: str = "modelscope") -> Adapter | None:
    """Return the adapter that a name means; None where `locate` returns None.

    Raises ConfigError for a folder without an adapter, or with one that does not change weights.
    """
    folder = locate(name, key=key, hub=hub)
    return None if folder is None else read_adapter(folder)


def require_all(names: Iterable[tuple[str, str | None]], *, hub: str) -> None:
    """Raise one ConfigError for all of the settings' names that `locate` refuses."""
    errors: list[UserError] = []
    for key, name in names:
        try:
            if name:
                locate(name, key=key, hub=hub)
        except UserError as error:
            errors.append(error)
    raise_together(errors)


def find_folder(name: str) -> Path | None:
    """Return the folder that a path or a run's name means; None if there is none.

    For a run it is the folder of its result, which need not exist yet. Raises UserError for a
    folder that may not be read.
    """
    with explain_refused_paths():
        return _find_readable_folder(name)


def _find_readable_folder(name: str) -> Path | None:
    folder = Path(name).expanduser()
    if not folder.is_dir() and "/" not in name:
        try:
            folder = run_folder.find(name).folder
        except RunError:
            return None
    if not folder.is_dir():
        return None
    is_run = (folder / run_folder.SETTLED).is_file() and not (folder / ADAPTER_CONFIG).is_file()
    return (folder / run_folder.MODEL if is_run else folder).resolve()


def looks_like_path(name: str) -> bool:
    """Tell a path from an id on a hub: an id is `owner/name`, or `owner/name:subfolder`.

    A leading dot, slash or tilde, no slash or several, a file's suffix, and the folder of runs
    each mean a path. Only the spelling counts: a recorded id stays one when a folder appears.
    """
    repository = name.partition(":")[0]
    if name.startswith((".", "/", "~")) or repository.count("/") != 1:
        return True
    if Path(repository).suffix.lower() in FILE_SUFFIXES:
        return True
    return repository.partition("/")[0] == RUNS


def owner_folder(name: str) -> Path | None:
    """Return the folder here that is called like the owner in an id; None if there is none.

    Also None for a path, for what exists, and for an id of the catalogue.
    """
    repository = _repository(name)
    if looks_like_path(name) or Path(repository).exists():
        return None
    if catalogue.model(repository) is not None or catalogue.dataset(repository) is not None:
        return None
    folder = Path(repository.partition("/")[0])
    return folder if folder.is_dir() else None


def misspelled(name: str) -> list[str]:
    """Return the files and folders that an id is more likely meant to name, the nearest first."""
    folder = owner_folder(name)
    if folder is None:
        return []
    entries = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    return [str(folder / entry) for entry in near(_repository(name).partition("/")[2], entries)]


def _repository(name: str) -> str:
    return name.partition("#")[0].partition(":")[0]


def misspelled_error(name: str, key: str, hub: str, suggestions: list[str]) -> ConfigError:
    """Return the error for an id that is more likely a path with a typing error."""
    first = name.partition("/")[0]
    return ConfigError(
        text(f"{key}: no folder {name}", f"{key}：目录 {name} 不存在"),
        hint=did_you_mean(*suggestions)
        + "\n"
        + text(
            f"{first}/ is a folder here; if you mean the id on {hub}, run "
            f"`swiftbox download {name}` and give the folder that it prints",
            f"本机有目录 {first}/；若指 {hub} 上的 id，请先运行 "
            f"`swiftbox download {name}`，再给出其输出的目录",
        ),
    )


def short_name(name: str) -> str:
    """Return what people call a model: an id as it is, a folder's name, a run's name."""
    if is_reference(name):
        return next(references_in(name)).step
    folder = find_folder(name)
    if folder is None:
        path = Path(name).expanduser()
        return path.resolve().name if path.exists() else name
    is_result = folder.name == run_folder.MODEL and (folder.parent / run_folder.SETTLED).is_file()
    return run_folder.run_name(folder.parent) if is_result else folder.name


# ---- what is wrong with a name, and what is near it


def _is_file(name: str, key: str) -> ConfigError:
    parent = Path(name).expanduser().resolve().parent
    return ConfigError(
        text(f"{key}: {name} is a file", f"{key}：{name} 是文件"),
        hint=text(f"give its folder: {key}={parent}", f"请给出其目录：{key}={parent}"),
    )


def _without_result(run: Path, key: str) -> ConfigError:
    return ConfigError(
        text(f"{key}: the run {run.name} has no result yet", f"{key}：运行 {run.name} 尚无结果"),
        hint=text(
            f"wait for it to finish, or resume it: swiftbox runs resume {run}",
            f"请等待其完成，或继续该运行：swiftbox runs resume {run}",
        ),
    )


def _missing(name: str, key: str) -> ConfigError:
    message = text(f"{key}: no folder {name}", f"{key}：目录 {name} 不存在")
    if "/" not in name:
        message = text(
            f"{key}: no folder or run named {name}", f"{key}：没有名为 {name} 的目录或运行"
        )
    return ConfigError(message, hint=_missing_hint(name, key))


def _missing_hint(name: str, key: str) -> str:
    hints = []
    if suggestions := list(_suggestions(name, key)):
        hints.append(did_you_mean(*suggestions))
    if not looks_like_path(name):  # then hub: local is what makes it an error
        hints.append(text("set hub: modelscope to fetch that id", "设 hub: modelscope 以下载该 id"))
    if not hints:
        hints.append(_usage(key))
    return "\n".join(hints)


def _usage(key: str) -> str:
    if key.startswith("adapter"):
        return text(
            "give a finished LoRA run (`swiftbox runs list`), a folder with adapter_config.json, "
            "or an id on the hub",
            "请给出已完成的 LoRA 运行（`swiftbox runs list`）、含 adapter_config.json 的目录，"
            "或社区 id",
        )
    return text(
        "give a folder with config.json, a finished run (`swiftbox runs list`), or a hub id such "
        "as Qwen/Qwen3-0.6B",
        "请给出含 config.json 的目录、已完成的运行（`swiftbox runs list`），"
        "或社区 id（如 Qwen/Qwen3-0.6B）",
    )


def _suggestions(name: str, key: str) -> Iterator[str]:
    """Yield runs and folders spelled like a name that hold what the setting takes, then ids."""
    required_file = ADAPTER_CONFIG if key.startswith("adapter") else "config.json"
    folders: set[Path] = set()
    for suggestion in (*_similar_runs(name), *_similar_folders(name)):
        folder = find_folder(suggestion)
        if folder is None or folder in folders or len(folders) == MAX_SUGGESTIONS:
            continue
        if (folder / required_file).is_file():
            folders.add(folder)
            yield suggestion
    if not folders and required_file != ADAPTER_CONFIG and "/" not in name:
        yield from catalogue.similar(name)[:MAX_SUGGESTIONS]


def _similar_runs(name: str) -> list[str]:
    """Return the folders of runs that begin with a name, or are spelled like it."""
    parts = [part for part in Path(name).parts if part != run_folder.MODEL]
    last = parts[-1] if parts else name
    folders = [run.folder for run in run_folder.runs()]
    names = [folder.name for folder in folders if folder.name.startswith(last)]
    names += near(last, {folder.name for folder in folders})
    return [
        _as_written(folder)
        for run_name in dict.fromkeys(names)
        for folder in folders
        if folder.name == run_name
    ]


def _as_written(folder: Path) -> str:
    current = Path.cwd()
    return str(folder.relative_to(current)) if folder.is_relative_to(current) else str(folder)


def _similar_folders(name: str) -> list[str]:
    """Return existing folders whose path is spelled like a name, part by part."""
    path = Path(name).expanduser()
    candidates = [Path(path.anchor)]
    for part in path.relative_to(path.anchor).parts:
        matching: list[Path] = []
        for parent in candidates:
            if (parent / part).is_dir():
                matching.append(parent / part)
            else:
                names = near(part, [folder.name for folder in folders_in(parent)])
                matching += [parent / similar for similar in names]
        candidates = matching[:MAX_SUGGESTIONS]
    return [str(folder) for folder in candidates]
