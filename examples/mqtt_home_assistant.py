"""Words as events in Home Assistant, by MQTT: it finds the device by itself, and knows whether somebody listens.

    pip install 'edgelearn[mqtt]'
    python examples/mqtt_home_assistant.py --host homeassistant.local --username me --password-file secret

In Home Assistant the device "edgelearn" then has an event entity; an automation is triggered by its state, and reads
the word from its attribute `event_type`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from paho.mqtt import publish

from edgelearn.actions.opening import open_actions
from edgelearn.actions.spec import MqttSpec
from edgelearn.cli.sources import open_source
from edgelearn.config import default_model, load_settings
from edgelearn.runtime.model import open_user_model
from edgelearn.runtime.voice import VoiceDevice
from edgelearn.runtime.words_in import words_in


def discovery(topic: str, words: list[str]) -> dict[str, object]:
    """Return what Home Assistant is to know (its documentation: MQTT discovery, MQTT event)."""
    return {
        "name": "Word",
        "unique_id": f"{topic}_word",
        "icon": "mdi:microphone-message",
        "state_topic": f"{topic}/word",
        "event_types": words,
        "value_template": "{{ {'event_type': value_json.word, 'score': value_json.score} | tojson }}",
        "availability_topic": f"{topic}/status",
        "device": {"identifiers": [topic], "name": "edgelearn"},
    }


def main(argv: list[str] | None = None) -> int:
    """Announce the words, then publish each one that is heard."""
    parser = argparse.ArgumentParser(description="Words as events in Home Assistant.")
    parser.add_argument("--host", default="localhost", help="the broker (default: localhost)")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username", default="")
    parser.add_argument("--password-file", default="", metavar="FILE", help="its first line is the password")
    parser.add_argument("--topic", default="edgelearn")
    parser.add_argument("--input", default="mic", metavar="mic|FILE|-", help="the sound (default: mic)")
    args = parser.parse_args(argv)

    device = VoiceDevice(open_user_model(default_model()[0]))
    words = [word.name for word in device.recognizer.words]
    login: publish.AuthParameter | None = None
    if args.username:
        password = Path(args.password_file).read_text(encoding="utf-8").splitlines()[0]
        login = {"username": args.username, "password": password}
    announcement = json.dumps(discovery(args.topic, words))
    where = f"homeassistant/event/{args.topic}/word/config"
    publish.single(where, announcement, qos=1, retain=True, hostname=args.host, port=args.port, auth=login)

    broker = MqttSpec(
        name="home_assistant", host=args.host, port=args.port, topic=args.topic, username=args.username,
        password_file=args.password_file,
    )  # fmt: skip
    try:
        with (
            open_actions([broker], patient=args.input != "mic", report=print) as actions,
            open_source(args.input, load_settings().audio) as sound,
        ):
            for event in words_in(sound, device):
                print(f"{event.word:12} score {event.score:.2f}")
                actions(event)
            actions.wait()
    except KeyboardInterrupt:
        print("good-bye")
    return 0


if __name__ == "__main__":
    sys.exit(main())
