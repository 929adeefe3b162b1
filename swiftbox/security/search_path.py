"""Where this process searches modules: not in the current folder, which may be a stranger's.

This is the first module of `python -m swiftbox`. It imports only what Python has at its start;
__future__ is a module too.
"""

import os
import sys


def absolute_entries(search_path: str) -> list[str]:
    """Return the entries of a search path that do not depend on the current folder."""
    return [entry for entry in search_path.split(os.pathsep) if os.path.isabs(entry)]


def drop_current_folder() -> None:
    """Drop the current folder, which `python -m swiftbox` has put first on the search path.

    Does nothing in a process that was started otherwise. In a checkout that is not installed it is
    where swiftbox lies: it moves to the end, and to the PYTHONPATH of children.
    """
    if sys.flags.safe_path or not _is_started_as_module():
        return
    folder = sys.path.pop(0)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.abspath(folder) == root and not _is_installed():
        sys.path.append(root)
        entries = absolute_entries(os.environ.get("PYTHONPATH", ""))
        os.environ["PYTHONPATH"] = os.pathsep.join([*entries, root])


def drop_relative_entries() -> None:
    """Drop the empty and relative entries of PATH, and what those of PYTHONPATH have added.

    `export PYTHONPATH=$PYTHONPATH:/folder` leaves an empty entry, which is the current folder.
    """
    if "PATH" in os.environ:
        os.environ["PATH"] = os.pathsep.join(absolute_entries(os.environ["PATH"]))
    if "PYTHONPATH" not in os.environ or sys.flags.ignore_environment:
        return
    entries = os.environ["PYTHONPATH"].split(os.pathsep)
    absolute = absolute_entries(os.environ["PYTHONPATH"])
    try:
        dropped = {os.path.abspath(entry) for entry in entries if not os.path.isabs(entry)}
    except OSError:  # the current folder was deleted: nothing can be imported from there
        dropped = set()
    dropped.difference_update(absolute)
    sys.path[:] = [entry for entry in sys.path if entry and entry not in dropped]


def _is_started_as_module() -> bool:
    """Tell whether Python is about to run `-m swiftbox` or one of its modules."""
    options = zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    return sys.argv[:1] == ["-m"] and any(
        option.startswith("-") and option.endswith("m") and name.partition(".")[0] == "swiftbox"
        for option, name in options
    )


def _is_installed() -> bool:
    """Tell whether another process finds swiftbox without the current folder."""
    return any(finder.find_spec("swiftbox", None) is not None for finder in sys.meta_path)
