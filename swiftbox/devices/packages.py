"""Which packages are installed, told from the names of their metadata folders alone.

importlib.metadata parses each package's metadata as an e-mail: that takes longer than all else
that `check` does with versions.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import cache

INFO = re.compile(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")


def version_of(package: str) -> str | None:
    """Return the installed version of a distribution; None when it is not there."""
    return _versions(tuple(sys.path)).get(_normal(package))


@cache
def _versions(path: tuple[str, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue  # a zip file, or a place that is gone
        for name in names:
            if match := INFO.fullmatch(name):
                found.setdefault(_normal(match[1]), match[2])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
