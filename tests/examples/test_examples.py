"""Every program of examples/ runs, on recordings that ship, and does what it says."""

from __future__ import annotations

import gc
import importlib.util
import json
import re
import shutil
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgelearn.audio.clips import read_clip
from edgelearn.runtime.model import load_model
from edgelearn.runtime.rehearsed import RECORDINGS
from tests.actions.test_mqtt import Broker, broker  # noqa: F401 (a fixture)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "EDGELEARN_MODEL"):
        monkeypatch.delenv(variable, raising=False)


def recording(folder: Path, *names: str, tail: int = 14400) -> str:
    """A file with these recordings in quiet noise, 0.9 s apart, and `tail` samples after the last one."""
    rng = np.random.default_rng(4)
    parts = [np.zeros(8000)]
    for name in names:
        parts += [read_clip(next(RECORDINGS.glob(f"{name}*.wav"))).astype(np.float64), np.zeros(14400)]
    sound = np.concatenate((*parts[:-1], np.zeros(tail)))
    samples = np.clip(np.rint(sound + 12 * rng.standard_normal(len(sound))), -32768, 32767).astype("<i2")
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return str(folder / "sound.wav")


def test_a_light_on_gpio(pins: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = recording(tmp_path, "left", "bed", "right", "left")
    pin = pins.pin(4)
    assert example("light_on_gpio").main(["--pin", "4", "--input", sound]) == 0
    shown = [(line.split()[0], line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert shown == [("left", "on"), ("bed", "on"), ("right", "off"), ("left", "on")]
    assert [state.state for state in pin.states] == [0, 1, 0, 1]
    assert pin.function == "input"


# the helpers `single` and `simple` of paho-mqtt leave their sockets to the garbage collector
@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
def test_mqtt_to_home_assistant(broker: Broker, tmp_path: Path) -> None:  # noqa: F811
    from paho.mqtt import subscribe

    sound = recording(tmp_path, "left", "yellow", "go")
    messages: list[tuple[str, bytes]] = []
    listener = _Subscriber(broker.port, messages)
    where = ["--host", "127.0.0.1", "--port", str(broker.port)]
    assert example("mqtt_home_assistant").main([*where, "--input", sound]) == 0
    listener.wait_for("edgelearn/status", b"offline")
    config = json.loads(dict(messages)["homeassistant/event/edgelearn/word/config"])
    assert {"left", "go"} <= set(config["event_types"])
    assert (config["state_topic"], config["availability_topic"]) == ("edgelearn/word", "edgelearn/status")
    heard = [json.loads(payload) for topic, payload in messages if topic == config["state_topic"]]
    assert [message["word"] for message in heard] == ["left", "go"]
    # what the template reads is there
    assert set(re.findall(r"value_json\.(\w+)", config["value_template"])) <= set(heard[0])
    kept = subscribe.simple(config["availability_topic"], hostname="127.0.0.1", port=broker.port)
    assert (kept.payload, kept.retain) == (b"offline", True)
    gc.collect()


class _Subscriber:
    """Collects what a broker is told."""

    def __init__(self, port: int, messages: list[tuple[str, bytes]]) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._messages = messages
        self._subscribed = False
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: messages.append((message.topic, message.payload))
        self._client.on_subscribe = self._on_subscribe
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        while not self._subscribed:
            self._client.loop()
        self._client.loop_start()

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed = True

    def wait_for(self, topic: str, payload: bytes) -> None:
        from tests.actions.heard import until

        until(lambda: (topic, payload) in self._messages)
        self._client.disconnect()
        self._client.loop_stop()


def test_a_custom_wake_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes = [f"computer_flite-slt_take{n}" for n in (1, 2, 3)]
    tests = ["bed", "yellow", "computer_flite-slt_take4", "left", "computer_flite-slt_take5"]
    sound = recording(tmp_path, *takes, *tests, tail=0)
    assert example("custom_wake_word").main(["computer", "--input", sound]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "say 'computer' 3 times, with a second of silence after each",
        "heard; 2 to go",
        "heard; 1 to go",
        "heard; 0 to go",
    ]
    assert lines[4] == "learned in 40 steps: now say it, or something else"
    # neither the words that ship, nor one that it does not know
    assert [line.split("(")[0].split(maxsplit=2)[-1].strip() for line in lines[5:]] == ["awake!", "awake!"]


def test_learning_from_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tmp_path / "words"
    takes = {"computer": sorted(RECORDINGS.glob("computer_*.wav"))[:4], "lonely": [*RECORDINGS.glob("up_*")]}
    for word, files in takes.items():
        (words / word).mkdir(parents=True)
        for path in files:
            shutil.copy(path, words / word)
    model = tmp_path / "model.npz"
    assert example("learn_from_folder").main([str(words), "--model", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"computer: learned from 3, old words \d+ -> \d+ %", lines[0])
    assert lines[1] == "lonely: left out: it takes two recordings, and there are 1"
    assert lines[2:] == ["computer: in computer_flite-slt_take4.wav I hear computer", "1 of 1 words recognised"]
    assert load_model(model).word("computer").takes == 3


def test_a_study_of_memory_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    assert example("memory_budget").main(["192KiB", "256KiB", "320KiB"]) == 0
    _, small, shipped, roomy = capsys.readouterr().out.splitlines()
    assert "does not fit: region " in small
    assert re.search(r"; \d+KiB would do$", small)
    columns = [line.replace(" of ", "/").split() for line in (shipped, roomy)]
    used, frames, reach_ms, truncated = ([int(line[i].replace(",", "")) for line in columns] for i in (1, 2, 3, 4))
    assert used[0] <= 256 * 1024 < used[1] <= 320 * 1024
    assert frames[0] < frames[1]
    assert reach_ms == [20 * count for count in frames]
    assert truncated[0] > truncated[1]
    assert [line[5] for line in columns] == ["4/4", "4/4"]
