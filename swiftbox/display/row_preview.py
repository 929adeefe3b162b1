"""Rows as the model sees them: three samples with the learned tokens coloured, and lengths.

Encoding needs torch, which the front never imports: `show` starts this same module as a child
(`python -m swiftbox.display.row_preview FILE.yaml`), which prints one JSON object, the `data`
event that the run would record.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.config.writing import write
from swiftbox.display.train import data_lines
from swiftbox.errors import ConfigError, DataError, UserError
from swiftbox.language import text
from swiftbox.runs.events import Event
from swiftbox.security.children import child_environment, module_command
from swiftbox.security.printable import printable

ERROR_CHARACTERS = 2000
"""Lines of the child's stderr shown after an unexpected failure."""


def show(config: TrainConfig) -> None:
    """Print the preview of a config whose model and data are on this machine."""
    if not Path(config.model).expanduser().is_dir():
        raise ConfigError(
            text(
                f"--preview needs the tokenizer of {config.model}, which is not on this machine",
                f"--preview 需要 {config.model} 的分词器，但它不在本机",
            ),
            hint=text("download the model first", "请先下载模型"),
        )
    print_rows(encode_in_child(config))


def encode_in_child(config: TrainConfig) -> Event:
    """Return the `data` event of a run; raise DataError for what is wrong with its rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "preview.yaml"
        path.write_text(write(config), encoding="utf-8")
        child = subprocess.run(
            module_command("swiftbox.display.row_preview", str(path)),
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        message = text("the preview failed", "预览失败")
        raise UserError(
            f"{message}: {child.stderr[-ERROR_CHARACTERS:]}",
            hint=text(
                "`swiftbox check FILE` without --preview checks the rest",
                "不带 --preview 的 `swiftbox check FILE` 可检查其余部分",
            ),
        ) from None
    if "error" in answer:
        raise DataError(answer["error"], hint=answer["hint"])
    return answer


def print_rows(data: Mapping[str, Any]) -> None:
    """Print samples and lengths; without colour the learned parts stand in [[ ]]."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    coloured = console.color_system is not None and not console.no_color
    for number, sample in enumerate(data["preview"], 1):
        console.rule(text(f"sample {number}", f"样本 {number}"))
        line = Text()
        for part in sample:
            content = printable(part["text"], lines=True)
            if not part["learned"]:
                line.append(content)
            elif coloured:
                line.append(content, style="green")
            else:
                line.append(f"[[{content}]]")
        console.print(line)
    console.rule()
    legend = text("learned tokens are green", "绿色为参与学习的 token")
    plain = text("learned tokens are in [[ ]]", "[[ ]] 内为参与学习的 token")
    console.print(legend if coloured else plain)
    for row in data_lines(data):
        console.print(printable(row, lines=True), markup=False, highlight=False)


def encode(path: Path) -> Event:
    """Return the `data` event of a YAML's rows, or its error; only the child calls this."""
    from swiftbox.methods import METHODS
    from swiftbox.runs.heavy_imports import heavy_imports
    from swiftbox.runs.optional_packages import hide_packages
    from swiftbox.tasks.load import load, require_training
    from swiftbox.tasks.training_check import sources_of
    from swiftbox.tasks.training_packages import unused_packages

    answer: dict[str, Any] = {}

    def keep(event: str, **fields: Any) -> None:
        answer.update(fields, event=event)

    try:
        config = require_training(load(path).config)
        hide_packages(unused_packages(config))
        with heavy_imports():
            from swiftbox.core.data.cache import ExampleEncoder
            from swiftbox.core.data.prepare import load_tokenizer, prepare_rows

        method = METHODS[config.model_dump()["stage"]]
        tokenizer = load_tokenizer(Path(config.model).expanduser(), config)
        encoder = ExampleEncoder.of(method, tokenizer, config)
        prepare_rows(encoder, sources_of(config), keep)
    except UserError as error:
        return {"error": error.message, "hint": error.hint}
    return answer


def main() -> int:
    """Encode the rows of the YAML that the command line names, and print the event."""
    event = encode(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
