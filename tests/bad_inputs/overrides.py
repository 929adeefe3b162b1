"""Overrides that are not settings, and run folders that cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bad_inputs.case import BadInput

OVERRIDES: dict[str, tuple[str, str]] = {
    "no-equals": ("lora_rank", "should be key=value"),
    "no-key": ("=8", "should be key=value"),
    "only-equals": ("=", "should be key=value"),
    "no-value": ("lora_rank=", "it is empty"),
    "two-equals": ("lora_rank==8", "whole number (got =8)"),
    "colon": ("lora_rank: 8", "should be key=value"),
    "space-in-key": ("lora rank=8", "did you mean lora_rank"),
    "dash-in-key": ("lora-rank=8", "did you mean lora_rank"),
    "capitals": ("LORA_RANK=8", "not a known key"),
    "unknown-key": ("foo=1", "not a known key"),
    "key-of-a-step": ("sft.lora_rank=8", "not a known key"),
    "dots": ("..=1", "not a known key"),
    "long-key": ("x" * 10_000 + "=1", "not a known key"),
    "option-as-override": ("--lora_rank=8", "unrecognized arguments"),
    "number-of-words": ("lora_rank=eight", "whole number (got eight)"),
    "octal": ("lora_rank=010", "010, which YAML reads as 8"),
    "true-as-number": ("lora_rank=true", "whole number"),
    "sexagesimal": ("max_steps=1:30", "which YAML reads as 90"),
    "hexadecimal": ("seed=0x10", "which YAML reads as 16"),
    "open-bracket": ("target_modules=[a", "is not YAML"),
    "open-brace": ("columns={a", "is not YAML"),
    "open-quote": ("template='a", "is not YAML"),
    "closed-too-early": ("target_modules=[a]]", "is not YAML"),
    "json-without-comma": ('columns={"a" "b"}', "is not YAML"),
    "bomb": ("columns={a: &a [x,x], b: &b [*a,*a], c: [*b,*b]}", "columns"),
    "alias-of-itself": ("columns=&a {x: *a}", "alias"),
    "deep": ("columns=" + "[" * 500 + "]" * 500, "nested"),
    "repeated-key": ("columns={a: prompt, a: text}", "given twice"),
    "python-tag": ("template=!!python/object/apply:os.getcwd []", "!!python"),
    "binary-tag": ("template=!!binary aGk=", "!!binary"),
    "control-character": ("template=a\x1b[31m", "control character U+001B"),
    "zero-byte": ("template=a\0b", "not UTF-8"),
    "surrogate": ("template=\udcff", "not UTF-8"),
    "long-value": ("template=" + "x" * 100_000, "longer than a path"),
    "empty-list": ("dataset=[]", "should not be empty"),
    "mapping-as-text": ("template={a: b}", "text"),
    "unknown-task": ("task=trian", "did you mean train"),
    "list-as-task": ("task=[train]", "one of"),
    "unknown-stage": ("stage=dppo", "did you mean dpo"),
    "unknown-file": ("template=nowhere.jinja", "no file"),
    "version": ("version=9", "version"),
}
"""Name, override, and a part of the answer."""

FOLDERS: dict[str, tuple[str, str]] = {
    "a-file": ("a.yaml", "not a folder"),
    "below-a-file": ("a.yaml/r", "not a folder"),
    "root": ("/", "folder of everything"),
    "home": ("'~'", "folder of everything"),
    "above-home": ("~/..", "folder of everything"),
    "unknown-user": ("~nobody-of-this-name/r", "not the home"),
    "model-folder": ("m", "inside model"),
    "in-the-model-folder": ("m/out/r", "inside model"),
    "proc": ("/proc/r", "belongs to the system"),
    "sys": ("/sys/r", "belongs to the system"),
    "device": ("/dev/null", "system"),
    "below-a-device": ("/dev/null/r", "system"),
    "long-name": ("r" * 254, "too long"),
    "longer-name": ("r" * 300, "longer than a file name"),
    "long-path": ("/".join(["r" * 150] * 25), "too long"),
    "longer-path": ("/".join(["r" * 150] * 30), "longer than a path"),
    "empty": ("''", "should not be empty"),
    "blank": ("'  '", "should not be empty"),
    "null": ("null", "it is empty"),
    "list": ("[a]", "text"),
    "link-to-itself": ("loop", ""),
    "zero-byte": ('"a\\0b"', "control character"),
}
"""Name, value of `output_dir`, and a part of the answer."""


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def cases() -> Iterator[BadInput]:
    """Yield the cases of the group."""
    for name, (override, expected) in OVERRIDES.items():
        yield BadInput(name, ("check", "a.yaml", override), expected=expected)
    for name, (folder, expected) in FOLDERS.items():
        arguments = ("check", "a.yaml", f"output_dir={folder}")
        yield BadInput(f"output-{name}", arguments, files={"loop": _loop}, expected=expected)
    yield BadInput("output-auto-below-a-file", files={"runs": "a file\n"}, expected="not a folder")
    yield BadInput(
        "output-in-the-dataset",
        ("check", "a.yaml", "dataset=d", "output_dir=d/r"),
        files={"d/rows.jsonl": '{"prompt": "q", "response": "a"}\n'},
        expected="inside dataset",
    )
    yield BadInput(
        "repeated",
        ("check", "a.yaml", "lora_rank=4", "lora_rank=16"),
        expected="lora_rank=4 is not used",
        code=0,
    )
