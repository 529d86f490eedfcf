"""A light that listens: `left` switches it on, `right` switches it off.

    pip install 'edgelearn[gpio]'
    python examples/light_on_gpio.py --pin 17

`edgelearn listen` can do this by itself, with a few lines of settings (see configs/runtime.toml); here is where to go
on from when a light is not enough.
"""

from __future__ import annotations

import argparse
import sys

from gpiozero import LED

from edgelearn.cli.sources import open_source
from edgelearn.config import default_model, load_settings
from edgelearn.runtime.model import open_user_model
from edgelearn.runtime.voice import VoiceDevice
from edgelearn.runtime.words_in import words_in


def main(argv: list[str] | None = None) -> int:
    """Listen, and switch the light."""
    parser = argparse.ArgumentParser(description="A light that listens.")
    parser.add_argument("--pin", type=int, default=17, help="Broadcom number of the pin (default: 17)")
    parser.add_argument("--on", default="left", metavar="WORD", help="word that switches it on")
    parser.add_argument("--off", default="right", metavar="WORD", help="word that switches it off")
    parser.add_argument("--input", default="mic", metavar="mic|FILE|-", help="the sound (default: mic)")
    args = parser.parse_args(argv)

    device = VoiceDevice(open_user_model(default_model()[0]))  # your own words, and those that ship
    light = LED(args.pin)
    try:
        with open_source(args.input, load_settings().audio) as sound:
            for event in words_in(sound, device):
                if event.word == args.on:
                    light.on()
                elif event.word == args.off:
                    light.off()
                print(f"{event.word:12} score {event.score:.2f}  the light is {'on' if light.is_lit else 'off'}")
    except KeyboardInterrupt:
        print("good-bye")
    finally:
        light.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
