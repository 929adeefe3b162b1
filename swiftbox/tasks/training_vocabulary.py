"""New tokens of a training: read from their file, looked up, and refused where they cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swiftbox.config.combinations import PLAIN, SHARDED
from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.config.vocabulary import require_tokens
from swiftbox.errors import ConfigError
from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.models.metadata import MetadataError, read_object
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.security.regular import read_regular
from swiftbox.tasks.checks import OnRemark

KEYS = ("new_tokens", "new_special_tokens")
EMBEDDINGS = frozenset(("embed_tokens", "wte", "word_embeddings", "embed_in"))
HEADS = frozenset(("lm_head", "embed_out", "output_layer"))
"""Names of the modules whose rows stand for tokens, in the families that there are."""

MAX_FILE_BYTES = 16 * 2**20
LISTED = 5


def tokens_from_files(config: TrainConfig) -> dict[str, Any]:
    """Return the keys that name a file, with the tokens in it; raise ConfigError for a bad file."""
    named = {key: getattr(config, key) for key in KEYS}
    return {key: _read(key, Path(value)) for key, value in named.items() if isinstance(value, str)}


def _read(key: str, path: Path) -> list[str]:
    try:
        content = read_regular(path.expanduser(), MAX_FILE_BYTES).decode("utf-8-sig")
        return require_tokens([line for line in content.splitlines() if line.strip()])
    except OSError as error:
        reason = reason_of(error)
    except UnicodeDecodeError:
        reason = text("it is not UTF-8 text", "不是 UTF-8 文本")
    except ValueError as error:
        reason = str(error)
    raise ConfigError(
        text(f"{key}: {path}: {reason}", f"{key}：{path}：{reason}"),
        hint=text("give a .txt file with one token a line", "请给出每行一个词元的 .txt 文件"),
    )


def require_tokens_fit(config: TrainConfig) -> None:
    """Raise ConfigError if a training cannot add tokens, with every reason."""
    reasons = list(_conflicts(config)) if config.adds_tokens else []
    if reasons:
        key = "new_tokens" if config.new_tokens else "new_special_tokens"
        lines = [text(f"{key}: {reason}", f"{key}：{reason}") for reason, _ in reasons]
        raise ConfigError("\n".join(lines), hint="\n".join(fix for _, fix in reasons))


def _conflicts(config: TrainConfig) -> Iterator[tuple[str, str]]:
    method = METHODS[config.model_dump()["stage"]]
    has_teacher = config.has_teacher
    if method.head == "score" or method.reward_functions is not None or has_teacher:
        yield (
            text(
                f"has not been verified with stage: {method.name}",
                f"与 stage: {method.name} 的组合未经验证",
            ),
            text("add the tokens in an earlier stage: sft", "请在此前的 stage: sft 中新增"),
        )
    if config.distributed in SHARDED:
        yield _unverified("distributed", config.distributed, "distributed: ddp")
    if config.tuner_type in FULL_TUNERS:
        return
    if config.adapter is not None:
        yield (
            text("cannot be added to an adapter", "不能加到已有的适配器上"),
            text(
                "merge the adapter first: `swiftbox new merge -o merge.yaml adapter=...`",
                "请先合并适配器：`swiftbox new merge -o merge.yaml adapter=...`",
            ),
        )
    yield from _conflicts_of_modules(config)
    if config.init_lora_weights not in PLAIN:
        yield _unverified("init_lora_weights", config.init_lora_weights, "init_lora_weights: true")
    if config.optim == "lora_fa":
        yield _unverified("optim", config.optim, "optim: auto")
    if config.lora_plus_lr_ratio is not None:
        ratio = f"{config.lora_plus_lr_ratio:g}"
        yield _unverified("lora_plus_lr_ratio", ratio, "lora_plus_lr_ratio: null")


def _conflicts_of_modules(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yield why the modules that are trained do not go with rows that are trained alone."""
    saved = {name.rpartition(".")[2] for name in config.modules_to_save}
    if (saved & EMBEDDINGS and not saved & HEADS) or (saved & HEADS and not saved & EMBEDDINGS):
        yield (
            text(
                "modules_to_save names the embeddings or the head, not both",
                "modules_to_save 只写了词嵌入与输出头之一",
            ),
            text(
                "set modules_to_save: [embed_tokens, lm_head], or leave both out",
                "设 modules_to_save: [embed_tokens, lm_head]，或两者都不写",
            ),
        )
    targets = {name.rpartition(".")[2] for name in as_list(config.target_modules)}
    if targets & (EMBEDDINGS | HEADS):
        yield (
            text(
                "target_modules names the embeddings or the head",
                "target_modules 含词嵌入或输出头",
            ),
            text("set target_modules: all-linear", "设 target_modules: all-linear"),
        )


def _unverified(key: str, value: str, fix: str) -> tuple[str, str]:
    return (
        text(f"has not been verified with {key}: {value}", f"与 {key}: {value} 的组合未经验证"),
        text(f"set {fix}", f"设 {fix}"),
    )


def remark_known_tokens(config: TrainConfig, folder: Path, on_remark: OnRemark) -> None:
    """Remark on requested tokens that the tokenizer in a folder has already."""
    requested = [token for key in KEYS for token in as_list(getattr(config, key))]
    known = known_tokens(folder) if requested else frozenset()
    present = [token for token in dict.fromkeys(requested) if token in known]
    if not present:
        return
    listed = ", ".join(present[:LISTED])
    message = text(
        f"the tokenizer has {len(present)} of these tokens already: {listed}",
        f"分词器已有其中 {len(present)} 个词元：{listed}",
    )
    hint = text("they are not added again", "不会重复新增")
    on_remark(Remark(NOTE, "new_tokens", message, hint))


def known_tokens(folder: Path) -> frozenset[str]:
    """Return the tokens of a folder's tokenizer.json; empty without a readable one."""
    try:
        content = read_object(folder / "tokenizer.json")
    except (MetadataError, OSError):
        return frozenset()
    model, added = content.get("model"), content.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    names = set(vocabulary) if isinstance(vocabulary, dict) else set()
    for entry in added if isinstance(added, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("content"), str):
            names.add(entry["content"])
    return frozenset(names)


def require_no_trained_rows(settings: dict[str, Any], folder: Path) -> None:
    """Raise ConfigError for an adapter with new tokens, which cannot be continued."""
    if settings.get("trainable_token_indices"):
        raise ConfigError(
            text(
                f"adapter: {folder} has new tokens, which the model itself does not have",
                f"adapter：{folder} 含新增词元，而模型本身没有",
            ),
            hint=text(
                "merge it (`swiftbox new merge -o merge.yaml adapter=...`), then train the result",
                "先合并（`swiftbox new merge -o merge.yaml adapter=...`），再训练合并结果",
            ),
        )
