"""Words to a real broker, mosquitto, which is stopped and started again."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgelearn.actions.mqtt import MqttAction
from edgelearn.actions.opening import open_actions
from edgelearn.actions.runner import ActionFailed
from edgelearn.actions.spec import MqttSpec
from edgelearn.errors import EdgelearnError, UsageError
from tests.actions.heard import heard, until

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Broker:
    """A mosquitto of this test's own, on a port that was free."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.configuration = folder / "mosquitto.conf"
        self.configure("allow_anonymous true")
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, *lines: str) -> None:
        self.configuration.write_text("\n".join(["user root", f"listener {self.port} 127.0.0.1", *lines, ""]))

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", self.configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # as a power cut: no goodbye
            process.wait(10)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    pytest.importorskip("paho.mqtt", reason="pip install 'edgelearn[mqtt]'")
    if MOSQUITTO is None:
        pytest.skip("sudo apt install mosquitto")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


class Reader:
    """A client that has subscribed to everything under edgelearn/."""

    def __init__(self, port: int, **login: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: queue.Queue[tuple[str, str, bool]] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(login["username"], login["password"])
        self._client.on_connect = lambda client, *_: client.subscribe("edgelearn/#", qos=1)
        subscribed = queue.Queue[int]()
        self._client.on_subscribe = lambda *_: subscribed.put(1)
        self._client.on_message = lambda _client, _data, message: self.messages.put(
            (message.topic, message.payload.decode(), message.retain)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        subscribed.get(timeout=10)

    def next(self) -> tuple[str, str, bool]:
        return self.messages.get(timeout=20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def spec(port: int, **more: Any) -> MqttSpec:
    return MqttSpec(**({"name": "broker", "host": "127.0.0.1", "port": port} | more))


def test_a_word_is_published_and_the_status_is_kept(broker: Broker) -> None:
    reports: list[str] = []
    reader = Reader(broker.port)
    with open_actions([spec(broker.port)], True, reports.append) as actions:
        assert reader.next() == ("edgelearn/status", "online", False)
        actions(heard("öffne", 0.71239))
        actions.wait()
        topic, payload, retained = reader.next()
        message = json.loads(payload)
        assert (topic, retained) == ("edgelearn/word", False)
        assert list(message) == ["word", "score", "time"]
        assert (message["word"], message["score"]) == ("öffne", 0.7124)
        assert abs((datetime.now(UTC) - datetime.fromisoformat(message["time"])).total_seconds()) < 20
        late = Reader(broker.port)
        assert late.next() == ("edgelearn/status", "online", True)
        late.close()
    assert reader.next() == ("edgelearn/status", "offline", False)
    reader.close()
    assert reports == []


def test_a_broker_that_is_restarted_is_found_again(broker: Broker) -> None:
    reports: list[str] = []
    action = MqttAction(spec(broker.port, timeout_s=20), reports.append)
    action.perform(heard("before"))
    broker.stop()
    until(lambda: reports)
    assert reports[0].startswith(f"the MQTT broker 127.0.0.1:{broker.port} has gone: ")
    quick = MqttAction(spec(broker.port, timeout_s=0.2), [].append)
    with pytest.raises(ActionFailed, match="not published: there is no connection to the MQTT broker 127"):
        quick.perform(heard("lost"))
    broker.start()
    reader = Reader(broker.port)
    action.perform(heard("after"))  # it waits for the connection
    seen = [reader.next()]
    while seen[-1][0] != "edgelearn/word":
        seen.append(reader.next())
    # the broker came back with an empty memory, and knows the status again
    assert ("edgelearn/status", "online") in [message[:2] for message in seen]
    assert json.loads(seen[-1][1])["word"] == "after"
    assert reports[1:] == [f"the MQTT broker 127.0.0.1:{broker.port} is there again"]
    action.close()
    quick.close()
    reader.close()


def test_a_program_that_dies_is_reported_by_the_broker(broker: Broker) -> None:
    program = (
        "import sys, time\n"
        "from edgelearn.actions.mqtt import MqttAction\n"
        "from edgelearn.actions.spec import MqttSpec\n"
        f"action = MqttAction(MqttSpec(name='x', host='127.0.0.1', port={broker.port}), print)\n"
        "time.sleep(60)\n"
    )
    reader = Reader(broker.port)
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen([sys.executable, "-c", program], cwd=root) as process:
        try:
            assert reader.next() == ("edgelearn/status", "online", False)
        finally:
            process.kill()
    assert reader.next() == ("edgelearn/status", "offline", False)
    reader.close()


def test_a_broker_that_is_not_there_is_told_once_and_harms_nothing() -> None:
    pytest.importorskip("paho.mqtt", reason="pip install 'edgelearn[mqtt]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    reports: list[str] = []
    began = time.monotonic()
    with open_actions([spec(port, timeout_s=0.2)], False, reports.append) as actions:
        assert time.monotonic() - began < 10
        for _ in range(2):
            actions(heard())
            actions.wait()
        until(lambda: len(reports) == 2)
    assert sorted(reports) == [
        f"not published: there is no connection to the MQTT broker 127.0.0.1:{port}",
        f"the MQTT broker 127.0.0.1:{port} is not there; it is tried again and again",
    ]


def test_a_name_and_a_password(broker: Broker, tmp_path: Path) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    made = shutil.which("mosquitto_passwd")
    if made is None:
        pytest.skip("sudo apt install mosquitto")
    subprocess.run([made, "-b", "-c", passwords, "pi", "raspberry pie"], check=True, stderr=subprocess.DEVNULL)
    broker.stop()
    broker.configure("allow_anonymous false", f"password_file {passwords}")
    broker.start()
    secret.write_text("raspberry pie\n")
    reader = Reader(broker.port, username="pi", password="raspberry pie")
    action = MqttAction(spec(broker.port, username="pi", password_file=str(secret)), [].append)
    action.perform(heard())
    assert [reader.next()[0], reader.next()[0]] == ["edgelearn/status", "edgelearn/word"]
    action.close()
    reader.close()
    secret.write_text("a guess")
    reports: list[str] = []
    action = MqttAction(spec(broker.port, username="pi", password_file=str(secret), timeout_s=0.2), reports.append)
    until(lambda: reports)
    assert reports == [f"the MQTT broker 127.0.0.1:{broker.port} refuses the connection: Not authorized"]
    action.close()


# paho-mqtt leaves the sockets of a handshake that failed, its own pair among them, to the garbage collector
@pytest.mark.filterwarnings("ignore:.*[sS]ocket:pytest.PytestUnraisableExceptionWarning")
def test_an_encrypted_connection(broker: Broker, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("sudo apt install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    broker.stop()
    broker.configure("allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    broker.start()
    action = MqttAction(spec(broker.port, ca_file=str(certificate)), [].append)
    action.perform(heard())  # the broker has confirmed it
    action.close()
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(certificate.read_bytes())
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=stranger", "-keyout", tmp_path / "key2.pem", "-out", stranger],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    reports: list[str] = []
    action = MqttAction(spec(broker.port, ca_file=str(stranger), timeout_s=0.2), reports.append)
    until(lambda: reports)
    with pytest.raises(ActionFailed):
        action.perform(heard())
    action.close()
    gc.collect()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"username": "pi", "password_file": "/no/file"}, r"password_file is '/no/file': No such file"),
        ({"ca_file": "/no/file"}, r"ca_file is '/no/file': No such file"),
    ],
)
def test_files_that_cannot_be_read(more: dict[str, str], message: str) -> None:
    pytest.importorskip("paho.mqtt", reason="pip install 'edgelearn[mqtt]'")
    with pytest.raises(UsageError, match=message):
        open_actions([spec(1, **more)], True, [].append)


def test_without_paho_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(EdgelearnError, match=r"actions\.broker needs paho-mqtt") as caught:
        open_actions([spec(1)], True, [].append)
    assert caught.value.hint == "pip install 'edgelearn[mqtt]'"
