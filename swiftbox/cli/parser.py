"""The verbs and what each takes; light, so that a typo and `--help` are answered at once."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from swiftbox.language import text


def parser() -> argparse.ArgumentParser:
    """Describe the verbs."""
    from swiftbox import __version__

    top = argparse.ArgumentParser(
        prog="swiftbox",
        description=text(
            "Train large models from a menu, or from the YAML that the menu writes. "
            "Without a verb: the menu.",
            "通过菜单训练大模型，或直接运行菜单写出的 YAML。不带子命令时打开菜单。",
        ),
    )
    top.add_argument("--version", action="version", version=f"swiftbox {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    _yaml_verbs(verbs)
    _download(verbs)
    _catalogue(verbs)
    _runs(verbs)
    _engines(verbs)
    _chat(verbs)
    _machine_verbs(verbs)
    return top


Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _verb(
    verbs: Verbs, name: str, about: str, example: str, *, module: str = "swiftbox.cli.verbs"
) -> argparse.ArgumentParser:
    """Add a verb: the function of that name in `module`, which is imported when it is used."""
    verb = verbs.add_parser(
        name,
        help=about,
        description=about,
        epilog=text(f"example: {example}", f"示例：{example}"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(module=module)
    return verb


def _overrides(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "overrides", nargs="*", metavar="key=value", help=text("change a setting", "修改一项设置")
    )


def _json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--json", action="store_true", help=text("answer for programs", "输出 JSON，供程序读取")
    )


def _yes(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--yes",
        action="store_true",
        help=text("install engines that it needs without asking", "直接安装所需引擎，不再询问"),
    )


def _yaml_verbs(verbs: Verbs) -> None:
    run = _verb(
        verbs,
        "run",
        text("run a YAML", "运行一份 YAML"),
        "swiftbox run configs/sft-lora.yaml dataset=my.jsonl",
    )
    run.add_argument("file")
    _overrides(run)
    run.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help=text("leave it running in the background", "在后台运行"),
    )
    run.add_argument("--plain", action="store_true", help=text("lines, no display", "纯文本输出"))
    _yes(run)
    check = _verb(
        verbs,
        "check",
        text("find every mistake without running", "不运行，找出所有问题"),
        "swiftbox check a.yaml learning_rate=1e-5",
    )
    check.add_argument("file")
    _overrides(check)
    check.add_argument("--on", metavar="BACKEND:GIBxN", help=_another_machine())
    check.add_argument(
        "--preview",
        action="store_true",
        help=text("show three rows as the model sees them", "显示三条模型实际看到的样本"),
    )
    _json(check)
    new = _verb(
        verbs,
        "new",
        text("write a YAML from a preset", "由预设生成 YAML"),
        "swiftbox new sft-lora -o a.yaml model=Qwen/Qwen3-0.6B dataset=my.jsonl",
    )
    new.add_argument("preset", nargs="?", help=text("none: list them", "留空列出全部"))
    _overrides(new)
    new.add_argument("-o", "--output", metavar="FILE")
    new.add_argument("--force", action="store_true", help=text("overwrite FILE", "覆盖已有文件"))
    _import(verbs)
    schema = _verb(
        verbs,
        "schema",
        text("print the JSON Schema of a task's YAML", "输出任务 YAML 的 JSON Schema"),
        "swiftbox schema train",
    )
    schema.add_argument("task", nargs="?", default="train")


def _import(verbs: Verbs) -> None:
    verb = _verb(
        verbs,
        "import",
        text(
            "turn a config of LLaMA-Factory, axolotl or ms-swift into ours",
            "将 LLaMA-Factory、axolotl 或 ms-swift 的配置转为本工具的 YAML",
        ),
        "swiftbox import qwen3_lora_sft.yaml -o a.yaml dataset=my.jsonl",
    )
    verb.set_defaults(verb="import_file")  # `import` is a word of Python's own
    verb.add_argument("file", help=text("YAML, JSON or a .sh script", "YAML、JSON 或 .sh 脚本"))
    _overrides(verb)
    verb.add_argument("-o", "--output", metavar="FILE")
    verb.add_argument("--force", action="store_true", help=text("overwrite FILE", "覆盖已有文件"))
    verb.add_argument(
        "--from",
        dest="tool",
        choices=("llamafactory", "axolotl", "ms-swift"),
        help=text("whose it is, where the keys do not tell", "来源（当键名无法判断时）"),
    )
    _json(verb)


def _download(verbs: Verbs) -> None:
    verb = _verb(
        verbs,
        "download",
        text(
            "fetch models or datasets; goes on where it stopped",
            "下载模型或数据集；可从中断处继续",
        ),
        "swiftbox download Qwen/Qwen3-0.6B Qwen/Qwen3-8B -d",
        module="swiftbox.cli.download",
    )
    verb.add_argument(
        "ids", nargs="+", metavar="ID", help=text("owner/name; key=value", "所有者/名称；key=value")
    )
    verb.add_argument(
        "--dataset", action="store_true", help=text("the ids are datasets", "ID 为数据集")
    )
    verb.add_argument("--hub", choices=("modelscope", "huggingface", "local"))
    verb.add_argument("--revision", help=text("branch, tag or commit", "分支、标签或提交号"))
    verb.add_argument("--to", metavar="DIR", help=text("folder to fetch into", "下载到的目录"))
    verb.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help=text("leave it running in the background", "在后台运行"),
    )
    verb.add_argument("--plain", action="store_true", help=text("lines, no display", "纯文本输出"))
    verb.set_defaults(overrides=[])
    _json(verb)


def _catalogue(verbs: Verbs) -> None:
    models = _verb(
        verbs,
        "models",
        text("find models, and what of them fits", "查找模型，以及本机能训练哪些"),
        "swiftbox models qwen --fits --modality image --kind chat --on cuda:24",
        module="swiftbox.cli.catalogue",
    )
    models.add_argument("query", nargs="*", help=text("words, or an id", "关键词或 id"))
    models.add_argument("--modality", choices=("text", "image", "video", "audio", "omni"))
    models.add_argument("--kind", help="chat, base, reasoning, coder, math, reward, ...")
    models.add_argument("--family", help="Qwen3, Llama3.1, ...")
    models.add_argument(
        "--max-size",
        type=_positive,
        metavar="B",
        help=text("billions of parameters", "参数量（十亿）"),
    )
    models.add_argument(
        "--native", action="store_true", help=text("without remote code", "无需自带代码")
    )
    models.add_argument(
        "--fits", action="store_true", help=text("only what can be trained", "仅显示可训练的")
    )
    models.add_argument("--on", metavar="BACKEND:GIBxN", help=_another_machine())
    datasets = _verb(
        verbs,
        "datasets",
        text("find datasets", "查找数据集"),
        "swiftbox datasets zh sft",
        module="swiftbox.cli.catalogue",
    )
    datasets.add_argument("query", nargs="*", help=text("words", "关键词"))
    for verb in (models, datasets):
        verb.add_argument(
            "--online", action="store_true", help=text("ask the hub too", "同时在社区搜索")
        )
        verb.add_argument(
            "--local", action="store_true", help=text("what is on this machine", "仅本机已有的")
        )
        verb.add_argument(
            "--verify",
            action="store_true",
            help=text("hash what is here again", "重新校验本机文件"),
        )
        verb.add_argument(
            "--remove", action="store_true", help=text("delete from its cache", "从缓存中删除")
        )
        verb.add_argument(
            "--yes", action="store_true", help=text("with --remove", "与 --remove 同用")
        )
        verb.add_argument("--limit", type=_count, default=20, metavar="N", help="20; 0: all")
        _json(verb)


def _another_machine() -> str:
    return text("another machine, such as cuda:80x8", "另一台机器，例如 cuda:80x8")


def _count(typed: str) -> int:
    """Read a number of rows."""
    if not typed.isdecimal():
        raise argparse.ArgumentTypeError(text(f"{typed} is no number of rows", f"{typed} 不是行数"))
    return int(typed)


def _positive(typed: str) -> float:
    """Read a size."""
    try:
        size = float(typed)
    except ValueError:
        size = 0.0
    if not size > 0:  # not a number is none either
        raise argparse.ArgumentTypeError(text(f"{typed} is no size", f"{typed} 不是规模"))
    return size


def _runs(verbs: Verbs) -> None:
    runs = _verb(
        verbs,
        "runs",
        text("list, follow, stop and continue runs", "列出、跟踪、停止、继续运行"),
        "swiftbox runs logs last -f",
    )
    actions = runs.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", help=text("all runs, newest first", "全部运行"))
    _json(listing)
    show = actions.add_parser("show", help=text("one run", "单个运行"))
    _named(show)
    _json(show)
    logs = actions.add_parser("logs", help=text("what a run said", "运行日志"))
    _named(logs)
    logs.add_argument("-f", "--follow", action="store_true", help=text("until it ends", "持续跟踪"))
    logs.add_argument("--plain", action="store_true", help=text("lines, no display", "纯文本输出"))
    stop = actions.add_parser("stop", help=text("ask it to save and stop", "保存并停止"))
    _named(stop)
    stop.add_argument("--wait", type=float, default=120, metavar="S", help="120")
    for name, about in (
        ("resume", text("continue from the last checkpoint", "从最后的检查点继续")),
        ("rerun", text("run its settled YAML again", "再次运行其 settled.yaml")),
    ):
        verb = actions.add_parser(name, help=about)
        _named(verb)
        _overrides(verb)
        verb.add_argument("-d", "--detach", action="store_true")
        verb.add_argument("--plain", action="store_true")
        _yes(verb)


def _chat(verbs: Verbs) -> None:
    verb = _verb(
        verbs,
        "chat",
        text("talk with a run, a model or a server", "与运行、模型或服务对话"),
        "swiftbox chat runs/my-lora --compare base",
        module="swiftbox.display.chat",
    )
    verb.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help=text(
            "run, folder, id, URL or YAML; none: the newest run",
            "运行、目录、id、URL 或 YAML；留空：最新的运行",
        ),
    )
    verb.add_argument("--adapter", help=text("adapter on the model", "模型上的适配器"))
    verb.add_argument("--system", metavar="TEXT", help=text("system prompt", "系统提示"))
    verb.add_argument(
        "--compare",
        metavar="OTHER",
        help=text("who answers beside it; `base`: its base", "并排作答者；`base`：其基座"),
    )
    verb.add_argument(
        "-m", "--message", metavar="TEXT", help=text("ask this and leave", "只问这一句")
    )
    verb.set_defaults(overrides=[])


def _named(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "run",
        nargs="?",
        default="last",
        help=text("name or folder; `last` by default", "名称或目录；默认 last"),
    )


def _engines(verbs: Verbs) -> None:
    engines = _verb(
        verbs,
        "engines",
        text("tools in environments of their own", "装在独立环境中的工具"),
        "swiftbox engines install gptq --yes",
        module="swiftbox.cli.engines",
    )
    actions = engines.add_subparsers(dest="action", metavar="ACTION")
    for name, about in (
        ("list", text("what there is, and what of it is installed", "有哪些引擎，已安装哪些")),
        ("install", text("install one, or go on with that", "安装，或继续未完成的安装")),
        ("remove", text("delete one", "删除")),
        ("test", text("see whether it is whole; none: all installed", "自检；留空检查全部")),
    ):
        verb = actions.add_parser(name, help=about)
        if name != "list":
            verb.add_argument("name", nargs="?" if name == "test" else None)
        if name in ("install", "remove"):
            verb.add_argument("--yes", action="store_true", help=text("without asking", "不再询问"))
        _json(verb)


def _machine_verbs(verbs: Verbs) -> None:
    doctor = _verb(
        verbs,
        "doctor",
        text("what this machine has and lacks", "检查本机环境"),
        "swiftbox doctor",
    )
    _json(doctor)
    demo = _verb(
        verbs,
        "demo",
        text(
            "make, train and try a small model here, without network or GPU",
            "在本机离线制作、训练并试用一个小模型，无需 GPU",
        ),
        "swiftbox demo --name Ada",
    )
    demo.add_argument("--name", help=text("what the model calls itself", "模型的名字"))
    demo.add_argument("--folder", default="swiftbox-demo")
