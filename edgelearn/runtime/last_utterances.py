"""The last utterances of a listening device, so that a miss or a false alarm can still be learned from.

On the device they lie in the arena as delta streams, oldest first, in a few KiB; what does not fit pushes the oldest
out.  A listening command also keeps them in a file beside its model, replaced in one step at each utterance, for the
command that learns from one.  What is kept are feature frames: no sound can be played from them.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.surroundings import NOTHING_AROUND, Surroundings
from edgelearn.device.arena import Arena
from edgelearn.errors import BudgetExceeded, ModelFileError, UsageError
from edgelearn.learning.rehearsal import RehearsalMemory

if TYPE_CHECKING:
    from edgelearn.runtime.model import Model
    from edgelearn.runtime.recognizer import Utterance

LAST_BYTES = 3072  # four or five words
LONGEST_FRAMES = 255  # of a record
MOST_FILE_BYTES = 64 * 1024
MOST_RECORD_BYTES = MOST_FILE_BYTES // 2  # in base64 they take a third more
FORMAT = "edgelearn-last"
NONE_HINT = "`edgelearn listen` keeps them while it listens"


@dataclass(frozen=True)
class Past:
    """An utterance that was heard: as which word ("" for none), with what score, when (Unix time), its frames."""

    heard: str
    score: float
    at: float
    frames: NDArray[np.int8]


class LastUtterances:
    """A queue of utterances in `capacity_bytes` of the arena; heard, score and time are the host's.

    added: how many there ever were.
    """

    def __init__(
        self, capacity_bytes: int, bands: int, theta_x_q13: int, arena: Arena, name: str = "last",
        around: Surroundings = NOTHING_AROUND,
    ) -> None:  # fmt: skip
        self._memory = RehearsalMemory(capacity_bytes, bands, theta_x_q13, arena, name, around)
        self._bands = bands
        self._about: deque[tuple[str, float, float]] = deque()
        self.added = 0

    def __len__(self) -> int:
        return len(self._about)

    def add(self, utterance: Utterance) -> None:
        """Keep an utterance; one too long for the whole queue leaves it empty, as `--last` is never an older one."""
        self.added += 1
        try:
            # all of one row, so that it is the oldest that makes room
            self._memory.add(0, utterance.frames)
        except BudgetExceeded:
            self._memory.unpack(np.zeros(0, np.uint8))
            self._about.clear()
            return
        self._about.append((utterance.heard, utterance.score_q14 / 16384, time.time()))
        while len(self._about) > len(self._memory.exemplars()):
            self._about.popleft()

    def forget(self, past: Past) -> None:
        """Forget an utterance that was learned from, and all before it: they are the last ones no more."""
        count = len(self) - len(heard_after(self.utterances(), past))
        ends = [record.offset + record.size for record in self._memory.exemplars()]
        self._memory.unpack(self._memory.pack()[ends[count - 1] if count else 0 :])
        for _ in range(count):
            self._about.popleft()

    def follow(self, words: Collection[str], renamed: tuple[str, str] | None = None) -> None:
        """Have utterances go by what their words are called now; see `heard_now`."""
        self._about = deque((heard_now(heard, words, renamed), score, at) for heard, score, at in self._about)

    def utterances(self) -> list[Past]:
        """Return what is kept, oldest first, as the network saw it."""
        return _pasts(self._memory, self._bands, list(self._about))


def heard_now(heard: str, words: Collection[str], renamed: tuple[str, str] | None = None) -> str:
    """Return what an utterance was heard as, now that these are the names of all words.

    renamed: the old and the new name of one. A word that is no more is put in brackets, which no name has, so that a
    word that is called so later is not taken for it.
    """
    if renamed is not None and heard == renamed[0]:
        return renamed[1]
    return heard if not heard or heard in words or heard.startswith("(") else f"({heard})"


def heard_after(kept: Sequence[Past], past: Past) -> list[Past]:
    """Return those that were heard after one of them; all, if that is kept no more.

    The time of an utterance stands for it and is not compared: a clock can be set back between two of them.
    """
    places = [number for number, one in enumerate(kept) if one.at == past.at]
    return list(kept[places[-1] + 1 :] if places else kept)


def last_path(model_path: Path) -> Path:
    """Return where the last utterances heard with a model are kept."""
    place = Path(os.path.realpath(model_path))
    return place.with_name(place.name + ".last")


def save_last(path: Path, model: Model, utterances: Sequence[Past]) -> None:
    """Write the last utterances in one step, for their owner only.

    Raises OSError, and leaves none if it can: older ones would be taken for the last.
    """
    memory = model.rehearsal_memory(MOST_RECORD_BYTES)
    for past in utterances:
        memory.add(0, past.frames)
    content = {
        "format": FORMAT,
        "v": 1,
        "frontend_digest": model.frontend.digest,
        "utterances": [[past.heard, round(past.score, 4), past.at] for past in utterances],
        "records": base64.b64encode(memory.pack().tobytes()).decode(),
    }
    new = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def load_last(path: Path, model: Model) -> list[Past]:
    """Read the last utterances, oldest first; none if there is no file.

    Raises UsageError for a file that is damaged or was made with other features.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    memory = model.rehearsal_memory(MOST_RECORD_BYTES)
    try:
        content = json.loads(data)
        if content["format"] != FORMAT or content["v"] != 1:
            raise ValueError("another format")
        about = [(str(heard), float(score), float(at)) for heard, score, at in content["utterances"]]
        records = np.frombuffer(base64.b64decode(content["records"], validate=True), np.uint8)
        if content["frontend_digest"] != model.frontend.digest:
            raise UsageError(f"{path} was heard with other features than the model's", NONE_HINT)
        memory.unpack(records)
        if len(memory.exemplars()) != len(about) or not all(math.isfinite(at) for _, _, at in about):
            raise ValueError("incomplete")
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error, ModelFileError, BudgetExceeded):
        raise UsageError(f"{path} is damaged", f"delete it; {NONE_HINT}") from None
    return _pasts(memory, model.frontend.bands, about)


def _pasts(memory: RehearsalMemory, bands: int, about: Sequence[tuple[str, float, float]]) -> list[Past]:
    frames = np.empty((LONGEST_FRAMES, bands), np.int8)
    records = memory.exemplars()
    return [Past(*one, memory.decode(record, frames).copy()) for one, record in zip(about, records, strict=True)]
