"""The nested datasets of axolotl: each becomes a path with its part, rows and columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.converters.rows import ForeignConfig, KeyOutcome, no_effect, refused, unsupported
from swiftbox.converters.shared_values import MULTIMODAL, MULTIMODAL_HINT
from swiftbox.data.column_names import REASONING_COLUMNS
from swiftbox.data.loss_weights import WEIGHT_KEYS
from swiftbox.data.roles import ROLE_OF, speaker_name
from swiftbox.data.splits import parse_split
from swiftbox.errors import DataError
from swiftbox.language import text

ORCA = {"system_prompt": "system", "question": "instruction", "response": "output"}

TYPES: Mapping[str, Mapping[str, str]] = {
    "alpaca": {},
    "alpaca_w_system": {},
    "alpaca_w_system.load_open_orca": ORCA,
    "alpaca_w_system.load_open_orca_chatml": ORCA,
    "bradley_terry.chat_template": {},
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

PLAIN_PROMPTS = frozenset(
    {"alpaca", "alpaca_w_system", "alpaca_w_system.load_open_orca", "gpteacher", "jeopardy"}
)
"""Formats that axolotl writes as "### Instruction:" and the like, whatever the chat template."""

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
    "ds_type": ("the file type follows from its name", "由文件名判断类型"),
    "conversation": ("the tokenizer's own template is used", "使用分词器自带的模板"),
    "chat_template": ("the tokenizer's own template is used", "使用分词器自带的模板"),
    "trust_remote_code": ("code of a dataset is never run", "不会执行数据集自带的代码"),
    "preprocess_shards": ("files are read row by row", "按文件逐行读取"),
    "template_thinking_key": (
        "reasoning is given to the template as it wants it",
        "推理内容按模板所需的形式给出",
    ),
    "split_thinking": (
        "reasoning is given to the template as it wants it",
        "推理内容按模板所需的形式给出",
    ),
}

ROLES = {"role": "role", "content": "content"}
SHAREGPT = {"role": "from", "content": "value"}

TURN_KEYS: Mapping[str, tuple[str, ...]] = {
    "message_field_training": WEIGHT_KEYS,
    "field_thinking": REASONING_COLUMNS,
}
"""Settings that name a key of the turns, and the names that are read here."""


def datasets(value: Any, foreign: ForeignConfig, *, key: str = "dataset") -> list[KeyOutcome]:
    """Translate `datasets:`; what cannot be adopted of an entry is reported with its position.

    `key` is the setting of ours that names them.
    """
    listed = value if isinstance(value, list) else [value]
    sources: list[Any] = []
    others: list[KeyOutcome] = []
    for index, entry in enumerate(listed):
        if not isinstance(entry, Mapping):
            sources.append(str(entry))
            continue
        if entry.get("type") in ("input_output", "stepwise_supervised"):
            return refused(
                text(
                    f"rows of type {entry['type']} are not supported",
                    f"不读取 {entry['type']} 格式",
                ),
                text("set dataset=PATH to conversations", "请给出对话数据：dataset=路径"),
                key,
            )
        paths, source, outcomes = _source(entry, foreign)
        sources += [_short({"path": path, **source}) for path in paths]
        others += [replace(outcome, within=f"[{index}]{outcome.within}") for outcome in outcomes]
    dataset = sources[0] if len(sources) == 1 and isinstance(sources[0], str) else sources
    return [KeyOutcome("adopted", {key: dataset}), *others]


def held_out(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate `test_datasets:`, whose rows are evaluated and not learned."""
    return datasets(value, foreign, key="val_dataset")


