"""What a device does, call by call and cut to pieces: the counted work of each slice of the firmware.

The engine's calls are not changed, they are only watched: every call of the network and of the classifier leaves its
counts here. A piece is what `el_slice` or `el_listen` of firmware_sim/firmware does before it returns: a frame of a
forward pass, with what the classifier makes of the last one; a frame of a backward pass; a column of an update, or its
biases; an utterance of a sweep, or a row that moves; a column compared with the image in flash, or put back from it.
The pieces of a call sum to its counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts, count_backward, count_gradient, count_update
from edgelearn.learning.adaptation import count_sweep
from edgelearn.learning.directions import DIRECTIONS, count_take

if TYPE_CHECKING:
    from edgelearn.engine.layout import NetworkConfig
    from edgelearn.engine.network import State
    from edgelearn.engine.tape import Tape
    from edgelearn.learning.learner import LearnerConfig, TeachReport
    from edgelearn.runtime.voice import VoiceDevice


@dataclass(frozen=True)
class Piece:
    """Work that runs without returning: what it is a piece of, and whether it leaves the weights half changed."""

    call: str
    counts: Counts
    writes: bool = False


def backward_pieces(tape: Tape) -> list[Counts]:
    """Return the work of a backward pass over a full tape, last frame first, one for each frame."""
    pieces = []
    for t in reversed(range(tape.frames_taped)):
        piece = Counts()
        for k, layer in enumerate(tape.config.layers):
            columns = tape.frame_deltas(k, t)[0]
            hidden = int((columns >= layer.inputs).sum())
            active = hidden * (t > 0) + (len(columns) - hidden) * (k > 0)
            piece += count_backward(layer.hidden, 1, active, layer.hidden * (t > 0) + layer.inputs * (k > 0))
        pieces.append(piece)
    return pieces


def update_pieces(tape: Tape) -> list[Counts]:
    """Return the work of the columns of an update from a full tape; those that were never active have none."""
    pieces = []
    for k, layer in enumerate(tape.config.layers):
        columns = [tape.frame_deltas(k, t)[0] for t in range(tape.frames_taped)]
        entries = np.bincount(np.concatenate(columns)) if columns else np.zeros(0, np.int64)
        least = count_update(layer.inputs, layer.hidden, 0, 0)
        column = minus(count_update(layer.inputs, layer.hidden, 1, 0), least)
        known: dict[int, Counts] = {}
        for used in entries[entries > 0].tolist():
            if used not in known:
                passes = used // 4 + (used % 4).bit_count()
                known[used] = count_gradient(layer.inputs, layer.hidden, 0, used, passes) + column
            pieces.append(known[used])
    return pieces


def image_pieces(network: NetworkConfig, put_back: bool) -> list[Counts]:
    """Return the work of comparing the weights with those of an image in flash, or of putting them back, by column."""
    pieces = []
    for layer in network.layers:
        for size in [8 * layer.hidden] * (layer.inputs + layer.hidden) + [16 * layer.hidden]:
            written = size if put_back else 0
            pieces.append(
                Counts(
                    weight_bytes_read=size - written, weight_bytes_written=written, state_bytes=size,
                    elementwise_ops=4 * layer.hidden,
                )
            )  # fmt: skip
    return pieces


def minus(all_of_it: Counts, part: Counts) -> Counts:
    """Return the difference of two counts, field by field."""
    return Counts(*(getattr(all_of_it, one.name) - getattr(part, one.name) for one in fields(Counts)))


class Probe:
    """Watches a device: what it heard with (`heard`: frame and piece), and what it did besides (`learned`).

    pause: called before a lesson changes weights or prototypes, if there is work before that which nobody took, so that
    what listens meanwhile does so with those from before; pauses_often: before every other call of the network, too.
    """

    def __init__(self, device: VoiceDevice) -> None:
        self.heard: list[tuple[int, Piece]] = []
        self.learned: list[Piece] = []
        self.pause: Callable[[], None] | None = None
        self.pauses_often = False
        self._device = device
        self._learning_state: State | None = None
        self._listening_state: State | None = None
        self._learns = False
        network, classifier = device.network, device.classifier
        self._forward, self._backward, self._update = network.forward, network.backward, network.update
        for name in ("forward", "backward", "update"):
            setattr(network, name, getattr(self, f"_watch_{name}"))
        self._load_weights, self._load_rows = network.load, classifier.load
        setattr(network, "load", self._watch_load_weights)  # noqa: B010 - a method cannot be assigned to
        setattr(classifier, "load", self._watch_load_rows)  # noqa: B010
        self._teach = device.learner.teach
        setattr(device.learner, "teach", self._watch_teach)  # noqa: B010
        rows, hidden = classifier.config.rows, network.config.hidden
        direction = Counts(elementwise_ops=3 * hidden)
        products = hidden * hidden if classifier.whitens else 0
        embedding = direction + Counts(macs_forward=products, weight_bytes_read=products)
        if classifier.whitens:
            embedding += direction  # the whitened vector is made a unit vector as well
        cosines = Counts(macs_forward=rows * hidden, elementwise_ops=rows)
        joined = direction + count_take(DIRECTIONS, hidden)
        head = Counts(
            macs_backward=rows * hidden + products, weight_bytes_read=products, activations=2 * rows,
            elementwise_ops=4 * hidden,
        )  # fmt: skip
        for name, counts in (
            ("direction", direction), ("embed", embedding), ("cosines", cosines), ("scores", cosines),
            ("head_step", embedding + cosines + head), ("add_take", joined),
        ):  # fmt: skip
            setattr(classifier, name, self._watched(getattr(classifier, name), name, counts))
        self._add_row_gradient, self._move_row = classifier.add_row_gradient, classifier.move_row
        for name in ("add_row_gradient", "move_row"):
            setattr(classifier, name, getattr(self, f"_watch_{name}"))
        for owner, name in ((classifier, "set_row"), (classifier, "move_row"), (classifier, "load"), (network, "load")):
            setattr(owner, name, self._after_a_pause(getattr(owner, name)))
        self._learns = True
        device.hearing.embed(np.zeros((1 + sum(device.endpoint.surroundings), network.config.inputs), np.int8))
        self.take_learned()

    def take_learned(self) -> list[Piece]:
        """Return the pieces of what was learned since the last time."""
        taken, self.learned = self.learned, []
        return taken

    def take_heard(self) -> list[tuple[int, Piece]]:
        """Return the pieces of what was heard with since the last time, each with the frame it is of."""
        taken, self.heard = self.heard, []
        return taken

    def _add(self, piece: Piece) -> None:
        if self._learns:
            self.learned.append(piece)
        else:
            self.heard.append((self._device.recognizer.frames - 1, piece))

    def _join(self, piece: Piece) -> None:
        """Add a piece of learning, to which the frame or unit vector before it belongs: both are one slice."""
        if self._learns and self.learned and self.learned[-1].call in ("forward", "embed", "direction"):
            piece = Piece(piece.call, self.learned.pop().counts + piece.counts, piece.writes)
        self._add(piece)

    def _stop_if_asked(self) -> None:
        if self.pause is not None and self.learned:
            self.pause()

    def _watched(self, call: Callable[..., Any], name: str, counts: Counts) -> Callable[..., Any]:
        piece = Piece(name, counts)

        def watched(*args: Any) -> Any:
            (self._add if name == "head_step" else self._join)(piece)
            return call(*args)

        return watched

    def _watch_add_row_gradient(self, *args: Any) -> int:
        added = self._add_row_gradient(*args)
        rows, hidden = self._device.classifier.rows, self._device.network.config.hidden
        self._join(Piece("sweep", count_sweep(1, 0, rows, added, 0, hidden, 0)))
        return added

    def _watch_move_row(self, *args: Any) -> None:
        self._move_row(*args)
        self._add(Piece("sweep", self._moved_row(self._device.classifier.config.base_rows)))

    def _moved_row(self, near_rows: int) -> Counts:
        return count_sweep(0, 0, 0, 0, 1, self._device.network.config.hidden, near_rows)

    def _watch_teach(self, row: int, config: LearnerConfig, report: TeachReport | None = None) -> Iterator[TeachReport]:
        self._learns = True
        network, classifier = self._device.network.config, self._device.classifier
        self.learned += [Piece("image", counts) for counts in image_pieces(network, False)]
        compared = Counts(state_bytes=2 * network.hidden, elementwise_ops=network.hidden)
        self.learned += [Piece("row of the image", compared)] * classifier.rows
        yield from self._teach(row, config, report)
        if row < classifier.config.base_rows:
            near = minus(self._moved_row(classifier.config.base_rows), self._moved_row(0))
            self.learned += [Piece("nearness", near, True)] * classifier.rows

    def _watch_load_weights(self, *args: Any) -> None:
        self._load_weights(*args)
        self.learned += [Piece("image", counts, True) for counts in image_pieces(self._device.network.config, True)]

    def _watch_load_rows(self, *args: Any) -> None:
        self._load_rows(*args)
        rows, base = self._device.classifier.rows, self._device.classifier.config.base_rows
        # the nearness of base rows is no part of it: it changes with one of them only, and after the lesson
        self.learned += [Piece("image", self._moved_row(0), True)] * base
        self.learned += [Piece("image", self._moved_row(base), True)] * (rows - base)

    def _after_a_pause(self, call: Callable[..., None]) -> Callable[..., None]:
        def paused(*args: Any) -> None:
            self._stop_if_asked()
            call(*args)
            self._learns = True

        return paused

    def _watch_forward(
        self, state: State, frames_x8: NDArray[np.int8], pool: NDArray[np.int32] | None = None, tape: Tape | None = None
    ) -> Counts:
        if self._learning_state is None:  # the probe's own first call
            self._learning_state = state
        self._learns = state.layers is self._learning_state.layers  # of a lesson's thresholds, too
        if self._learns:
            if self.pauses_often:
                self._stop_if_asked()
            self._learns = True  # somebody else may have listened while this was stopped
        elif self._listening_state is None:
            self._listening_state = state
            self._refresh = state.refresh
            setattr(state, "refresh", self._watch_refresh)  # noqa: B010 - a method cannot be assigned to
        total = Counts()
        for t in range(len(frames_x8)):
            counts = self._forward(state, frames_x8[t : t + 1], pool, tape)
            self._add(Piece("forward", counts))
            total += counts
        return total

    def _watch_refresh(self) -> Counts:
        counts = self._refresh()
        self._learns = False
        self._add(Piece("refresh", counts))
        return counts

    def _watch_backward(self, tape: Tape, *args: Any, **options: Any) -> Counts:
        if self.pauses_often:
            self._stop_if_asked()
        counts = self._backward(tape, *args, **options)
        self._learns = True
        self._add_pieces("backward", counts, [] if tape.checkpoint_every else backward_pieces(tape), False)
        return counts

    def _watch_update(self, tape: Tape, *args: Any, **options: Any) -> Counts:
        self._stop_if_asked()
        counts = self._update(tape, *args, **options)
        self._learns = True
        self._add_pieces("update", counts, [] if tape.checkpoint_every else update_pieces(tape), True)
        return counts

    def _add_pieces(self, call: str, counts: Counts, pieces: list[Counts], writes: bool) -> None:
        """Add pieces, and as the last one what is left: of an update the biases and the cursors."""
        self.learned += [Piece(call, piece, writes) for piece in pieces]
        rest = minus(counts, sum(pieces, Counts()))
        if any(vars(rest).values()):
            self.learned.append(Piece(call, rest, writes))
