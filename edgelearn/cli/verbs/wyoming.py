"""`edgelearn wyoming`: the words as wake words of Home Assistant."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say
from edgelearn.errors import EdgelearnError

if TYPE_CHECKING:
    from edgelearn.cli.appliance import Appliance
    from edgelearn.integrations.wyoming_server import Address, Heard, Server
    from edgelearn.runtime.model import Model
    from edgelearn.runtime.voice import VoiceDevice

HELP = (
    "Be a wake word service for Home Assistant (the Wyoming protocol): any number of clients send sound and are told "
    "the words in it; a word that is taught meanwhile is heard by clients that connect after it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the settings."""
    add_settings(
        parser, "wyoming.uri", "device.budget", "device.board", "decision.sensitivity", "decision.refractory_ms"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, then print how many clients and words there were."""
    try:
        from edgelearn.integrations.wyoming_server import Address, Server
    except ImportError:
        raise EdgelearnError("Wyoming needs the package wyoming", "pip install 'edgelearn[wyoming]'") from None
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.sources import terminated_as_interrupted

    appliance = open_appliance(args)
    address = Address.parse(appliance.settings.wyoming.uri)
    appliance.device.warm_up()
    as_json = bool(args.json)
    words = 0

    def on_heard(heard: Heard) -> None:
        nonlocal words
        words += 1
        score = round(heard.event.score, 4)
        if as_json:
            emit("detection", client=heard.client, word=heard.event.word, score=score, end_s=heard.event.end_s)
        else:
            print(f"client {heard.client:<4} {heard.event.word:16} score {score:.2f}", flush=True)

    server = Server(Devices(appliance).new, on_heard, say)
    with contextlib.suppress(KeyboardInterrupt), terminated_as_interrupted():
        asyncio.run(_serve(server, address, [word.name for word in appliance.model.words if not word.rejects], as_json))
    if as_json:
        emit("end", clients=server.clients, words=words)
    else:
        say(f"\n{server.clients} clients, {words} words")
    return 0


class Devices:
    """Makes the devices of clients, each with the model file as it is then: `edgelearn add` needs no restart.

    One that cannot be read, or that does not fit the budget, is told of, and the words stay those of the one before.
    """

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance
        self._stamp = _stamp(appliance.path)

    def new(self) -> VoiceDevice:
        """Return a device that listens as the settings say."""
        from edgelearn.runtime.model import load_model

        appliance = self._appliance
        stamp = _stamp(appliance.path)
        if stamp != self._stamp:
            try:
                model = load_model(appliance.path)
                device = self._with(model)  # which may need more than the budget
            except EdgelearnError as error:
                say(f"the words stay as they were: {error}")
            else:
                appliance.model, self._stamp = model, stamp
                return device
        return self._with(appliance.model)

    def _with(self, model: Model) -> VoiceDevice:
        from edgelearn.runtime.voice import VoiceDevice

        appliance = self._appliance
        device = VoiceDevice(model, appliance.settings.device.budget_bytes)
        device.recognizer.bias_q14 = appliance.device.recognizer.bias_q14
        device.recognizer.refractory_frames = appliance.device.recognizer.refractory_frames
        return device


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes with a file that is replaced."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)


async def _serve(server: Server, address: Address, words: list[str], as_json: bool) -> None:
    from edgelearn.integrations.notify import Notifier

    uri = await server.open(address)
    if as_json:
        emit("ready", uri=uri, words=words)
    else:
        say(f"waiting for clients at {uri} (Ctrl-C ends it); words: {', '.join(words) or 'none'}")
    if not address.private:
        say("any machine that reaches this one can connect: Wyoming has neither passwords nor encryption")
    notifier = Notifier()
    try:
        while True:
            notifier.alive(f"waiting for clients at {uri}")
            await asyncio.sleep(min(notifier.period_s, 3600))
    finally:
        notifier.stopping()
        await server.close()
