"""`new`, `import` and `schema`: YAML from presets and other tools, and what a YAML may say."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from swiftbox.cli.output import DONE, answer, answer_json, say
from swiftbox.errors import ConfigError
from swiftbox.files import reason_of, write_atomic, write_json
from swiftbox.formatting import did_you_mean, nearest
from swiftbox.language import home, text
from swiftbox.security.private import user_umask


def new(options: argparse.Namespace) -> int:
    """Write a YAML from a preset; without one, list the presets."""
    from swiftbox.config.presets import description, presets, without_example_adapter
    from swiftbox.config.writing import write
    from swiftbox.tasks.load import load

    files = presets()
    if options.preset is None:
        for name, path in files.items():
            answer(f"{name:<16} {description(path)}")
        return DONE
    if options.preset not in files:
        raise unknown_preset(options.preset, files)
    loaded = load(files[options.preset], options.overrides)
    config = without_example_adapter(loaded.config, options.overrides)
    target = options.output or "FILE"
    content = write(
        config,
        header=[
            text(f"Run: swiftbox run {target}", f"运行：swiftbox run {target}"),
            f"yaml-language-server: $schema={schema_file(loaded.config.task).as_uri()}",
        ],
        keys=loaded.keys if config is loaded.config else loaded.keys - {"adapter"},
    )
    if options.output:
        write_new(Path(options.output), content, force=options.force)
    else:
        answer(content.removesuffix("\n"))
    return DONE


def unknown_preset(name: str, presets: Iterable[str]) -> ConfigError:
    """Return the error for a preset that does not exist."""
    listed = ", ".join(presets)
    return ConfigError(
        text(f"no preset named {name}", f"没有名为 {name} 的预设"),
        hint=suggestion(name, presets) or text(f"presets: {listed}", f"可选：{listed}"),
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?`, or nothing when no known word is near."""
    return did_you_mean(nearest(word, known))


def write_new(target: Path, content: str, *, force: bool) -> None:
    """Write a new YAML file, and report the next command."""
    try:
        if target.exists() and not force:
            raise ConfigError(
                text(f"{target} exists", f"{target} 已存在"),
                hint=text("--force overwrites it", "--force 可覆盖"),
            )
        with user_umask():
            write_atomic(target, content)
    except OSError as error:
        reason = reason_of(error)
        raise ConfigError(
            text(f"cannot write {target}: {reason}", f"无法写入 {target}：{reason}"),
            hint=text("choose another file with -o", "请用 -o 另选文件"),
        ) from None
    say(
        text(
            f"wrote {target}; next: swiftbox check {target}",
            f"已写入 {target}；下一步：swiftbox check {target}",
        )
    )


def import_file(options: argparse.Namespace) -> int:
    """Convert a config of another tool, and account for each of its keys."""
    from swiftbox.converters.conversion import import_config
    from swiftbox.converters.report import as_json, lines_of, yaml_of

    imported = import_config(Path(options.file), options.overrides, tool=options.tool)
    content = yaml_of(imported, options.output or "FILE")
    if not options.json:
        for line in lines_of(imported):
            say(line)
    if options.output:
        write_new(Path(options.output), content, force=options.force)
    if options.json:
        account = as_json(imported, content, options.output)
        answer_json(account)
    elif not options.output:
        answer(content.removesuffix("\n"))
    return DONE


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a task."""
    from swiftbox.tasks import TASKS
    from swiftbox.tasks.schema import schema_of

    if options.task not in TASKS:
        listed = ", ".join(TASKS)
        raise ConfigError(
            text(f"no task named {options.task}", f"没有名为 {options.task} 的任务"),
            hint=text(f"tasks: {listed}", f"可选：{listed}"),
        )
    answer_json(schema_of(options.task), indent=2)
    return DONE


def schema_file(task: str) -> Path:
    """Write the schema of the installed version where editors find it; return its path."""
    from swiftbox.tasks.schema import schema_of

    path = home() / f"schema-{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, schema_of(task))
    return path.resolve()