def pretraining(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate `pretraining_dataset:`, which is raw text."""
    return datasets(value, foreign)


def raw_text(foreign: ForeignConfig) -> bool:
    """Tell whether all data is raw text, which is a separate stage here."""
    if foreign.has("pretraining_dataset"):
        return True
    listed = foreign.values.get("datasets")
    entries = (
        [entry for entry in listed if isinstance(entry, Mapping)]
        if isinstance(listed, list)
        else []
    )
    kinds = [str(entry.get("type", "")).partition(":")[0] for entry in entries]
    return bool(kinds) and all(kind in ("completion", "pretrain") for kind in kinds)


def _source(
    entry: Mapping[str, Any], foreign: ForeignConfig
) -> tuple[list[str], dict[str, Any], list[KeyOutcome]]:
    """Return the paths of an entry, the settings of each, and the outcomes of its keys."""
    outcomes: list[KeyOutcome] = []
    source: dict[str, Any] = {}
    paths = _paths(entry, outcomes)
    if entry.get("name"):
        source["subset"] = str(entry["name"])
    _split(entry, source, outcomes)
    columns = _columns(entry, outcomes)
    if columns:
        source["columns"] = columns
    for key, value in entry.items():
        if key in HANDLED or value in (None, "", False):
            continue
        if key in ("processor", "image_column"):
            outcomes += refused(text(*MULTIMODAL), text(*MULTIMODAL_HINT), "dataset")
        elif key in IDLE:
            outcomes.append(no_effect(text(*IDLE[key]), f".{key}"))
        elif key == "roles":
            outcomes.append(_roles(value))
        elif key == "roles_to_train":
            outcomes.append(_learned(value, foreign))
        elif key in ("train_on_eos", "train_on_eot"):
            outcomes.append(_ends(key, value))
        elif key in TURN_KEYS:
            outcomes.append(_key_of_turns(key, value))
        else:
            outcomes.append(
                unsupported(text("no counterpart in swiftbox", "此处没有对应设置"), f".{key}")
            )
    return paths, source, outcomes


HANDLED = frozenset(
    {"path", "name", "split", "type", "data_files", "field", "text_column", "field_messages"}
    | {"message_property_mappings", "message_field_role", "message_field_content"}
    | set(FIELDS)
)


def _paths(entry: Mapping[str, Any], outcomes: list[KeyOutcome]) -> list[str]:
    path = str(entry.get("path") or "")
    files = entry.get("data_files")
    listed = [
        str(file) for file in (files if isinstance(files, list) else [files] if files else [])
    ]
    if not listed:
        return [path]
    if path in ("", "json", "csv", "parquet", "text"):
        return listed
    if Path(path).expanduser().is_dir():
        return [str(Path(path) / file) for file in listed]
    outcomes.append(
        unsupported(
            text(
                "single files of a hub dataset cannot be selected: the dataset dataset is read",
                "不支持只取社区数据集中的个别文件：将读取全部",
            ),
            ".data_files",
        )
    )
    return [path]


def _split(entry: Mapping[str, Any], source: dict[str, Any], outcomes: list[KeyOutcome]) -> None:
    """Keep another split than the usual, or the part of one; `train[:1000]` too."""
    written = str(entry.get("split") or "train")
    try:
        parse_split(written, str(entry.get("path")))
    except DataError as error:
        outcomes.append(unsupported(error.message, ".split"))
    else:
        source |= {"split": written} if written != "train" else {}


def _columns(entry: Mapping[str, Any], outcomes: list[KeyOutcome]) -> dict[str, str]:
    kind = entry.get("type")
    if isinstance(kind, Mapping):
        formats = sorted(key for key in kind if "format" in key or key == "system_prompt")
        if formats:
            why = text("the text around the columns is not supported", "不采用列前后的模板文字")
            outcomes.append(unsupported(why, f".type[{', '.join(formats)}]"))
        fields = {**kind, **entry}
    else:
        fields = dict(entry)
    columns = {
        str(fields[key]): ours
        for key, ours in FIELDS.items()
        if isinstance(fields.get(key), str) and fields[key] != ours
    }
    if isinstance(kind, str) and kind:
        columns |= _renamed_columns(kind, entry, outcomes)
    elif not kind and "type" in entry:
        why = text("rows of token ids are not read", "不读取已是 token 编号的数据")
        outcomes.append(unsupported(why, ".type"))
    text_column = entry.get("field") or entry.get("text_column")
    if text_column and text_column != "text":
        columns[str(text_column)] = "text"
    return columns


def _renamed_columns(
    kind: str, entry: Mapping[str, Any], outcomes: list[KeyOutcome]
) -> dict[str, str]:
    """Return the renames of a named row format, and of its messages."""
    head, _, tail = kind.partition(".")
    plain = kind.partition(":")[0]
    name = plain if plain in TYPES else tail if head in TEMPLATES and tail in TYPES else head
    if name not in TYPES:
        outcomes.append(
            unsupported(
                text(
                    f"{kind}: the format is detected from the columns",
                    f"{kind}：按数据的列判断格式",
                ),
                ".type",
            )
        )
        return {}
    if name in PLAIN_PROMPTS:
        why = text(
            "the chat template writes the prompt here, not the words of this format",
            "此处由对话模板生成提示，而非该格式自带的文字",
        )
        outcomes.append(KeyOutcome("adopted", {}, why, within=".type"))
    columns = dict(TYPES[name])
    messages = str(entry.get("field_messages") or "messages")
    if name == "chat_template.default" and "field_messages" in entry:
        return columns if messages == "conversations" else {**columns, messages: "conversations"}
    if messages not in ("messages", "conversations"):
        columns[messages] = "messages"
    _properties(entry, outcomes)
    return columns


def _properties(entry: Mapping[str, Any], outcomes: list[KeyOutcome]) -> None:
    mapping = entry.get("message_property_mappings")
    if not isinstance(mapping, Mapping):
        keys = ("message_field_role", "message_field_content")
        mapping = {key.rpartition("_")[2]: entry[key] for key in keys if entry.get(key)}
    names = {key: mapping.get(key, ours) for key, ours in ROLES.items()}
    extra = {key: name for key, name in mapping.items() if key not in ROLES and key != name}
    if names in (ROLES, SHAREGPT) and not extra:
        return
    outcomes.append(
        unsupported(
            text(
                "turns are read as role and content, or from and value; put other names into the "
                "tags of a dataset_info.json beside the file",
                "轮次按 role/content 或 from/value 读取；"
                "其他名称请写入数据旁 dataset_info.json 的 tags",
            ),
            ".message_property_mappings",
        )
    )


def _roles(value: Any) -> KeyOutcome:
    """Accept the speakers that are known here under the same roles."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    known = all(
        ROLE_OF.get(speaker_name(str(speaker))) == ROLE_OF.get(speaker_name(str(role)))
        for role, speakers in pairs
        for speaker in (speakers if isinstance(speakers, list) else [speakers])
    )
    if known:
        return no_effect(text("these speakers are known", "此处认识这些角色"), ".roles")
    why = text(
        "put other speakers into the tags of a dataset_info.json beside the file",
        "其他角色请写入数据旁 dataset_info.json 的 tags",
    )
    return unsupported(why, ".roles")


