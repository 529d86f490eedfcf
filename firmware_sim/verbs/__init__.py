"""The verbs of `python -m firmware_sim`, one module each: HELP, `add_arguments(parser)` and `run(args) -> int`."""

from __future__ import annotations

VERBS = {
    "accelerator": "the training accelerator, cycle by cycle",
    "run": "the device on a virtual clock: deadlines, energy, flash, power cuts",
}
"""Each verb, which is the name of its module, and what it is about."""
