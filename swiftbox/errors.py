"""Errors that the user can fix; everything else is a bug, whose traceback goes to a file.

UserError                 exit 2: the request is wrong
├── ConfigError           a YAML, an override or a flag (carries every problem of the file)
├── DataError             a dataset: rows, columns, files
├── MachineError          this machine cannot do it: device, memory, disk, a missing package
├── HubError              a model or dataset could not be fetched
├── RunError              a run folder: missing, busy, contradicting, not resumable
│   ├── DiskFullError     its disk has no room for what the run writes
│   ├── MemoryLimitError  the memory has no room for the smallest batch
│   └── ChildError        exit 1: a process that the run started was killed or failed
├── ResultError           exit 1: the result of a run failed its check and was not kept
└── UnexpectedError       exit 1: an error that nobody expected; its traceback is in a file
"""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """An error with what is wrong, including the value, and in `hint` what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(UserError):
    """A YAML file, an override or a flag is wrong; `message` holds one line per problem."""


class DataError(UserError):
    """A dataset is missing, unreadable or has rows that cannot be trained on."""


class MachineError(UserError):
    """This machine cannot do what was requested."""


class HubError(UserError):
    """A model or a dataset could not be fetched."""


class RunError(UserError):
    """A run folder is missing, busy, or contradicts the request."""


class DiskFullError(RunError):
    """The disk of a run folder has no room for what the run is about to write."""


class MemoryLimitError(RunError):
    """The memory of a device has no room for the smallest batch that a run can compute."""


class ChildError(RunError):
    """A process that a run started was killed or failed; the request need not be wrong."""


class ResultError(UserError):
    """The result of a run failed its check; nothing that looks finished is left."""


class UnexpectedError(UserError):
    """An error that no part of swiftbox expected: a bug, or an input that nobody thought of."""


def raise_together(errors: Sequence[UserError]) -> None:
    """Raise errors as one with all their messages and hints, so that none hides another."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        kinds = {type(error) for error in errors}
        message = "\n".join(error.message for error in errors)
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        raise (kinds.pop() if len(kinds) == 1 else ConfigError)(message, hint="\n".join(hints))
