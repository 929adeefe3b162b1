"""The nested datasets of axolotl: each becomes a path with its part, rows and columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.converters.row import Finding, Given, idle, left, refused
from swiftbox.converters.words import MULTIMODAL, MULTIMODAL_HINT
from swiftbox.data.turns import ROLE_OF
from swiftbox.language import text

INSTRUCTION = {"instruction", "input", "output"}

TYPES: Mapping[str, Mapping[str, str]] = {
    "alpaca": {},
    "alpaca_w_system": {},
    "completion": {},
    "pretrain": {},
    "chat_template": {},
    "chat_template.default": {},
    "sharegpt": {},
    "gpteacher": {"response": "output"},
    "alpaca_chat": {},
    "alpaca_chat.load_qa": {},
    "jeopardy": {},
    "intel": {"question": "prompt"},
    "icr": {"input": "prompt"},
    "argilla": {
        "instruction": "prompt",
        "chosen_response": "chosen",
        "rejected_response": "rejected",
    },
    "argilla_chat": {},
    "prompt_pairs": {},
    "ultra": {},
}
"""The row formats that are read here, and the columns that are called otherwise.

Those of preference data stand without the template in front (`chatml.intel`).
"""

TEMPLATES = ("chatml", "llama3", "chat_template")

FIELDS = {
    "field_instruction": "instruction",
    "field_input": "input",
    "field_output": "output",
    "field_system": "system",
    "field_prompt": "prompt",
    "field_chosen": "chosen",
    "field_rejected": "rejected",
    "field_completion": "completion",
    "field_label": "label",
    "field_tools": "tools",
}

IDLE = {
    "ds_type": ("the kind of file is seen from its name", "由文件名判断类型"),
    "conversation": ("the tokenizer's own template is used", "使用分词器自带的模板"),
    "chat_template": ("the tokenizer's own template is used", "使用分词器自带的模板"),
    "trust_remote_code": ("no code of a dataset is run", "不会执行数据集自带的代码"),
    "preprocess_shards": ("rows are read as a stream of files", "按文件逐行读取"),
}

ROLES = {"role": "role", "content": "content"}
SHAREGPT = {"role": "from", "content": "value"}


def datasets(value: Any, given: Given) -> list[Finding]:
    """Translate `datasets:`; what cannot be kept of an entry is said with its place."""
    listed = value if isinstance(value, list) else [value]
    sources: list[Any] = []
    others: list[Finding] = []
    for index, entry in enumerate(listed):
        if not isinstance(entry, Mapping):
            sources.append(str(entry))
            continue
        if entry.get("type") in ("input_output", "stepwise_supervised"):
            return refused(
                text(f"rows of type {entry['type']} are not read", f"不读取 {entry['type']} 格式"),
                text("give dataset=PATH of conversations", "请给出对话数据：dataset=路径"),
                "dataset",
            )
        paths, source, found = _source(entry, given)
        sources += [_short({"path": path, **source}) for path in paths]
        others += [
            Finding(one.kind, one.ours, one.why, one.hint, f"[{index}]{one.within}")
            for one in found
        ]
    whole = sources[0] if len(sources) == 1 and isinstance(sources[0], str) else sources
    return [Finding("taken", {"dataset": whole}), *others]


def pretraining(value: Any, given: Given) -> list[Finding]:
    """Translate `pretraining_dataset:`, which is raw text."""
    return datasets(value, given)


def raw_text(given: Given) -> bool:
    """Tell whether all data is raw text, which is a stage of its own here."""
    if given.has("pretraining_dataset"):
        return True
    listed = given.values.get("datasets")
    entries = (
        [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    )
    kinds = [str(one.get("type", "")).partition(":")[0] for one in entries]
    return bool(kinds) and all(kind in ("completion", "pretrain") for kind in kinds)


def _source(
    entry: Mapping[str, Any], given: Given
) -> tuple[list[str], dict[str, Any], list[Finding]]:
    """Return the paths of an entry, what is said of each, and what is not taken."""
    found: list[Finding] = []
    source: dict[str, Any] = {}
    paths = _paths(entry, found)
    if entry.get("name"):
        source["subset"] = str(entry["name"])
    _split(entry, source, found)
    columns = _columns(entry, found)
    if columns:
        source["columns"] = columns
    for key, value in entry.items():
        if key in HANDLED or value in (None, "", False):
            continue
        if key in ("processor", "image_column"):
            found += refused(text(*MULTIMODAL), text(*MULTIMODAL_HINT), "dataset")
        elif key in IDLE:
            found.append(idle(text(*IDLE[key]), f".{key}"))
        elif key == "roles":
            found.append(_roles(value))
        elif key == "roles_to_train":
            found.append(_learned(value, given))
        elif key == "train_on_eos":
            found.append(_ends(value))
        else:
            found.append(left(text("no counterpart here", "此处没有对应设置"), f".{key}"))
    return paths, source, found


HANDLED = frozenset(
    {"path", "name", "split", "type", "data_files", "field", "text_column", "field_messages"}
    | {"message_property_mappings", "message_field_role", "message_field_content"}
    | set(FIELDS)
)


def _paths(entry: Mapping[str, Any], found: list[Finding]) -> list[str]:
    path = str(entry.get("path") or "")
    files = entry.get("data_files")
    listed = [str(one) for one in (files if isinstance(files, list) else [files] if files else [])]
    if not listed:
        return [path]
    if path in ("", "json", "csv", "parquet", "text"):
        return listed
    if Path(path).expanduser().is_dir():
        return [str(Path(path) / one) for one in listed]
    found.append(
        left(
            text(
                "single files of a hub dataset are not picked: all of it is read",
                "不支持只取社区数据集中的个别文件：将读取全部",
            ),
            ".data_files",
        )
    )
    return [path]


def _split(entry: Mapping[str, Any], source: dict[str, Any], found: list[Finding]) -> None:
    """Keep another split than the usual; of `train[:1000]` the number of rows."""
    written = str(entry.get("split") or "train")
    parts = re.fullmatch(r"(\w+)\[:?(\d+)?(%?)\]", written)
    split = parts[1] if parts else written
    if split != "train":
        source["split"] = split
    if parts is None:
        return
    if parts[2] and not parts[3]:
        source["num_samples"] = int(parts[2])
        why = text("a seeded sample, not the first rows", "按种子抽样，而不是取最前面的行")
        found.append(Finding("taken", {}, why, within=".split"))
        return
    found.append(
        left(
            text(
                f"{written}: a share of a set is not cut out; num_samples takes a number of rows",
                f"{written}：不支持按比例截取；num_samples 可取若干行",
            ),
            ".split",
        )
    )


def _columns(entry: Mapping[str, Any], found: list[Finding]) -> dict[str, str]:
    kind = entry.get("type")
    if isinstance(kind, Mapping):
        formats = sorted(key for key in kind if "format" in key or key == "system_prompt")
        if formats:
            why = text("the words around the columns are not taken", "不采用列前后的模板文字")
            found.append(left(why, f".type[{', '.join(formats)}]"))
        fields = {**kind, **entry}
    else:
        fields = dict(entry)
    columns = {
        str(fields[key]): ours
        for key, ours in FIELDS.items()
        if isinstance(fields.get(key), str) and fields[key] != ours
    }
    if isinstance(kind, str) and kind:
        columns |= _of_type(kind, entry, found)
    text_column = entry.get("field") or entry.get("text_column")
    if text_column and text_column != "text":
        columns[str(text_column)] = "text"
    return columns


def _of_type(kind: str, entry: Mapping[str, Any], found: list[Finding]) -> dict[str, str]:
    """Return the renames of a named row format, and of its messages."""
    head, _, tail = kind.partition(".")
    plain = kind.partition(":")[0]
    name = plain if plain in TYPES else tail if head in TEMPLATES and tail in TYPES else head
    if name not in TYPES:
        found.append(
            left(
                text(
                    f"{kind}: the columns of the rows decide how they are read",
                    f"{kind}：按数据的列判断格式",
                ),
                ".type",
            )
        )
        return {}
    columns = dict(TYPES[name])
    messages = str(entry.get("field_messages") or "messages")
    if name == "chat_template.default" and "field_messages" in entry:
        return columns if messages == "conversations" else {**columns, messages: "conversations"}
    if messages not in ("messages", "conversations"):
        columns[messages] = "messages"
    _properties(entry, found)
    return columns


def _properties(entry: Mapping[str, Any], found: list[Finding]) -> None:
    mapping = entry.get("message_property_mappings")
    if not isinstance(mapping, Mapping):
        keys = ("message_field_role", "message_field_content")
        mapping = {key.rpartition("_")[2]: entry[key] for key in keys if entry.get(key)}
    told = {key: mapping.get(key, ours) for key, ours in ROLES.items()}
    extra = {key: one for key, one in mapping.items() if key not in ROLES and key != one}
    if told in (ROLES, SHAREGPT) and not extra:
        return
    found.append(
        left(
            text(
                "turns are read as role and content, or from and value; other names go into the "
                "tags of a dataset_info.json beside the file",
                "轮次按 role/content 或 from/value 读取；"
                "其他名称请写入数据旁 dataset_info.json 的 tags",
            ),
            ".message_property_mappings",
        )
    )


def _roles(value: Any) -> Finding:
    """Accept the speakers that are known here under the same roles."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    known = all(
        ROLE_OF.get(speaker) == ROLE_OF.get(role)
        for role, speakers in pairs
        for speaker in (speakers if isinstance(speakers, list) else [speakers])
    )
    if known:
        return idle(text("these speakers are known here", "此处认识这些角色"), ".roles")
    why = text(
        "other speakers go into the tags of a dataset_info.json beside the file",
        "其他角色请写入数据旁 dataset_info.json 的 tags",
    )
    return left(why, ".roles")


def _learned(value: Any, given: Given) -> Finding:
    listed = set(value if isinstance(value, list) else [value])
    if listed <= {"assistant", "gpt"}:
        return idle(text("the assistant's turns are learned", "学习助手的回答"), ".roles_to_train")
    if "all" in listed or {"user", "assistant"} <= listed:
        if given.values.get("train_on_inputs") is False:
            return left(text("train_on_inputs says no", "train_on_inputs 为否"), ".roles_to_train")
        return Finding("taken", {"train_on_prompt": True}, within=".roles_to_train")
    why = text("the assistant's turns, or all, are learned", "只能学习助手的回答或全部内容")
    return left(why, ".roles_to_train")


def _ends(value: Any) -> Finding:
    if value == "turn":
        return idle(
            text("the end of each answer is learned", "学习每个回答的结束符"), ".train_on_eos"
        )
    return left(
        text("the end of each learned turn is learned, no other", "只学习所学轮次的结束符"),
        ".train_on_eos",
    )


def _short(source: dict[str, Any]) -> Any:
    """Write a source of a path alone, or with a number of rows, as text."""
    if set(source) == {"path"}:
        return source["path"]
    if set(source) == {"path", "num_samples"}:
        return f"{source['path']}#{source['num_samples']}"
    return source
