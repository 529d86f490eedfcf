"""Words to an MQTT broker, and with them whether this machine listens: told by the broker itself if it is gone."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelearn.actions.runner import ActionFailed, Report
from edgelearn.actions.spec import MqttSpec
from edgelearn.errors import EdgelearnError, UsageError

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event

ONLINE, OFFLINE = "online", "offline"
KEEPALIVE_S = 15  # a broker that does not answer is noticed within 1.5 times this
LONGEST_PAUSE_S = 30  # between two attempts to connect; the first is after 1 s, each doubles it
GOODBYE_S = 2.0


class MqttAction:
    """Publishes {"word", "score", "time"} to TOPIC/word; TOPIC/status is retained, with a last will.

    A broker that is away is tried again until it is there.  A word does not wait for it longer than the action's time,
    because a light that goes on minutes later helps nobody; only one that was on its way when the connection broke is
    sent again, and its `time` tells.  Raises EdgelearnError without paho-mqtt, UsageError for files that
    cannot be read.
    """

    def __init__(self, spec: MqttSpec, report: Report) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise EdgelearnError(f"{spec.title} needs paho-mqtt", "pip install 'edgelearn[mqtt]'") from None
        self._spec = spec
        self._report = report
        self._broker = f"the MQTT broker {spec.host}:{spec.port}"
        self._connected = threading.Event()
        self._complaint = ""
        self._status = f"{spec.topic}/status"
        self._client: Any = Client(CallbackAPIVersion.VERSION2)
        self._client.will_set(self._status, OFFLINE, qos=1, retain=True)
        self._client.reconnect_delay_set(1, LONGEST_PAUSE_S)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._secure()
        try:
            self._client.connect_async(spec.host, spec.port, KEEPALIVE_S)
        except ValueError as error:
            raise UsageError(f"{spec.title}.host is {spec.host!r}: {error}") from None
        self._client.loop_start()

    def perform(self, event: Event) -> None:
        """Publish a word and wait until the broker has it; raises ActionFailed if its time is up before."""
        until = time.monotonic() + self._spec.timeout_s
        if not self._connected.wait(self._spec.timeout_s):
            raise ActionFailed(f"not published: there is no connection to {self._broker}")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        message = json.dumps({"word": event.word, "score": round(event.score, 4), "time": now}, ensure_ascii=False)
        sent = self._client.publish(f"{self._spec.topic}/word", message, qos=1)
        try:
            sent.wait_for_publish(max(0.1, until - time.monotonic()))
            arrived = sent.is_published()
        except (RuntimeError, ValueError):  # the connection went away, or the queue is full
            arrived = False
        if not arrived:
            raise ActionFailed(f"{self._broker} did not confirm a word within {self._spec.timeout_s:g} s")

    def close(self) -> None:
        """Say that nobody listens any more, and leave."""
        if self._connected.is_set():
            self._client.publish(self._status, OFFLINE, qos=1, retain=True).wait_for_publish(GOODBYE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _secure(self) -> None:
        spec = self._spec
        if spec.username:
            self._client.username_pw_set(spec.username, self._password())
        if spec.ca_file:
            try:
                self._client.tls_set(spec.ca_file)
            except OSError as error:
                reason = error.strerror or error
                raise UsageError(f"{spec.title}.ca_file is {spec.ca_file!r}: {reason}", "name a file in PEM") from None

    def _password(self) -> str | None:
        if not self._spec.password_file:
            return None
        try:
            return Path(self._spec.password_file).expanduser().read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(
                f"{self._spec.title}.password_file is {self._spec.password_file!r}: {reason}",
                "the password is its first line, and its owner alone should read it",
            ) from None

    def _on_connect(self, client: Any, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            self._complain(f"{self._broker} refuses the connection: {reason}")
            return
        # at every connection: the last will has said otherwise when the one before broke
        client.publish(self._status, ONLINE, qos=1, retain=True)
        if self._complaint:
            self._report(f"{self._broker} is there again")
        self._complaint = ""
        self._connected.set()

    def _on_connect_fail(self, _client: object, _data: object) -> None:
        self._complain(f"{self._broker} is not there; it is tried again and again")

    def _on_disconnect(self, _client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        self._connected.clear()
        if reason.is_failure:
            self._complain(f"{self._broker} has gone: {reason}; it is tried again and again")

    def _complain(self, text: str) -> None:
        """Report the first thing that goes wrong, not each attempt after it."""
        if not self._complaint:
            self._complaint = text
            self._report(text)
