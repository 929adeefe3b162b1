"""The arguments of download, models, datasets and convert."""

from __future__ import annotations

from swiftbox.cli.arguments import (
    Parser,
    Verbs,
    add_detach,
    add_flag,
    add_json,
    add_machine,
    add_plain,
    add_verb,
    billions,
    row_count,
)
from swiftbox.language import text


def add_download(verbs: Verbs) -> None:
    """Add `download`."""
    verb = add_verb(
        verbs,
        "download",
        text(
            "fetch models or datasets; resumes interrupted downloads",
            "下载模型或数据集；中断后可继续",
        ),
        example="swiftbox download Qwen/Qwen3-0.6B Qwen/Qwen3-8B -d",
        module="cli.download",
    )
    verb.add_argument(
        "ids",
        nargs="+",
        metavar="ID",
        help=text("owner/name on the hub, or key=value", "社区中的 所有者/名称，或 key=value"),
    )
    add_flag(verb, ["--dataset"], text("the ids are datasets", "ID 为数据集"))
    verb.add_argument(
        "--hub",
        choices=("modelscope", "huggingface", "local"),
        help=text("where to fetch from; default: modelscope", "下载来源；默认为 modelscope"),
    )
    verb.add_argument("--revision", help=text("branch, tag or commit", "分支、标签或提交号"))
    verb.add_argument(
        "--to",
        metavar="DIR",
        help=text("target folder; default: the cache", "目标目录；默认为缓存"),
    )
    add_detach(verb)
    add_plain(verb)
    add_json(verb, errors=True)
    verb.set_defaults(overrides=[])


def add_models(verbs: Verbs) -> None:
    """Add `models`."""
    verb = add_verb(
        verbs,
        "models",
        text("find models and what trains on this machine", "查找模型，以及本机能训练哪些"),
        example="swiftbox models qwen --fits --modality image --kind chat --on cuda:24",
        module="cli.catalogue",
    )
    verb.add_argument(
        "query", metavar="WORD", nargs="*", help=text("words or an id", "关键词或 id")
    )
    verb.add_argument(
        "--modality",
        choices=("text", "image", "video", "audio", "omni"),
        help=text("what the model reads", "模型能读取的内容"),
    )
    verb.add_argument(
        "--kind",
        help=text(
            "such as chat, base, reasoning, coder", "类型，例如 chat、base、reasoning、coder"
        ),
    )
    verb.add_argument(
        "--family", help=text("such as Qwen3, Llama3.1", "系列，例如 Qwen3、Llama3.1")
    )
    verb.add_argument(
        "--max-size",
        type=billions,
        metavar="B",
        help=text("at most so many billion parameters", "参数量上限（十亿）"),
    )
    add_flag(verb, ["--native"], text("without remote code", "无需自带代码"))
    add_flag(verb, ["--fits"], text("only models that can be trained", "仅显示可训练的"))
    add_machine(verb)
    _add_listing(verb)


def add_datasets(verbs: Verbs) -> None:
    """Add `datasets`."""
    verb = add_verb(
        verbs,
        "datasets",
        text("find datasets", "查找数据集"),
        example="swiftbox datasets zh sft",
        module="cli.catalogue",
    )
    verb.add_argument(
        "query", metavar="WORD", nargs="*", help=text("words or an id", "关键词或 id")
    )
    _add_listing(verb)


def add_convert(verbs: Verbs) -> None:
    """Add `convert`."""
    verb = add_verb(
        verbs,
        "convert",
        text("rewrite a pickled adapter (.bin) as safetensors", "将 .bin 适配器转换为 safetensors"),
        example="swiftbox convert downloads/my-adapter",
        module="cli.convert",
    )
    verb.add_argument("folder", metavar="DIR", help=text("folder of the adapter", "适配器所在目录"))
    add_json(verb, errors=True)


def _add_listing(verb: Parser) -> None:
    add_flag(verb, ["--online"], text("search the hub too", "同时在社区搜索"))
    add_flag(verb, ["--local"], text("list what is on this machine", "列出本机已有的"))
    add_flag(verb, ["--verify"], text("hash the local files again", "重新校验本机文件"))
    add_flag(verb, ["--remove"], text("delete from the local cache", "从本机缓存中删除"))
    add_flag(verb, ["--yes"], text("confirm --remove", "确认 --remove"))
    verb.add_argument(
        "--limit",
        type=row_count,
        default=20,
        metavar="N",
        help=text("rows to show; default: 20, 0: all", "显示的行数；默认 20，0 为全部"),
    )
    add_json(verb)
