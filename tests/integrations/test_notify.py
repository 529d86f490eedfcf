"""What systemd is told, received at a socket such as systemd's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelearn.integrations.notify import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def told(receiver: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(receiver.recv(500).decode())
        except BlockingIOError:
            return messages


def test_ready_comes_once_and_the_watchdog_in_time(systemd: socket.socket, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
    assert notifier.period_s == 15
    for _ in range(100):
        notifier.alive("listening")
    assert told(systemd) == ["READY=1\nSTATUS=listening", "WATCHDOG=1"]  # 15 s have not passed
    notifier._next_s -= 15
    notifier.alive()
    notifier.stopping()
    assert told(systemd) == ["WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("limit", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_without_a_watchdog_of_this_process_there_is_only_ready(
    systemd: socket.socket, tmp_path: Path, limit: dict[str, str]
) -> None:
    assert os.getpid() != 1
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")} | limit)
    notifier.alive("listening")
    notifier.alive("listening")
    assert told(systemd) == ["READY=1\nSTATUS=listening"]


def test_an_abstract_socket() -> None:
    name = f"edgelearn-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert receiver.recv(100) == b"STOPPING=1"


def test_outside_of_systemd_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.alive("listening")
    notifier.stopping()


def test_a_receiver_that_is_gone_or_full_does_not_stop_the_listening(systemd: socket.socket, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "0"})
    for _ in range(2000):  # more than any queue of datagrams holds
        notifier.alive()
    assert 1 < len(told(systemd)) < 2000
    systemd.close()
    notifier.alive()
    notifier.stopping()
