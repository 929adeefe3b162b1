"""The files of a tokenizer, read without loading it: vocabulary, settings, chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.files import read_json, reason_of, write_json
from swiftbox.language import home, text
from swiftbox.models.metadata import MetadataError, read_object, shown
from swiftbox.security.regular import read_regular, require_regular
from swiftbox.security.templates import LARGEST_BYTES

TOKENIZER, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"

REMEMBERED_BYTES = 2**20
"""Larger files take tenths of a second to parse; what was found in them is remembered."""

MODELS = ("BPE", "WordPiece", "WordLevel", "Unigram")


@dataclass(frozen=True)
class FileProblem:
    """What is wrong with one file of a model's folder."""

    path: Path
    reason: str


def tokenizer_problems(folder: Path, rows: int | None) -> Iterator[FileProblem]:
    """Yield what is wrong with the files of a tokenizer; `rows` are those of the embedding."""
    path = folder / TOKENIZER
    if _exists(path):
        try:
            largest = _largest_id(path)
        except MetadataError as error:
            yield FileProblem(path, str(error))
        else:
            if rows is not None and largest >= rows:
                yield FileProblem(path, _too_large(largest, rows))
    if _exists(folder / SETTINGS):
        yield from _settings_problems(folder / SETTINGS)
    if _exists(folder / TEMPLATE):
        yield from _template_problems(folder / TEMPLATE)
    yield from _special_files(folder)


def _special_files(folder: Path) -> Iterator[FileProblem]:
    """Yield the other entries of a folder that a library would read without an end."""
    for path in sorted(folder.iterdir()):
        if path.name in (TOKENIZER, SETTINGS, TEMPLATE) or not path.exists():
            continue
        try:
            require_regular(path)
        except OSError as error:
            yield FileProblem(path, reason_of(error))


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _too_large(largest: int, rows: int) -> str:
    return text(
        f"its vocabulary has the id {largest}, but the model's embedding has {rows} rows",
        f"其词表含 id {largest}，而模型的嵌入只有 {rows} 行",
    )


def _largest_id(path: Path) -> int:
    """Return the largest id of a vocabulary without added tokens; raise MetadataError.

    Added tokens may exceed the embedding: some published models have special tokens that only
    their multimodal versions use.
    """
    status = path.stat() if path.exists() else None
    if status is None or status.st_size < REMEMBERED_BYTES:
        return _vocabulary_size(read_object(path)) - 1
    key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode()
    import hashlib

    memory = home() / "tokenizers" / f"{hashlib.sha256(key).hexdigest()}.json"
    largest = read_json(memory).get("largest_id")
    if type(largest) is not int:
        largest = _vocabulary_size(read_object(path)) - 1
        _remember(memory, largest)
    return largest