def _learned(value: Any, foreign: ForeignConfig) -> KeyOutcome:
    listed = set(value if isinstance(value, list) else [value])
    if listed <= {"assistant", "gpt"}:
        return no_effect(
            text("the assistant's turns are trained on", "学习助手的回答"), ".roles_to_train"
        )
    if "all" in listed or {"user", "assistant"} <= listed:
        if foreign.values.get("train_on_inputs") is False:
            return unsupported(
                text("train_on_inputs is false", "train_on_inputs 为否"), ".roles_to_train"
            )
        return KeyOutcome("adopted", {"train_on_prompt": True}, within=".roles_to_train")
    why = text(
        "only the assistant's turns, or all turns, can be trained on",
        "只能学习助手的回答或全部内容",
    )
    return unsupported(why, ".roles_to_train")


def _key_of_turns(key: str, value: Any) -> KeyOutcome:
    """Accept the name of a key of the turns if it is one that is read here."""
    if value in TURN_KEYS[key]:
        why = text("this key of a turn is read here too", "此处同样读取轮次的该字段")
        return no_effect(why, f".{key}")
    known = ", ".join(TURN_KEYS[key])
    return unsupported(
        text(f"rename it in the rows to one of {known}", f"请把数据中的该字段改名为 {known} 之一"),
        f".{key}",
    )


def _ends(key: str, value: Any) -> KeyOutcome:
    if value == "turn":
        return no_effect(
            text("the end of each answer is trained on", "学习每个回答的结束符"), f".{key}"
        )
    return unsupported(
        text("only the end of each trained turn is trained on", "只学习所学轮次的结束符"),
        f".{key}",
    )


def _short(source: dict[str, Any]) -> Any:
    """Write a source of a path alone, or with a number of rows, as text."""
    if set(source) == {"path"}:
        return source["path"]
    if set(source) == {"path", "num_samples"}:
        return f"{source['path']}#{source['num_samples']}"
    return source
