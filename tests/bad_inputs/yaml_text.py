"""Files that are not the YAML of a config: encodings, special files, bombs, odd syntax."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bad_inputs.case import YAML, BadInput, MakeFile, with_line

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Nine levels of nine aliases: 387 million items in 400 bytes."""

TEXTS: dict[str, tuple[str, str]] = {
    "empty": ("", "required"),
    "only-comments": ("# nothing\n", "required"),
    "only-a-scalar": ("hello", "key: value"),
    "only-a-list": ("- a\n- b\n", "key: value"),
    "only-null": ("null", "key: value"),
    "two-documents": (YAML + "---\nmodel: x\n", "YAML"),
    "json-list": ("[1, 2]", "key: value"),
    "html": ("<html><body>not found</body></html>", "key: value"),
    "git-lfs-pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", ""),
    "bomb": (BOMB, "aliases"),
    "bomb-of-mappings": (BOMB.replace("[", "{k: [").replace("]", "]}"), ""),
    "alias-of-itself": (YAML + "columns: &a {x: *a}\n", "alias"),
    "list-in-itself": (YAML + "target_modules: &a [*a]\n", "alias"),
    "alias-without-anchor": (YAML + "template: *nothing\n", "alias"),
    "deep-flow": (YAML + "columns: " + "[" * 5000 + "]" * 5000, "nesting"),
    "deep-braces": (YAML + "columns: " + "{a: " * 300 + "}" * 300, "nested"),
    "deep-sequences": (YAML + "columns:\n  " + "- " * 20_000 + "a\n", "nested"),
    "deep-keys": (YAML + "? " * 20_000 + "a\n", "nested"),
    "deep-indentation": (YAML + "".join(" " * n + "a:\n" for n in range(700)), "nested"),
    "many-keys": ("".join(f"key{n}: 1\n" for n in range(60_000)), "keys"),
    "many-keys-of-a-mapping": (
        YAML + "columns:\n" + "".join(f"  k{n}: a\n" for n in range(60_000)),
        "keys and values",
    ),
    "999-unknown-keys": ("".join(f"key{n}: 1\n" for n in range(999)), "more"),
    "long-line": (YAML + "template: " + "x" * 900_000, "longer than a path"),
    "long-key": (YAML + "x" * 900 + ": 1\n", "not a known key"),
    "long-number": (YAML + "seed: " + "9" * 5000, "seed"),
    "too-large": (YAML + "# " + "x" * 2**20, "larger than 1.0 MiB"),
    "unclosed-quote": (YAML + 'template: "abc\n', "YAML"),
    "unclosed-bracket": (YAML + "target_modules: [a, b\n", "YAML"),
    "unclosed-brace": (YAML + "columns: {a: b\n", "YAML"),
    "tab": (YAML + "columns:\n\ta: b\n", "tab"),
    "colon-in-value": (YAML + "template: a: b\n", "YAML"),
    "percent": (YAML + "template: %x\n", "YAML"),
    "at-sign": (YAML + "template: @x\n", "YAML"),
    "backtick": (YAML + "template: `x`\n", "YAML"),
    "bad-escape": (YAML + 'template: "\\q"\n', "YAML"),
    "no-space": ("model:m\ndataset:d\n", "key: value"),
    "key-without-colon": (YAML + "lora_rank\n", "YAML"),
    "repeated-key": (YAML + "seed: 1\nseed: 2\n", "given twice"),
    "repeated-inner-key": (YAML + "columns: {a: prompt, a: text}\n", "given twice"),
    "list-as-key": (YAML + "? [a, b]\n: 1\n", "a key should be text"),
    "mapping-as-key": (YAML + "{a: 1}: 1\n", "a key should be text"),
    "list-as-inner-key": (YAML + "columns: {[a]: b}\n", "a key should be text"),
    "number-as-key": (YAML + "1: 2\n", "not a known key"),
    "null-as-key": (YAML + "~: 2\n", "not a known key"),
    "empty-key": (YAML + ": 2\n", ""),
    "number-as-inner-key": (YAML + "columns: {1: text}\n", "should be text"),
    "merge-key": ("base: &b {seed: 1}\n" + YAML + "<<: *b\n", "not a known key"),
    "merge-of-a-number": (YAML + "columns: {<<: 3}\n", "columns"),
    "python-tag": (YAML + "template: !!python/object/apply:os.system ['true']\n", "!!python"),
    "python-name": (YAML + "template: !!python/name:os.system\n", "!!python"),
    "python-tuple": (YAML + "target_modules: !!python/tuple [a]\n", "!!python"),
    "binary": (YAML + "template: !!binary aGVsbG8=\n", "!!binary"),
    "binary-that-is-none": (YAML + "template: !!binary é\n", "!!binary"),
    "set": (YAML + "target_modules: !!set {a, b}\n", "!!set"),
    "omap": (YAML + "columns: !!omap [a: b]\n", "!!omap"),
    "own-tag": (YAML + "template: !mine x\n", "!mine"),
    "int-tag-of-a-word": (YAML + "seed: !!int many\n", "whole number"),
    "float-tag-of-a-word": (YAML + "learning_rate: !!float fast\n", "a number"),
    "date-tag-of-a-word": (YAML + "seed: !!timestamp today\n", "whole number"),
    "impossible-date": (YAML + "seed: 2024-13-45\n", "whole number"),
    "escaped-zero": ('model: "m\\0x"\nhub: local\ndataset: rows.jsonl\n', "control character"),
    "escaped-bell": (YAML + 'template: "a\\ax"\n', "control character"),
    "escaped-escape": (YAML + 'template: "\\e[31mred"\n', "control character"),
    "escaped-control-in-key": (YAML + '"a\\0b": 1\n', "not a known key"),
    "surrogate": (YAML + 'template: "\\ud800"\n', ""),
    "unbalanced-comment": (YAML + "template: [#]\n", "YAML"),
    "windows-path": (YAML + 'template: "C:\\new\\x"\n', ""),
    "directive": ("%YAML 9.9\n---\n" + YAML, "YAML"),
}
"""Name, content, and a part of the answer."""

