"""The arguments of the verbs on YAML files: run, check, new, import, schema."""

from __future__ import annotations

from swiftbox.cli.arguments import (
    Parser,
    Verbs,
    add_flag,
    add_json,
    add_machine,
    add_output_file,
    add_overrides,
    add_run_options,
    add_verb,
    preview_count,
    row_place,
)
from swiftbox.language import text


def add_run(verbs: Verbs) -> None:
    """Add `run`."""
    verb = add_verb(
        verbs,
        "run",
        text("run a YAML", "运行一份 YAML"),
        example="swiftbox run configs/sft-lora.yaml dataset=my.jsonl",
        module="cli.run",
    )
    _add_yaml(verb)
    add_run_options(verb)


def add_check(verbs: Verbs) -> None:
    """Add `check`."""
    verb = add_verb(
        verbs,
        "check",
        text("find every mistake without running", "不运行，找出所有问题"),
        example="swiftbox check a.yaml learning_rate=1e-5",
        module="cli.check",
    )
    _add_yaml(verb)
    add_machine(verb)
    add_flag(
        verb,
        ["--preview"],
        text("show three rows as the model sees them", "显示三条模型实际看到的样本"),
    )
    verb.add_argument(
        "--rows",
        metavar="N",
        type=preview_count,
        help=text("preview the first N rows", "预览前 N 行"),
    )
    verb.add_argument(
        "--line",
        metavar="FILE:N",
        type=row_place,
        action="append",
        default=[],
        help=text("preview this row; may be repeated", "预览该行；可重复使用"),
    )
    add_json(verb, errors=True)


def _add_yaml(verb: Parser) -> None:
    verb.add_argument("file", metavar="FILE", help=text("YAML to read", "YAML 文件"))
    add_overrides(verb)


def add_new(verbs: Verbs) -> None:
    """Add `new`."""
    verb = add_verb(
        verbs,
        "new",
        text("write a YAML from a preset", "由预设生成 YAML"),
        example="swiftbox new sft-lora -o a.yaml model=Qwen/Qwen3-0.6B dataset=my.jsonl",
        module="cli.yaml_files",
    )
    verb.add_argument(
        "preset",
        metavar="PRESET",
        nargs="?",
        help=text("preset to start from; default: list them", "所用的预设；留空则列出全部"),
    )
    add_overrides(verb)
    add_output_file(verb)


def add_import(verbs: Verbs) -> None:
    """Add `import`."""
    verb = add_verb(
        verbs,
        "import",
        text(
            "convert a config of LLaMA-Factory, axolotl or ms-swift",
            "转换 LLaMA-Factory、axolotl 或 ms-swift 的配置",
        ),
        example="swiftbox import qwen3_lora_sft.yaml -o a.yaml dataset=my.jsonl",
        module="cli.yaml_files",
    )
    verb.set_defaults(verb="import_file")  # `import` is a keyword of Python
    verb.add_argument(
        "file", metavar="FILE", help=text("YAML, JSON or .sh script", "YAML、JSON 或 .sh 脚本")
    )
    add_overrides(verb)
    add_output_file(verb)
    verb.add_argument(
        "--from",
        dest="tool",
        choices=("llamafactory", "llamafactory-v1", "axolotl", "ms-swift", "megatron-swift"),
        help=text("the tool, if the keys do not show it", "来源工具（键名无法判断时）"),
    )
    add_json(verb, errors=True)


def add_schema(verbs: Verbs) -> None:
    """Add `schema`."""
    verb = add_verb(
        verbs,
        "schema",
        text("print the JSON Schema of a task's YAML", "输出任务 YAML 的 JSON Schema"),
        example="swiftbox schema train",
        module="cli.yaml_files",
    )
    verb.add_argument(
        "task",
        metavar="TASK",
        nargs="?",
        default="train",
        help=text("task; default: train", "任务；默认为 train"),
    )
