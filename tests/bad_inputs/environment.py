"""Surroundings that do not work: streams, the current folder, HOME, the state folder."""

from __future__ import annotations

from collections.abc import Iterator

from bad_inputs.case import BadInput

UNWRITABLE = "cannot write to standard output"

COMMANDS: dict[str, tuple[str, str]] = {
    "closed-stdout": ("swiftbox check a.yaml >&-", UNWRITABLE),
    "closed-stdout-of-help": ("swiftbox --help >&-", UNWRITABLE),
    "full-stdout": ("swiftbox check a.yaml >/dev/full", UNWRITABLE),
    "full-stdout-buffered": ("env -u PYTHONUNBUFFERED swiftbox models >/dev/full", UNWRITABLE),
    "full-stdout-of-help": ("env -u PYTHONUNBUFFERED swiftbox --help >/dev/full", UNWRITABLE),
    "full-stdout-unbuffered": ("PYTHONUNBUFFERED=1 swiftbox run --help >/dev/full", UNWRITABLE),
    "full-stdout-of-json": ("swiftbox models --json >/dev/full", UNWRITABLE),
    "full-stdout-of-new": ("swiftbox new sft-lora >/dev/full", UNWRITABLE),
    "read-only-stdout": ("swiftbox check a.yaml 1</dev/null", UNWRITABLE),
    "closed-stdin": ("swiftbox check nowhere.yaml <&-", "no such file"),
    "menu-without-a-terminal": ("swiftbox", "terminal"),
    "ascii-output-of-chinese": (
        "PYTHONIOENCODING=ascii SWIFTBOX_LANG=zh swiftbox check nowhere.yaml; "
        "code=$?; echo 'error: escaped, hint: '; exit $code",
        "\\u9519\\u8bef",
    ),
    "gbk-output-of-an-emoji": (
        "PYTHONIOENCODING=gbk swiftbox check '😀.yaml'",
        "\\U0001f600",
    ),
    "c-locale": ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 swiftbox check 'é.yaml'", ""),
    "deleted-folder": ("mkdir d && cd d && rmdir ../d && swiftbox check a.yaml", "was deleted"),
    "folder-not-utf-8": (
        "d=$(printf 'x\\377') && mkdir $d && cd $d && swiftbox check ../a.yaml; c=$?; cd ..; "
        "rmdir $d; exit $c",
        "not UTF-8",
    ),
    "override-not-utf-8": ("swiftbox check a.yaml template=$(printf '\\377')", "not UTF-8"),
    "file-not-utf-8": ("swiftbox check $(printf '\\377').yaml", "not UTF-8"),
    "verb-not-utf-8": ("swiftbox $(printf '\\377')", "not UTF-8"),
}
"""Name, shell line, and a part of the answer."""

VARIABLES: dict[str, tuple[dict[str, str | None], str]] = {
    "home-relative": ({"SWIFTBOX_HOME": "state"}, "absolute path"),
    "home-with-tilde": ({"SWIFTBOX_HOME": "~/state"}, "absolute path"),
    "home-dot": ({"SWIFTBOX_HOME": "."}, "absolute path"),
    "user-home-relative": ({"SWIFTBOX_HOME": None, "HOME": "here"}, "absolute path"),
}


def cases() -> Iterator[BadInput]:
    """Yield the cases of the group."""
    for name, (command, expected) in COMMANDS.items():
        yield BadInput(name, command=command, expected=expected)
    for name, (variables, expected) in VARIABLES.items():
        yield BadInput(name, environment=variables, expected=expected)
