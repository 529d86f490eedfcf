"""`edgelearn listen`: the words in a microphone, a file or a stream."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from edgelearn.cli.action import Action
    from edgelearn.cli.appliance import Appliance
    from edgelearn.cli.sources import Source
    from edgelearn.runtime.session import Happening

HELP = (
    "Report the words in a sound file, in raw 16 kHz samples on stdin, or at a microphone; "
    "the same sound gives the same events."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source, the action and the settings."""
    parser.add_argument(
        "--input",
        default="mic",
        metavar="mic|FILE|-",
        help="the sound (default: mic; - is raw 16-bit 16 kHz mono on stdin)",
    )
    parser.add_argument(
        "--exec", metavar="CMD", help="run this for each word, without a shell; EDGELEARN_WORD and _SCORE tell which"
    )
    add_settings(
        parser,
        "audio.device",
        "audio.rate",
        "device.budget",
        "device.board",
        "decision.sensitivity",
        "decision.refractory_ms",
    )


def run(args: argparse.Namespace) -> int:
    """Listen until the sound ends or Ctrl-C, then print what was done."""
    from edgelearn.cli.action import Action
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.sources import open_source

    action = Action(args.exec, patient=args.input not in ("mic", "-"))
    appliance = open_appliance(args)
    appliance.device.warm_up()  # nothing compiles while a stream is open
    with open_source(args.input, appliance.settings.audio) as source:
        listening = Listening(appliance, source, action, bool(args.json))
        try:
            listening.run()
            action.wait()
        except KeyboardInterrupt:
            if not listening.ended:
                raise
    return 0


class Listening:
    """One stream from its first block to its summary, with the time that computing takes."""

    def __init__(self, appliance: Appliance, source: Source, action: Action, as_json: bool) -> None:
        from edgelearn.runtime.session import Session

        self._appliance = appliance
        self._source = source
        self._action = action
        self._as_json = as_json
        self._session = Session(appliance.device, appliance.learner_config)
        self._busy = 0.0
        self.ended = False

    def run(self) -> None:
        """Report words until the sound ends or Ctrl-C, then what was done."""
        recognizer = self._appliance.device.recognizer
        gaps = 0
        try:
            if self._source.live:
                words = ", ".join(word.name for word in recognizer.words)
                say(f"listening for {words or 'nothing: the model has no words'} (Ctrl-C ends it)")
            for block in self._source:
                if self._source.gaps != gaps:
                    gaps = self._source.gaps
                    self._session.gap()
                self._push(self._session.push, block)
        except KeyboardInterrupt:
            say()
        frames, samples = recognizer.frames, self._session.samples
        self._push(self._session.finish)
        self._summary(frames, samples)

    def _push(self, step: Callable[..., list[Happening]], *block: NDArray[np.int16]) -> None:
        from edgelearn.cli.events import print_word
        from edgelearn.runtime.recognizer import Event

        started = time.perf_counter()
        happened = step(*block)
        self._busy += time.perf_counter() - started
        for event in happened:
            if isinstance(event, Event):
                print_word(event, self._as_json)
                self._action(event)

    def _summary(self, frames: int, samples: int) -> None:
        """Print what was done for a stream of so many frames and samples."""
        from edgelearn.runtime.session import SAMPLE_RATE_HZ

        board, counts = self._appliance.board, self._appliance.device.recognizer.counts
        energy_mj = self._appliance.energy_mj(counts)
        seconds = samples / SAMPLE_RATE_HZ
        factor = self._busy / seconds if seconds else 0.0
        self.ended = True  # from here on there is nothing left that a Ctrl-C would cut short
        if self._as_json:
            emit(
                "end", frames=frames, overruns=self._source.gaps, realtime_factor=round(factor, 5),
                energy_mj=round(energy_mj, 4), seconds=round(seconds, 3), sparsity=round(counts.sparsity, 4),
                board=board.name,
            )  # fmt: skip
        else:
            say(
                f"{seconds:.1f} s of sound, {frames} frames, {self._source.gaps} overruns, "
                f"real-time factor {factor:.4f}, {energy_mj:.3g} mJ of computing on {board.title} (estimate)"
            )
