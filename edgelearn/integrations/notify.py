"""Telling systemd that a service is ready and still alive (the protocol of sd_notify, man 3 sd_notify)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends READY once and WATCHDOG in time; without NOTIFY_SOCKET, outside of systemd, it does nothing."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit_us = environ.get("WATCHDOG_USEC", "")
        # half the limit leaves room for a machine that is busy
        self.period_s = int(limit_us) / 2e6 if for_us and limit_us.isdecimal() else float("inf")
        self._next_s = 0.0
        self._ready = False

    def alive(self, status: str = "") -> None:
        """Say that the work goes on: call it for each piece of it; the first call says READY.

        status: what `systemctl status` shows, from the first call on.
        """
        if not self._address:
            return
        now = time.monotonic()
        if not self._ready:
            self._ready = True
            self._send(f"READY=1\nSTATUS={status}")
        if now >= self._next_s and self.period_s < float("inf"):
            self._next_s = now + self.period_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        if self._address:
            self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        # systemd judges by what arrives; a socket that is gone or full is no reason to stop listening
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)
