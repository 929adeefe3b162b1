"""Show rows as the model sees them: three samples with the learned tokens coloured, and lengths."""

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
from swiftbox.display.live import lengths
from swiftbox.errors import ConfigError, DataError, UserError
from swiftbox.language import text


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
    paint(collect(config))


def collect(config: TrainConfig) -> Mapping[str, Any]:
    """Return the `data` event that the run would record; asked of a child, which may use torch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "preview.yaml"
        path.write_text(write(config), encoding="utf-8")
        child = subprocess.run(
            [sys.executable, "-m", "swiftbox.display.preview_child", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise UserError(
            text("the preview failed", "预览失败") + f": {child.stderr[-2000:]}"
        ) from None
    if "error" in found:
        raise DataError(found["error"], hint=found["hint"])
    return found


def paint(data: Mapping[str, Any]) -> None:
    """Print samples and lengths; without colour the learned parts stand in [[ ]]."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    coloured = console.color_system is not None and not console.no_color
    for number, sample in enumerate(data["preview"], 1):
        console.rule(text(f"sample {number}", f"样本 {number}"))
        line = Text()
        for part in sample:
            if not part["learned"]:
                line.append(part["text"])
            elif coloured:
                line.append(part["text"], style="green")
            else:
                line.append(f"[[{part['text']}]]")
        console.print(line)
    console.rule()
    legend = text("learned tokens are green", "绿色为参与学习的 token")
    plain = text("learned tokens stand in [[ ]]", "[[ ]] 内为参与学习的 token")
    console.print(legend if coloured else plain)
    for row in lengths(data):
        console.print(row)
