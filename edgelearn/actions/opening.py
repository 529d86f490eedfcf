"""From the settings of actions to actions that run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgelearn.actions.runner import Action, Actions, Report, Worker
from edgelearn.actions.spec import ActionSpec, CommandSpec, FifoSpec, GpioSpec, MqttSpec


def open_actions(specs: Iterable[ActionSpec], patient: bool, report: Report) -> Actions:
    """Open every action, or none; see `Worker` for `patient` and `report`.

    Raises EdgelearnError for an extra that is not installed and for pins, files and pipes that cannot be used.
    """
    workers: list[Worker] = []
    try:
        for spec in specs:
            workers.append(Worker(spec.title, open_action(spec, report), spec.words, patient, report))
    except BaseException:
        for worker in workers:
            worker.close()
        raise
    return Actions(workers)


def open_action(spec: ActionSpec, report: Report) -> Action:
    """Return the action that a table of the settings asks for."""
    # an action's module is imported when it is asked for, and its package with it
    if isinstance(spec, CommandSpec):
        from edgelearn.actions.command import CommandAction

        return CommandAction(spec.command, spec.timeout_s)
    if isinstance(spec, FifoSpec):
        from edgelearn.actions.fifo import FifoAction

        return FifoAction(Path(spec.path).expanduser())
    if isinstance(spec, MqttSpec):
        from edgelearn.actions.mqtt import MqttAction

        return MqttAction(spec, report)
    if isinstance(spec, GpioSpec):
        from edgelearn.actions.gpio import GpioAction

        return GpioAction(spec)
    raise TypeError(f"{type(spec).__name__} is no kind of action")
