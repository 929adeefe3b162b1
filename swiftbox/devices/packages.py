"""Which packages are installed, from the names of their metadata folders alone.

importlib.metadata parses each package's metadata as an e-mail, which takes longer than everything
else that `check` does with versions.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import cache

INFO = re.compile(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")


def version_of(package: str) -> str | None:
    """Return the installed version of a distribution; None if it is not installed."""
    return _versions(tuple(sys.path)).get(_normal(package))


@cache
def _versions(path: tuple[str, ...]) -> Mapping[str, str]:
    versions: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue  # a zip file, or a removed folder
        for name in names:
            if match := INFO.fullmatch(name):
                versions.setdefault(_normal(match[1]), match[2])
    return versions


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
