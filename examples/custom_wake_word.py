"""A wake word of your own: say it three times, and from then on it is the only word that this program answers to.

    python examples/custom_wake_word.py computer

The words that ship are heard, too, but not answered: they are what the new word must not be mistaken for.  Nothing is
saved; for that there is `edgelearn add`.
"""

from __future__ import annotations

import argparse
import sys

from edgelearn.cli.sources import open_source
from edgelearn.config import load_settings
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Happening, Session, TakeHeard, Taught
from edgelearn.runtime.voice import VoiceDevice


def tell(happened: list[Happening], word: str) -> None:
    """Print what became of takes and lesson, and when the word is heard."""
    for one in happened:
        if isinstance(one, TakeHeard):
            print(one.problem or f"heard; {one.missing} to go")
        elif isinstance(one, Taught):
            print(f"learned in {one.report.updates} steps: now say it, or something else")
        elif isinstance(one, Event) and one.word == word:
            print(f"{one.end_s:7.2f} s  awake! (score {one.score:.2f})", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Learn the word, then wait for it."""
    parser = argparse.ArgumentParser(description="A wake word of your own.")
    parser.add_argument("word", help="what to call it")
    parser.add_argument("--takes", type=int, default=3, help="how often you say it first (default: 3)")
    parser.add_argument("--input", default="mic", metavar="mic|FILE|-", help="the sound (default: mic)")
    args = parser.parse_args(argv)

    device = VoiceDevice(load_model(BASE_MODEL))
    device.warm_up()
    session = Session(device, LearnerConfig())
    session.ask_for(args.word, args.takes)
    print(f"say {args.word!r} {args.takes} times, with a second of silence after each")
    gaps = 0
    try:
        with open_source(args.input, load_settings().audio) as sound:
            for block in sound:
                if sound.gaps != gaps:
                    gaps = sound.gaps
                    session.gap()
                tell(session.push(block), args.word)
        tell(session.finish(), args.word)
    except KeyboardInterrupt:
        print("good-bye")
    return 0


if __name__ == "__main__":
    sys.exit(main())