BYTES: dict[str, tuple[bytes, str]] = {
    "zero-byte": (YAML.encode() + b"seed: 1\x00\n", "control character U+0000"),
    "bell": (YAML.encode() + b"template: a\x07\n", "control character U+0007"),
    "escape": (YAML.encode() + b"template: \x1b[31m\n", "control character U+001B"),
    "delete": (YAML.encode() + b"template: a\x7f\n", "control character U+007F"),
    "c1-control": (YAML.encode() + "template: a\x9b\n".encode(), "control character U+009B"),
    "latin-1": (YAML.encode() + b"template: caf\xe9\n", "UTF-8"),
    "utf-16": (YAML.encode("utf-16"), "UTF-8"),
    "utf-16-without-mark": (YAML.encode("utf-16-le"), "control character U+0000"),
    "utf-32": (YAML.encode("utf-32"), ""),
    "gbk": (YAML.encode() + "template: 模板\n".encode("gbk"), "UTF-8"),
    "png": (b"\x89PNG\r\n\x1a\n\x00\x00", "UTF-8"),
    "zip": (b"PK\x03\x04\x14\x00\x00", "control character"),
    "gzip": (b"\x1f\x8b\x08\x00", "UTF-8"),
    "zeros": (b"\x00" * 4096, "control character U+0000"),
    "half-a-character": (YAML.encode() + b"# \xe4\xb8", "UTF-8"),
    "overlong": (YAML.encode() + b"# \xc0\xaf\n", "UTF-8"),
}


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:  # the name of a socket may have 107 bytes
            listener.bind(f"/proc/self/fd/{descriptor}/{path.name}")
        finally:
            os.close(descriptor)


def _link_to(target: str) -> MakeFile:
    return lambda path: path.symlink_to(target)


SPECIAL: dict[str, MakeFile] = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "folder": lambda path: path.mkdir(),
    "link-to-zero": _link_to("/dev/zero"),
    "link-to-null": _link_to("/dev/null"),
    "link-to-tty": _link_to("/dev/tty"),
    "link-to-nothing": _link_to("nowhere"),
    "link-to-itself": _link_to("a.yaml"),
    "link-to-a-fifo": lambda path: (os.mkfifo(path.parent / "f"), path.symlink_to("f")),
    "link-to-memory": _link_to("/proc/self/mem"),
    "link-to-environment": _link_to("/proc/self/environ"),
    "link-to-kernel-log": _link_to("/proc/kmsg"),
}

NAMES = {
    "absent": "nowhere.yaml",
    "no-file": "",
    "below-a-file": "rows.jsonl/a.yaml",
    "zero-device": "/dev/zero",
    "random-device": "/dev/urandom",
    "standard-input": "/dev/stdin",
    "long-name": "x" * 300 + ".yaml",
    "long-path": "/".join(["x" * 200] * 30),
    "zero-in-name": "a\0.yaml",
    "not-utf-8": "\udcff.yaml",
    "newline-in-name": "a\nb.yaml",
    "escape-in-name": "\x1b[31m.yaml",
    "memory-of-process-1": "/proc/1/mem",
    "dataset": "rows.jsonl",
    "weights": "m/model.safetensors",
}
"""File arguments that are no YAML."""


def cases() -> Iterator[BadInput]:
    """Yield the cases of the group."""
    for name, (content, expected) in TEXTS.items():
        yield BadInput(name, files={"a.yaml": content}, expected=expected)
    for name, (data, expected) in BYTES.items():
        yield BadInput(f"bytes-{name}", files={"a.yaml": data}, expected=expected)
    for name, make in SPECIAL.items():
        yield BadInput(f"special-{name}", files={"a.yaml": make}, in_child=True)
    for name, path in NAMES.items():
        in_child = path.startswith("/dev")
        yield BadInput(f"file-{name}", ("check", path), in_child=in_child)
        yield BadInput(f"run-{name}", ("run", path), in_child=in_child)
    yield BadInput("bomb-in-a-child", files={"a.yaml": BOMB}, in_child=True)
    yield BadInput("key-of-a-mapping-that-is-no-text", files=with_line("columns: {2024-01-01: x}"))
