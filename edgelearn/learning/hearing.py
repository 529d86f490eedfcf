"""Utterances as learning hears them: in their own voice or in all voices, new takes or the exemplars that are kept.

What is learned is embedded in all voices, as a stream is heard.  Steps and checks of a lesson hear the own voice alone,
at larger delta thresholds: roughly, but for less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.learning.takes import check_likeness
from edgelearn.learning.thresholds import ABOVE_BACKGROUND_Q14, thresholds_q14
from edgelearn.learning.variants import FAR_Q14, hear_in_other_voices

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena
    from edgelearn.engine.network import Network, State
    from edgelearn.learning.classifier import Classifier
    from edgelearn.learning.rehearsal import Exemplar, RehearsalMemory

NETWORK_THETA_Q8 = 256  # once the delta thresholds of the network


class Hearing:
    """Owns a pool and the frames of one utterance: network, table and memory are the listening device's own.

    Utterances (int8 Q6, [T, bands], of at most `longest` frames) have around them what those of the memory have.
    pool: the sum of h (int32 [H], Q13) over what was heard last; rough: the state at the thresholds of a lesson.
    """

    def __init__(
        self, network: Network, classifier: Classifier, memory: RehearsalMemory, state: State, longest: int,
        arena: Arena, name: str = "learning",
    ) -> None:  # fmt: skip
        self.network, self.classifier, self.memory = network, classifier, memory
        self._around = memory.around
        self._state = state
        self._theta_q8, self.rough = NETWORK_THETA_Q8, state.at_thresholds(NETWORK_THETA_Q8)
        self.pool: NDArray[np.int32] = arena.alloc(f"{name}.pool", network.config.hidden, np.int32)
        self._frames: NDArray[np.int8] = arena.alloc(f"{name}.frames", (longest, network.config.inputs), np.int8)

    def rough_at(self, theta_q8: int) -> None:
        """Let `rough` be at thresholds that are so many times (Q8) the network's."""
        if theta_q8 != self._theta_q8:
            self._theta_q8, self.rough = theta_q8, self._state.at_thresholds(theta_q8)

    def decode(self, record: Exemplar) -> NDArray[np.int8]:
        """Return an exemplar's utterance, in the one buffer that the next one is written over.

        Raises ModelFileError for one that is longer than `longest`.
        """
        return self.memory.decode(record, self._frames)

    def decode_own(self, record: Exemplar) -> NDArray[np.int8]:
        """Return what its own voice hears of an exemplar; else as `decode`."""
        return self._around.own(self.decode(record))

    def cut(self, take: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return as much of an utterance as can be heard again."""
        return take[: len(self._frames)]

    def pool_of(self, frames: NDArray[np.int8], rough: bool = False) -> Counts:
        """Let `pool` be the sum of h over frames (int8 Q6, [T, bands]) from the zero state, and return what it cost."""
        state = self.rough if rough else self._state
        state.reset()
        self.pool[:] = 0
        return self.network.forward(state, frames, self.pool)

    def embed(self, frames: NDArray[np.int8]) -> tuple[NDArray[np.int16], Counts]:
        """Return the unit embedding (int16 Q14) of an utterance (int8 Q6, [T, bands]) in all voices."""
        counts = self.pool_of(self._around.own(frames))
        counts += self._hear_others(frames)
        return self.classifier.embed(self.pool), counts

    def embed_roughly(self, frames: NDArray[np.int8]) -> tuple[NDArray[np.int16], Counts]:
        """Return that of its own voice alone, at the thresholds of a lesson: to see what a lesson changed.

        frames: what that voice hears.
        """
        counts = self.pool_of(frames, rough=True)
        return self.classifier.embed(self.pool), counts

    def _hear_others(self, frames: NDArray[np.int8]) -> Counts:
        """Let the pool of an utterance, in its own voice, become that of all voices."""
        return hear_in_other_voices(self.network, self._state, self._around.sounding(frames), self.pool)

    def embed_takes(self, takes: list[NDArray[np.int8]]) -> tuple[NDArray[np.int64], Counts]:
        """Return the unit embeddings (Q14, [n, H]) of takes in all voices, and what hearing them cost."""
        units = np.zeros((len(takes), self.network.config.hidden), np.int64)
        total = Counts()
        for unit, take in zip(units, takes, strict=True):
            unit[:], counts = self.embed(take)
            total += counts
        return units, total

    def check_takes(self, takes: list[NDArray[np.int8]], least_q14: int) -> None:
        """Raise TakeRejected for the take that is most unlike the others, if it is too unlike; see `check_likeness`."""
        if len(takes) > 1:
            check_likeness(self.embed_takes(takes)[0], least_q14)

    def exemplars_of(self, row: int) -> list[Exemplar]:
        """Return the exemplars of a row in order of arrival."""
        return [record for record in self.memory.exemplars() if record.row == row]

    def exemplar_units(self, row: int) -> list[NDArray[np.int16]]:
        """Return the unit embeddings (int16 Q14) of the exemplars of a row."""
        return [self.embed(self.decode(record))[0] for record in self.exemplars_of(row)]

    def sum_roughly(self, row: int) -> tuple[NDArray[np.int64], int, Counts]:
        """Return the sum of the rough unit embeddings (Q14) of a row's exemplars, how many there are, and the cost."""
        kept = self.exemplars_of(row)
        summed, total = np.zeros(self.network.config.hidden, np.int64), Counts()
        for record in kept:
            unit, counts = self.embed_roughly(self.decode_own(record))
            summed += unit
            total += counts
        return summed, len(kept), total

    def is_nearest(self, unit: NDArray[np.int16], row: int) -> bool:
        """Return whether no row is nearer to an embedding."""
        return int(np.argmax(self.classifier.cosines(unit))) == row

    def hear_exemplars(self) -> tuple[int, Counts]:
        """Return how many exemplars of the rehearsal memory are nearest to their own row, and what hearing all cost."""
        right, total = 0, Counts()
        for record in self.memory.exemplars():
            unit, counts = self.embed(self.decode(record))
            right += self.is_nearest(unit, record.row)
            total += counts
        return right, total

    def thresholds_q14(self, rows: Sequence[int], default_q14: int) -> tuple[list[int], Counts]:
        """Return the scores (Q14) from which the words at `rows` count as said, by the exemplars, and the cost."""
        spent: list[Counts] = []
        heard = self._heard_by(rows, default_q14, spent)
        return thresholds_q14(self.classifier, heard, rows, default_q14), sum(spent, Counts())

    def _heard_by(
        self, rows: Sequence[int], default_q14: int, spent: list[Counts]
    ) -> Iterator[tuple[NDArray[np.int16], int]]:
        """Yield unit embeddings (int16 Q14 [H]) and rows of all exemplars, as the words at `rows` would hear them.

        The other voices hear an exemplar of another word only if it scores, in its own voice and for one of `rows`, no
        more than FAR_Q14 below what would raise the threshold above the default: the recognizer spares them, too, where
        an utterance is that far from every word.  spent: takes what hearing cost.
        """
        where = np.array(rows, np.int64)
        near = default_q14 - ABOVE_BACKGROUND_Q14 - FAR_Q14
        for record in self.memory.exemplars():
            frames = self.decode(record)
            spent.append(self.pool_of(self._around.own(frames)))
            unit = self.classifier.embed(self.pool)
            if record.row in rows or self.classifier.scores(unit, where)[0].max() >= near:
                spent.append(self._hear_others(frames))
                unit = self.classifier.embed(self.pool)
            yield unit, record.row
