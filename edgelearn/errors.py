"""Every error that a user can meet, in one tree.

    EdgelearnError        exit 1
    ├── TakeRejected      exit 1   a recording is not fit to learn from
    ├── LearningRejected  exit 1   an update cost the old words too much and was undone
    ├── UsageError        exit 2   an argument, a setting or an input file
    ├── AudioDeviceError  exit 3   a microphone
    ├── ModelFileError    exit 4   a model file
    └── BudgetExceeded    exit 5   the memory budget of the device

A message says what is wrong, a hint says what to do about it; no error of this tree is ever shown as a traceback.
"""

from __future__ import annotations


class EdgelearnError(Exception):
    """Something failed in a way that a user can act on; `hint` tells how."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class TakeRejected(EdgelearnError):
    """A recording is not fit to learn from: clipped, too quiet, too short, or unlike the other takes."""


class LearningRejected(EdgelearnError):
    """An update cost the old words more than its limit and was undone."""


class UsageError(EdgelearnError):
    """An argument, a setting or an input file is not usable."""

    exit_code = 2


class AudioDeviceError(EdgelearnError):
    """A microphone is missing, busy, or does not support what was asked."""

    exit_code = 3


class ModelFileError(EdgelearnError):
    """A model file is missing, damaged, foreign or newer than this program."""

    exit_code = 4


class BudgetExceeded(EdgelearnError):
    """A region does not fit what is left of the device's memory budget.

    region: its name; asked_bytes, free_bytes, budget_bytes: sizes in bytes.
    """

    exit_code = 5

    def __init__(self, region: str, asked_bytes: int, free_bytes: int, budget_bytes: int, hint: str = "") -> None:
        super().__init__(
            f"region {region!r} needs {asked_bytes:,} bytes, {free_bytes:,} of {budget_bytes:,} are free", hint
        )
        self.region = region
        self.asked_bytes = asked_bytes
        self.free_bytes = free_bytes
        self.budget_bytes = budget_bytes
