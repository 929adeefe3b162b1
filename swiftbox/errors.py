"""Errors that are the user's to mend; everything else is a bug and keeps its traceback.

UserError                 exit 2: the request is wrong
├── ConfigError           a YAML, an override or a flag (carries every problem of the file)
├── DataError             a dataset: rows, columns, files
├── MachineError          this machine cannot do it: device, memory, disk, a missing package
├── HubError              a model or dataset could not be fetched
├── RunError              a run folder: missing, busy, contradicting, not resumable
└── ResultError           exit 1: what a run made failed its own check, and was not kept
"""

from __future__ import annotations


class UserError(Exception):
    """Say what is wrong, with the value, and in `hint` what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(UserError):
    """A YAML file, an override or a flag is wrong; `message` holds one line per problem."""


class DataError(UserError):
    """A dataset is missing, unreadable or has rows that cannot be trained on."""


class MachineError(UserError):
    """This machine cannot do what is asked."""


class HubError(UserError):
    """A model or a dataset could not be fetched."""


class RunError(UserError):
    """A run folder is missing, busy, or contradicts what is asked."""


class ResultError(UserError):
    """What a run made failed its own check; nothing that looks finished is left of it."""
