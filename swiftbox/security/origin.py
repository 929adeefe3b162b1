"""Whether a record was written by this user on this machine: HMAC-SHA256 with a key of the user.

The key is 32 random bytes in SWIFTBOX_HOME, made once, readable by the user alone. Each file of a
run folder that a resume relies on carries its own signature, so that a kill between two writes
leaves no file unsigned: JSON in the key `signature`, YAML in its last line.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.files import file_lock, named_lock, write_atomic
from swiftbox.language import home

KEY_FILE = "origin.key"
KEY_BYTES = 32

SIGNATURE = "signature"
"""The key of the signature in a JSON file."""

YAML_LINE = "# signature: "
"""What the last line of a signed YAML starts with."""


def signed_json(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON content with its signature; without one if SWIFTBOX_HOME cannot hold a key.

    `kind` is the name of the file: a signed file of another name does not pass for it.
    """
    unsigned = {name: value for name, value in content.items() if name != SIGNATURE}
    signature = _signature(kind, _canonical(unsigned), _key_for_signing())
    return {**unsigned, SIGNATURE: signature} if signature else unsigned


def is_signed_json(kind: str, content: Mapping[str, Any]) -> bool:
    """Tell whether JSON content was written by this user on this machine."""
    unsigned = {name: value for name, value in content.items() if name != SIGNATURE}
    return _is_valid(kind, _canonical(unsigned), content.get(SIGNATURE))


def signed_yaml(kind: str, content: str) -> str:
    """Return YAML text with its signature as the last line; unchanged without a key."""
    signature = _signature(kind, content.encode(), _key_for_signing())
    return f"{content}{YAML_LINE}{signature}\n" if signature else content


def is_signed_yaml(kind: str, content: str) -> bool:
    """Tell whether YAML text was written by this user on this machine and not edited since."""
    start = content.rfind(f"\n{YAML_LINE}") + 1
    signature = content[start:].removeprefix(YAML_LINE).removesuffix("\n")
    return start > 0 and _is_valid(kind, content[:start].encode(errors="replace"), signature)


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _is_valid(kind: str, content: bytes, signature: object) -> bool:
    import hmac

    expected = _signature(kind, content, _read_key())
    if not expected or not isinstance(signature, str):
        return False
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))


def _signature(kind: str, content: bytes, key: bytes | None) -> str:
    """Return the signature in hex; empty without a key."""
    import hmac

    return hmac.digest(key, kind.encode() + b"\0" + content, "sha256").hex() if key else ""


def _key_for_signing() -> bytes | None:
    """Return the key, made if there is none; None if SWIFTBOX_HOME cannot be written."""
    key = _read_key()
    if key is None:
        with contextlib.suppress(OSError), file_lock(named_lock(KEY_FILE)):
            key = _read_key() or _make_key(home() / KEY_FILE)
    return key


def _read_key() -> bytes | None:
    """Return the key of this user; None if it is lost, torn or not a regular file."""
    try:
        descriptor = os.open(home() / KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        key = file.read(KEY_BYTES + 1)
    return key if len(key) == KEY_BYTES else None


def _make_key(path: Path) -> bytes:
    """Write a new key; the lock keeps other processes from making another one meanwhile."""
    key = os.urandom(KEY_BYTES)
    write_atomic(path, key, mode=0o600)
    return key