def _remember(memory: Path, largest: int) -> None:
    """Store what was found; a folder that cannot be written only costs time."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, {"largest_id": largest})
    except OSError:
        return


def _vocabulary_size(tokenizer: Mapping[str, Any]) -> int:
    """Return the largest id of a tokenizer.json plus 1; raise MetadataError if it is invalid."""
    model = tokenizer.get("model")
    if not isinstance(model, dict):
        raise MetadataError(text("it has no model", "缺少 model"))
    kind, vocabulary = model.get("type"), model.get("vocab")
    if kind is not None and kind not in MODELS:
        known = ", ".join(MODELS)
        raise MetadataError(
            text(
                f"model.type is {shown(kind)}, not one of {known}",
                f"model.type 为 {shown(kind)}，应为以下之一：{known}",
            )
        )
    added = tokenizer.get("added_tokens")
    if added is not None and not _are_tokens(added):
        raise MetadataError(text("added_tokens is not a list of tokens", "added_tokens 格式有误"))
    if isinstance(vocabulary, list):  # Unigram: pairs of a token and its score
        if not all(isinstance(entry, list) and len(entry) == 2 for entry in vocabulary):
            raise MetadataError(text("model.vocab has invalid entries", "model.vocab 含无效条目"))
        return len(vocabulary)
    if not isinstance(vocabulary, dict):
        raise MetadataError(text("it has no vocabulary (model.vocab)", "缺少词表（model.vocab）"))
    if not all(type(number) is int and number >= 0 for number in vocabulary.values()):
        raise MetadataError(text("model.vocab has invalid ids", "model.vocab 含无效的 id"))
    _require_known_merges(model, vocabulary)
    if not vocabulary and not added:
        raise MetadataError(text("its vocabulary is empty", "词表为空"))
    return max(vocabulary.values(), default=-1) + 1


def _require_known_merges(model: Mapping[str, Any], vocabulary: Mapping[str, int]) -> None:
    """Raise MetadataError for a merge of BPE whose parts or result are not in the vocabulary."""
    merges = model.get("merges")
    if merges is None:
        return
    prefix = len(model.get("continuing_subword_prefix") or "")
    for merge in merges if isinstance(merges, list) else [merges]:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        is_pair = (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)
        )
        if not is_pair:
            raise MetadataError(text("model.merges has invalid entries", "model.merges 含无效条目"))
        for token in (*pair, pair[0] + pair[1][prefix:]):
            if token not in vocabulary:
                message = f"the token {shown(token)} of model.merges is not in its vocabulary"
                raise MetadataError(text(message, f"model.merges 中的 {shown(token)} 不在词表中"))


def _are_tokens(added: object) -> bool:
    return isinstance(added, list) and all(
        isinstance(token, dict)
        and isinstance(token.get("content"), str)
        and type(token.get("id")) is int
        for token in added
    )


# ---- settings and template

TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


def _settings_problems(path: Path) -> Iterator[FileProblem]:
    try:
        settings = read_object(path)
    except MetadataError as error:
        yield FileProblem(path, str(error))
        return
    checks: Mapping[str, tuple[type, ...]] = {
        "tokenizer_class": (str,),
        "chat_template": (str, list, dict),
        "added_tokens_decoder": (dict,),
        "model_max_length": (int, float),
        "auto_map": (dict, list),
        "extra_special_tokens": (list, dict),
        **dict.fromkeys(TOKEN_KEYS, (str, dict)),
    }
    for key, kinds in checks.items():
        value = settings.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            yield FileProblem(path, _unusable(key, value))
    templates = settings.get("chat_template")
    entries = templates if isinstance(templates, list) else []
    if not all(isinstance(entry, dict) and {"name", "template"} <= set(entry) for entry in entries):
        yield FileProblem(path, _unusable("chat_template", templates))


def _unusable(key: str, value: object) -> str:
    return text(f"{key} cannot be {shown(value)}", f"{key} 不能为 {shown(value)}")


def _template_problems(path: Path) -> Iterator[FileProblem]:
    try:
        read_regular(path, LARGEST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text at byte {error.start}", f"位置 {error.start} 处不是 UTF-8 文本"
        yield FileProblem(path, text(*message))
    except OSError as error:
        yield FileProblem(path, reason_of(error))


# ---- generation_config.json

GENERATION = "generation_config.json"
NUMBERS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "typical_p")


def generation_problems(folder: Path) -> Iterator[FileProblem]:
    """Yield what is wrong with generation_config.json, from which the server takes its defaults."""
    path = folder / GENERATION
    if not _exists(path):
        return
    try:
        settings = read_object(path)
    except MetadataError as error:
        yield FileProblem(path, str(error))
        return
    for key in NUMBERS:
        value = settings.get(key)
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < float("inf"):
            yield FileProblem(path, _unusable(key, value))
    for key in ("eos_token_id", "bos_token_id", "pad_token_id"):
        value = settings.get(key)
        numbers = value if isinstance(value, list) else [value]
        if not all(number is None or type(number) is int for number in numbers):
            yield FileProblem(path, _unusable(key, value))
